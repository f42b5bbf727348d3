// A forget specification, in a folder with a few files of record numbers. A part means the same wherever it stands.
#include "unlearning/forget_spec.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <numeric>
#include <utility>

#include "fuzz.h"

namespace {

using Ids = std::vector<std::int32_t>;

struct World {
  Ids labels, coarse, permutation = Ids(60);
  std::vector<std::string> names = {"apple", "bear,cup", "7", "x@0.5", "pear"}, coarse_names = {"fruit", "thing"};

  World() {
    std::iota(permutation.rbegin(), permutation.rend(), 0);
    for (int i = 0; i < 60; ++i) {
      labels.push_back(i % 5);
      coarse.push_back(i % 2);
    }
    std::filesystem::current_path(nepenthe::tests::make_folder());
    for (const char* name : {"a", "b@0.5", "c,range:0-9", "d,e"}) std::ofstream(name) << "3\n1\n4\n1\n5\n9\n2\n6\n";
    std::ofstream("bad") << "1\n\x1b\n";
  }
};

}  // namespace

void nepenthe::tests::fuzz(std::string_view input) {
  static const World world;
  const ForgetContext context = {.labels = world.labels,
                                 .coarse_labels = world.coarse,
                                 .class_names = world.names,
                                 .coarse_class_names = world.coarse_names,
                                 .permutation = world.permutation};
  const std::string_view spec = input.substr(0, input.find('\0'));
  if (std::ranges::any_of(spec, [](unsigned char c) { return c < 0x20; })) return;  // messages quote the request
  read_or_refuse([&] {
    const Ids ids = resolve_forget_spec(spec, context);
    require(!ids.empty() && ids.front() >= 0 && ids.back() < 60);
    require(std::ranges::adjacent_find(ids, std::greater_equal<>()) == ids.end());
    std::string behind = "range:0-1,";
    behind += spec;
    Ids with = ids;
    with.push_back(world.permutation[0]);
    std::ranges::sort(with);
    with.erase(std::unique(with.begin(), with.end()), with.end());
    require(resolve_forget_spec(behind, context) == with);
  });
}
