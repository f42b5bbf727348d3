#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <unistd.h>

#include "engine/base/error.h"
#include "engine/base/random.h"
#include "unlearning/forget_spec.h"
#include "unlearning/permutation.h"

using namespace nepenthe;

namespace {

using Ids = std::vector<std::int32_t>;

// 200 samples of 10 classes (number 9 has none) in 3 coarse ones.
struct World {
  Ids labels, coarse, permutation = make_permutation(200, 7);
  std::vector<std::string> names = {"apple", "aquarium_fish", "baby", "bear",   "beaver", "Apple",
                                    "7",     "bed",           "pear", "unicorn"};
  std::vector<std::string> coarse_names = {"fish", "flowers", "people"};
  std::filesystem::path folder;

  World() {
    for (int i = 0; i < 200; ++i) {
      labels.push_back(i % 9);
      coarse.push_back(i % 9 % 3);
    }
    folder = std::filesystem::temp_directory_path() / ("nepenthe-forget-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder);
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World() { std::filesystem::remove_all(folder); }

  ForgetContext context(std::uint64_t seed = 5) const {
    return {.labels = labels,
            .coarse_labels = coarse,
            .class_names = names,
            .coarse_class_names = coarse_names,
            .permutation = permutation,
            .seed = seed};
  }
  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream(folder / name, std::ios::binary) << text;
    return (folder / name).string();
  }
  Ids resolve(const std::string& spec) const { return resolve_forget_spec(spec, context()); }
  std::string error(const std::string& spec) const {
    try {
      resolve(spec);
    } catch (const UsageError& error) {
      const std::string text = error.what();
      CHECK_MESSAGE(text.find('\n') == std::string::npos, text);
      return text;
    }
    return "";
  }
  bool refuses(const std::string& spec, const std::string& saying) const {
    const std::string text = error(spec);
    INFO("said: " << text);
    const bool named = spec.empty() || text.find(spec) != std::string::npos;
    CHECK(named);
    const bool said = text.find(saying) != std::string::npos;
    CHECK(said);
    return named && said;
  }
};

Ids sorted(Ids ids) {
  std::ranges::sort(ids);
  return ids;
}

Ids of_label(const Ids& labels, std::int32_t wanted) {
  Ids ids;
  for (std::size_t i = 0; i < labels.size(); ++i)
    if (labels[i] == wanted) ids.push_back(static_cast<std::int32_t>(i));
  return ids;
}

}  // namespace

TEST_CASE("forget spec: each kind alone") {
  const World world;
  CHECK(world.resolve("range:20-30") == sorted(Ids(world.permutation.begin() + 20, world.permutation.begin() + 30)));
  CHECK(world.resolve("range:0-200").size() == 200);
  CHECK(world.resolve("class:baby") == of_label(world.labels, 2));
  CHECK(world.resolve("class:3") == of_label(world.labels, 3));
  CHECK(world.resolve("class:Apple") == of_label(world.labels, 5));
  CHECK(world.resolve("class:7") == of_label(world.labels, 6));  // the name goes before the number
  CHECK(world.resolve("coarse:flowers") == of_label(world.coarse, 1));
  CHECK(world.resolve("coarse:2") == of_label(world.coarse, 2));
  CHECK(world.resolve("ids:" + world.file("a", "5\n3\r\n\n  199 \n3\n0")) == Ids{0, 3, 5, 199});
}

TEST_CASE("forget spec: parts are united, ids counted once") {
  const World world;
  const std::string file = world.file("u", "1\n2\n");
  std::set<std::int32_t> expected = {1, 2};
  for (const auto id : of_label(world.labels, 2)) expected.insert(id);
  expected.insert(world.permutation.begin() + 10, world.permutation.begin() + 20);
  CHECK(world.resolve("class:baby,ids:" + file + ",range:10-20,range:10-15,class:2") ==
        Ids(expected.begin(), expected.end()));
}

TEST_CASE("forget spec: file names with commas, colons and @") {
  const World world;
  CHECK(world.resolve("ids:" + world.file("a,b:c.txt", "4")) == Ids{4});
  CHECK(world.resolve("ids:" + world.file("a,b:c.txt", "4") + ",ids:" + world.file("d,e", "6")) == Ids{4, 6});
  CHECK(world.resolve("ids:" + world.file("me@home,class", "8")) == Ids{8});
  CHECK(world.resolve("ids:" + world.file("me@home", "1\n2\n3\n4") + "@0.5").size() == 2);
  CHECK(world.resolve("ids:" + world.file("run@2", "9") + "@1") == Ids{9});
  CHECK(world.resolve("ids:" + world.file("half@0.5", "9\n10\n")) == Ids{9, 10});
  CHECK(world.resolve("ids:" + world.file("half@0.5", "9\n10\n") + "@0.5").size() == 1);
  CHECK(world.resolve("ids:" + world.file("a,range:0-10", "11") + ",ids:" + world.file("d,e", "6")) == Ids{6, 11});
  CHECK(world.resolve("ids:" + world.file("b,ids:c@0.1,class:d", "11\n12\n") + "@0.5,class:baby@0.5").size() > 1);
  // Where the name could end in several places, the first that is a file counts.
  const std::string half = "ids:" + (world.folder / "half").string();
  CHECK(world.refuses(half + "@2", "'2' is no fraction"));
  world.file("half", "1\n2\n3\n4\n");
  CHECK(world.resolve(half + "@0.5").size() == 2);
  CHECK(world.resolve(half + "@0.5@1") == Ids{9, 10});
  CHECK(world.resolve(half + ",range:0-10").size() > 10);
  // A folder is no file, and the first reading is the one that an error speaks of.
  std::filesystem::create_directory(world.folder / "folder@1");
  CHECK(world.refuses("ids:" + (world.folder / "folder@1").string(), "folder: cannot open"));
}

TEST_CASE("forget spec: fractions take exact numbers, the first in keyed order") {
  const World world;
  const auto first = [](Ids ids, std::size_t count, std::uint64_t seed) {
    ids = keyed_order({.seed = seed, .purpose = purpose::forget_fraction}, ids);
    ids.resize(count);
    return sorted(ids);
  };
  const Ids all = sorted(world.permutation);
  CHECK(world.resolve("random:0.2") == first(all, 40, 5));
  CHECK(world.resolve("random:0.2:77") == first(all, 40, 77));
  CHECK(world.resolve("random:1").size() == 200);
  CHECK(world.resolve("random:0.0001").size() == 1);
  CHECK(world.resolve("random:0.0126").size() == 3);  // 2.52
  CHECK(world.resolve("random:0.0125").size() == 3);  // 2.5: halves up
  CHECK(world.resolve("random:0.0124").size() == 2);  // 2.48
  CHECK(world.resolve("random:0.29").size() == 58);   // 0.29·200 = 57.99999999999999 in double
  const Ids babies = of_label(world.labels, 2);
  CHECK(world.resolve("class:baby@0.5") == first(babies, (babies.size() + 1) / 2, 5));
  CHECK(world.resolve("random:0.5:3@0.1").size() == 10);
  CHECK(world.resolve("range:0-10@0.3").size() == 3);
  // A file that names an id twice does not weigh it twice.
  CHECK(world.resolve("ids:" + world.file("twice", "1\n1\n1\n2\n") + "@0.5").size() == 1);
  // A larger fraction holds the smaller one.
  const Ids small = world.resolve("random:0.1"), large = world.resolve("random:0.3");
  CHECK(std::ranges::includes(large, small));
  CHECK(resolve_forget_spec("random:0.2", world.context(6)) != world.resolve("random:0.2"));
  CHECK(resolve_forget_spec("random:0.2:9", world.context(6)) == world.resolve("random:0.2:9"));
}

TEST_CASE("forget spec: a part means the same samples wherever it stands") {
  const World world;
  const std::vector<std::string> parts = {
      "random:0.1:7",      "random:0.1",         "class:baby@0.5",
      "range:20-120@0.25", "coarse:flowers@0.1", "random:0.5:5@0.1",
      "range:150-160",     "random:0.1:8@0.5",   "ids:" + world.file("p", "3\n9\n27\n") + "@0.4"};
  std::string forwards, backwards;
  std::set<std::int32_t> expected;
  for (const std::string& part : parts) {
    CHECK(world.resolve(part + ",range:150-160") == world.resolve("range:150-160," + part));
    CHECK(world.resolve(part + "," + part) == world.resolve(part));
    forwards += (forwards.empty() ? "" : ",") + part;
    backwards = part + (backwards.empty() ? "" : ",") + backwards;
    for (const auto id : world.resolve(part)) expected.insert(id);
  }
  CHECK(world.resolve(forwards) == Ids(expected.begin(), expected.end()));
  CHECK(world.resolve(backwards) == Ids(expected.begin(), expected.end()));
}

TEST_CASE("forget spec: a uniformly random fraction is uniform") {
  // 400 seeds, 40 of 200 each: every id is expected 80 times, sd 8; the largest of 200 stays within 5 sd.
  const World world;
  std::vector<int> taken(200, 0);
  for (int seed = 1; seed <= 400; ++seed)
    for (const auto id : world.resolve("random:0.2:" + std::to_string(seed))) ++taken[static_cast<std::size_t>(id)];
  CHECK(*std::ranges::min_element(taken) > 40);
  CHECK(*std::ranges::max_element(taken) < 120);
}

TEST_CASE("forget spec: what is wrong is named, with what would be right") {
  const World world;
  CHECK(world.refuses("", "range:A-B"));
  for (const std::string spec : {"frog", "range", "rnage:1-2", "class:baby,", "Range:1-2", " class:baby", ":", "@0.5"})
    CHECK(world.error(spec).find("use range:A-B, ids:FILE") != std::string::npos);
  for (const std::string spec : {"range:", "ids:", "class:", "coarse:", "random:", "class:@0.5", "range:@1"})
    CHECK(world.refuses(spec, "nothing follows"));

  for (const std::string spec : {"range:5", "range:-1-5", "range:a-b", "range:1-", "range:-", "range:1-2-3",
                                 "range:1.5-3", "range:1 -3", "range:0x1-3", "range:99999999999999999999-3"})
    CHECK(world.refuses(spec, "is no range of positions"));
  CHECK(world.refuses("range:30-20", "30 is not below 20"));
  CHECK(world.refuses("range:20-20", "20 is not below 20"));
  CHECK(world.refuses("range:0-201", "use at most 200"));
  CHECK(world.refuses("range:0-18446744073709551615", "use at most 200"));

  for (const std::string spec : {"random:0", "random:-0.1", "random:1.0001", "random:nan", "random:inf", "random:x",
                                 "random:0.5x", "random:0.5,5", "random:0.2@", "class:baby@0", "class:baby@2",
                                 "class:baby@x", "class:baby@0.5@0", "range:0-9@1e9"})
    CHECK(!world.error(spec).empty());
  CHECK(world.refuses("random:0", "above 0 and at most 1"));
  CHECK(world.refuses("random:nan", "above 0 and at most 1"));
  CHECK(world.refuses("random:0.5:-1", "is no seed"));
  CHECK(world.refuses("random:0.5:", "is no seed"));
  CHECK(world.refuses("random:0.5:1:2", "is no seed"));

  CHECK(world.refuses("class:bbay", "did you mean"));
  CHECK(world.refuses("class:APPLE", "Apple, apple"));
  CHECK(world.refuses("class:aquarium", "aquarium_fish"));
  CHECK(world.refuses("class:zzzzzz", "or a name: apple, aquarium_fish, baby"));
  CHECK(world.refuses("class:10", "there is no class 10: use a number from 0 to 9"));
  CHECK(world.refuses("class:99999999999999999999999", "use a number from 0 to 9"));
  CHECK(world.refuses("class:-1", "unknown class '-1'"));
  CHECK(world.refuses("class:unicorn", "no training sample"));
  CHECK(world.refuses("coarse:flower", "flowers"));
  CHECK(world.refuses("coarse:3", "there is no coarse class 3"));
  // The part is named, not the whole specification.
  CHECK(world.error("class:baby,range:9-3").find("part 'range:9-3'") != std::string::npos);
}

TEST_CASE("forget spec: ids files") {
  const World world;
  const auto refuses = [&](const std::string& text, const std::string& saying) {
    return world.refuses("ids:" + world.file("bad", text), saying);
  };
  CHECK(refuses("1\n2\nthree\n", "bad: line 3 is 'three'; one finite number a line is expected"));
  CHECK(refuses("1\n\n-3\n", "line 3 is -3; there is no such record: they go from 0 to 199"));
  CHECK(refuses("200", "line 1 is 200; there is no such record: they go from 0 to 199"));
  CHECK(refuses("99999999999999999999999999", "line 1 is 99999999999999999999999999; there is no"));
  CHECK(refuses("", "holds no numbers"));
  CHECK(world.refuses("ids:" + (world.folder / "nowhere").string(), "cannot open"));
  CHECK(world.refuses("ids:" + world.folder.string(), "is a folder"));
  // The rest: tests/formats/test_numbers.cpp.
}

TEST_CASE("forget spec: a data set without coarse classes") {
  const World world;
  ForgetContext context = world.context();
  context.coarse_labels = {};
  context.coarse_class_names = {};
  CHECK_THROWS_WITH_AS(
      resolve_forget_spec("coarse:fish", context),
      "forget specification, part 'coarse:fish': this data set has no coarse classes: use class:NAME|N", UsageError);
}

TEST_CASE("forget spec: what is retained") {
  CHECK(retained_ids(5, Ids{0, 3}) == Ids{1, 2, 4});
  CHECK(retained_ids(3, Ids{}) == Ids{0, 1, 2});
  CHECK(retained_ids(2, Ids{0, 1}).empty());
  CHECK_NOTHROW(require_something_retained(3, Ids{0, 2}));
  CHECK_THROWS_AS(require_something_retained(3, Ids{0, 1, 2}), UsageError);
}

TEST_CASE("forget spec: random unions against sets, and random text is refused or resolved, never worse") {
  const World world;
  std::mt19937 draw(11);
  const auto below = [&](int bound) { return static_cast<int>(draw() % static_cast<unsigned>(bound)); };
  for (int round = 0; round < 200; ++round) {
    std::set<std::int32_t> expected;
    std::string spec;
    for (int part = 0, parts = 1 + below(4); part < parts; ++part) {
      if (part > 0) spec += ',';
      if (below(2)) {
        const int a = below(199), b = a + 1 + below(200 - a);
        spec += "range:" + std::to_string(a) + "-" + std::to_string(b);
        expected.insert(world.permutation.begin() + a, world.permutation.begin() + b);
      } else {
        const int c = below(6);
        spec += "class:" + std::to_string(c);
        for (const auto id : of_label(world.labels, c)) expected.insert(id);
      }
    }
    CHECK(world.resolve(spec) == Ids(expected.begin(), expected.end()));
  }
  const std::string alphabet = "range:ids:class:coarse:random:0123456789.,-@ e";
  for (int round = 0; round < 20'000; ++round) {
    std::string spec = below(2) ? std::vector<std::string>{"range:", "ids:", "class:", "coarse:",
                                                           "random:"}[static_cast<std::size_t>(below(5))]
                                : "";
    const int letters = static_cast<int>(alphabet.size());
    for (int i = below(12); i > 0; --i) spec += alphabet[static_cast<std::size_t>(below(letters))];
    try {
      const Ids ids = world.resolve(spec);
      REQUIRE(!ids.empty());
      REQUIRE(std::ranges::adjacent_find(ids, std::greater_equal<>()) == ids.end());
      REQUIRE(ids.front() >= 0);
      REQUIRE(ids.back() < 200);
    } catch (const UsageError&) {
    }
  }
}
