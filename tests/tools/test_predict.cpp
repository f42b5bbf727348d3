// predict: the answers are those of evaluation, and what it shows, writes and refuses.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/formats/npy.h"
#include "engine/formats/pictures.h"
#include "tools/programs.h"

namespace fs = std::filesystem;
using namespace nepenthe;
using namespace nepenthe::tests;
using Json = nlohmann::json;

namespace {

constexpr int pictures = 12;

/// A data set, a network, a run, and the test part as PNG files: pictures/00.png …
struct World {
  fs::path root = fs::temp_directory_path() / fmt::format("nepenthe-predict-{}", getpid());
  Dataset data;

  World() {
    fs::remove_all(root);
    fs::create_directories(root / "pictures");
    const std::string train = " --data data --model resnet20 --batch 8 --quiet ";
    REQUIRE(run("make_synthetic_data --out data --train 24 --test 12 --classes 7").exit_code == 0);
    REQUIRE(run("train_model --epochs 1 --out model.safetensors" + train).exit_code == 0);
    REQUIRE(run("train_sisa --shards 2 --slices 1 --epochs 1 --out run" + train).exit_code == 0);
    data = read_dataset(root / "data");
    for (std::size_t i = 0; i < pictures; ++i) {
      Picture picture{.width = 32, .height = 32, .rgb = {}};
      for (std::size_t pixel = 0; pixel < 1024; ++pixel) {
        for (std::size_t c = 0; c < 3; ++c) picture.rgb.push_back(data.test.pixels[(i * 3 + c) * 1024 + pixel]);
      }
      write_png(root / fmt::format("pictures/{:02}.png", i), picture);
    }
  }
  ~World() { fs::remove_all(root); }

  Outcome run(const std::string& command) const { return run_program(root, command); }
  std::set<std::string> listing() const {
    std::set<std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(root)) all.insert(entry.path().string());
    return all;
  }
};

World& world() {
  static World one;
  return one;
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// What the program's JSON says; standard output and standard error are in `outcome`.
Json predict(const std::string& arguments, Outcome& outcome) {
  outcome = world().run("predict --json result.json " + arguments);
  CAPTURE(arguments);
  CAPTURE(outcome.error);
  REQUIRE(outcome.exit_code == 0);
  const Json json = Json::parse(slurp(world().root / "result.json"));
  fs::remove(world().root / "result.json");
  return json;
}
Json predict(const std::string& arguments) {
  Outcome outcome;
  return predict(arguments, outcome);
}

void check_refused(const std::string& arguments, int exit_code, std::initializer_list<const char*> words) {
  CAPTURE(arguments);
  const auto before = world().listing();
  const Outcome outcome = world().run("predict --quiet " + arguments);
  CAPTURE(outcome.error);
  CHECK(outcome.exit_code == exit_code);
  CHECK(outcome.out.empty());
  CHECK(outcome.error.starts_with("error: "));
  CHECK(std::ranges::count(outcome.error, '\n') == 1);
  for (const char* word : words) CHECK(contains(outcome.error, word));
  CHECK(world().listing() == before);
}

const std::string network = "--model resnet20 --weights model.safetensors ";

/// The program's logits are those that eval_model wrote, to the bit; what it shows follows from them.
void check_against_evaluation(const Json& json, const fs::path& logits_file) {
  const HostTensor expected = read_npy(logits_file);
  const auto all = expected.f32();
  REQUIRE(json.at("pictures").size() == pictures);
  REQUIRE(all.size() == pictures * 7);
  for (std::size_t i = 0; i < pictures; ++i) {
    const Json& picture = json.at("pictures")[i];
    const auto logits = all.subspan(i * 7, 7);
    const auto got = picture.at("logits").get<std::vector<float>>();
    CHECK(std::ranges::equal(got, logits));
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
    std::vector<std::size_t> order{0, 1, 2, 3, 4, 5, 6};
    std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
    REQUIRE(picture.at("top").size() == 5);
    for (std::size_t k = 0; k < 5; ++k) {
      const Json& guess = picture.at("top")[k];
      CHECK(guess.at("class") == order[k]);
      CHECK(guess.at("name") == world().data.class_names[order[k]]);
      const double probability = std::exp(static_cast<double>(logits[order[k]])) / sum;
      CHECK(guess.at("probability").get<double>() == doctest::Approx(probability));
    }
  }
}

}  // namespace

TEST_CASE("predict: a picture of the data goes through the network as in evaluation, bit for bit") {
  REQUIRE(world().run("eval_model --data data --logits logits --quiet " + network).exit_code == 0);
  Outcome outcome;
  const Json json = predict(network + "--data data pictures/*.png", outcome);
  check_against_evaluation(json, world().root / "logits/test.npy");
  CHECK(json.at("pictures")[3].at("file") == "pictures/03.png");
  CHECK(json.at("pictures")[3].at("width") == 32);
  CHECK(json.at("class_names") == Json(world().data.class_names));
  CHECK(json.at("configuration").at("top") == 5);
  // Everything that is shown is in the JSON.
  for (const Json& picture : json.at("pictures")) {
    CHECK(contains(outcome.out, picture.at("file").get<std::string>()));
    for (const Json& guess : picture.at("top")) {
      CHECK(contains(outcome.out, guess.at("name").get<std::string>()));
      CHECK(contains(outcome.out, fmt::format("{:.2f} %", 100 * guess.at("probability").get<double>())));
    }
  }
  fs::remove_all(world().root / "logits");
}

TEST_CASE("predict: a run answers with the mean posterior of its shards") {
  REQUIRE(world().run("eval_model --run run --logits logits --quiet").exit_code == 0);
  check_against_evaluation(predict("--run run pictures/*.png"), world().root / "logits/mean_posterior/test.npy");
  fs::remove_all(world().root / "logits");
}

TEST_CASE("predict: without data classes are numbers, and any picture will do") {
  const fs::path golden = fs::path(NEPENTHE_GOLDEN_DIR) / "pictures";
  Outcome outcome;
  const Json json =
      predict(fmt::format("{}--top 100 pictures/00.png '{}'", network, (golden / "grey.jpg").string()), outcome);
  CHECK(contains(outcome.error, "note: without --data classes are numbers"));
  REQUIRE(json.at("pictures").size() == 2);
  CHECK(json.at("pictures")[0].at("top").size() == 7);
  for (const Json& guess : json.at("pictures")[0].at("top")) {
    CHECK(guess.at("name") == std::to_string(guess.at("class").get<int>()));
  }
  CHECK(json.at("pictures")[1].at("width") == 24);
  CHECK(json.at("pictures")[1].at("height") == 16);
}

TEST_CASE("predict: a sheet") {
  const auto sheet_of = [](const std::string& arguments) {
    (void)predict(arguments + " --out sheet.png");
    const Picture sheet = read_picture(world().root / "sheet.png");
    fs::remove(world().root / "sheet.png");
    return sheet;
  };
  const Picture one = sheet_of("--run run pictures/00.png");
  const Picture seen = centre_square(read_picture(world().root / "pictures/00.png"), 192);
  // Somewhere on the sheet is the picture, as large as people want to see it.
  const auto row_of = [](const Picture& picture, int row) {
    return std::span(picture.rgb)
        .subspan(static_cast<std::size_t>(row) * static_cast<std::size_t>(picture.width) * 3,
                 static_cast<std::size_t>(picture.width) * 3);
  };
  bool found = false;
  for (int top = 0; top + seen.height <= one.height && !found; ++top) {
    const auto row = row_of(one, top);
    const auto at = std::ranges::search(row, row_of(seen, 0)).begin() - row.begin();
    if (at == std::ssize(row)) continue;
    found = true;
    for (int y = 0; y < seen.height; ++y) {
      CHECK(std::ranges::equal(row_of(one, top + y).subspan(static_cast<std::size_t>(at), row_of(seen, y).size()),
                               row_of(seen, y)));
    }
  }
  CHECK(found);
  const Picture all = sheet_of("--run run pictures/*.png --top 7");
  CHECK(all.width > one.width);
  CHECK(all.height > one.height);

  write_png(world().root / "grünes Blatt mit einem sehr langen Namen, der nicht auf das Blatt passt.png", seen);
  CHECK(sheet_of("--run run 'grünes Blatt mit einem sehr langen Namen, der nicht auf das Blatt passt.png'").width ==
        one.width);
  fs::remove(world().root / "grünes Blatt mit einem sehr langen Namen, der nicht auf das Blatt passt.png");
}

TEST_CASE("predict: what is refused, and leaves nothing") {
  const std::string good = "--run run pictures/00.png ";
  check_refused("--run run", 2, {"pictures is required"});
  check_refused("pictures/00.png", 2, {"--run RUN", "--weights"});
  check_refused("--model resnet20 pictures/00.png", 2, {"--model NAME and --weights FILE are needed together"});
  check_refused("--model resnet32 --weights model.safetensors pictures/00.png", 1, {"model.safetensors", "resnet32"});
  check_refused(good + "--forget range:0-3", 2, {"--forget"});
  check_refused(good + "--top 0", 2, {"--top"});
  check_refused(good + "missing.png", 2, {"missing.png"});
  check_refused(good + "pictures", 2, {"pictures is no file"});
  check_refused(good + "--out nowhere/sheet.png", 2, {"nowhere"});
  check_refused(good + "--out pictures/00.png", 2, {"--out pictures/00.png: picture pictures/00.png is the same"});
  check_refused(good + "--out run/run.json", 2, {"run.json"});
  check_refused(good + "--out model.safetensors", 2, {"exists already"});
  spill(world().root / "text.png", "a text");
  check_refused(good + "text.png --out sheet.png --json x.json", 1, {"text.png: is no PNG or JPEG picture"});
  const std::string whole = slurp(world().root / "pictures/00.png");
  spill(world().root / "text.png", whole.substr(0, whole.size() / 2));
  check_refused(good + "text.png --out sheet.png", 1, {"text.png: is a PNG file that is damaged"});
  fs::remove(world().root / "text.png");
}
