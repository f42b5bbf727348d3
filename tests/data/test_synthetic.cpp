// The made data set: the layout, the same bytes for the same seed, and pictures that depend on their class.
#include "data/synthetic.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <string>

#include "data/dataset.h"
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "shared_data.h"

using namespace nepenthe;
using namespace nepenthe::tests;

TEST_CASE("synthetic: reads in CIFAR-100's layout, balanced, with telling names") {
  const TemporaryFolder folder;
  write_synthetic(folder / "new/data", 60, 24, 12, 1);
  const Dataset data = read_dataset(folder / "new/data");
  CHECK(data.name == "data in CIFAR-100's layout");
  CHECK(data.classes == 12);
  CHECK(data.train.count() == 60);
  CHECK(data.test.count() == 24);
  CHECK(std::ranges::count(data.train.labels, 11) == 5);
  CHECK(data.train.coarse_labels[7] == 1);
  CHECK(data.class_names[5] == "red striped triangle");
  CHECK(data.coarse_class_names == std::vector<std::string>{"plain disc", "striped triangle", "dotted cross"});
  // No picture is one flat colour, and no two are equal.
  for (int i = 0; i < 60; ++i) {
    const auto begin = data.train.pixels.begin() + i * 3072;
    const auto [low, high] = std::minmax_element(begin, begin + 3072);
    CHECK(*high - *low > 30);
    if (i > 0) CHECK_FALSE(std::equal(begin, begin + 3072, begin - 3072));
  }
}

TEST_CASE("synthetic: the same bytes for the same seed, on any machine") {
  const TemporaryFolder folder;
  write_synthetic(folder / "a", 20, 10, 10, 7);
  CHECK(sha256_file(folder / "a/train.bin") == "c8ed4efba13076343f5f80aa3104c3d18a2b5eda06f5d64b38a871ee22469ccc");
  CHECK(sha256_file(folder / "a/test.bin") == "39ea9b5d0d10ae94ff84a548c1a07d9927ae19ef7ab66cfc9dc167c19d96cf16");

  write_synthetic(folder / "b", 10, 10, 10, 7);  // a picture does not depend on how many there are
  const auto longer = read_file(folder / "a/train.bin");
  const auto shorter = read_file(folder / "b/train.bin");
  CHECK(std::equal(shorter.begin(), shorter.end(), longer.begin()));
  write_synthetic(folder / "c", 10, 10, 10, 8);
  CHECK(read_file(folder / "c/train.bin") != shorter);
  CHECK(read_file(folder / "b/test.bin") != shorter);
}

TEST_CASE("synthetic: every class can be drawn and has a name of its own") {
  const TemporaryFolder folder;
  write_synthetic(folder / "all", most_synthetic_classes, 1, most_synthetic_classes, 1);
  const Dataset data = read_dataset(folder / "all");  // which refuses equal names
  CHECK(data.classes == 250);
  CHECK(data.coarse_class_names.size() == 50);
}

TEST_CASE("synthetic: wrong arguments, and nothing is overwritten") {
  const TemporaryFolder folder;
  const auto refused = [&](int train, int test, int classes, std::string_view text) {
    NEPENTHE_CHECK_MESSAGE(UsageError, write_synthetic(folder.path(), train, test, classes, 1), text);
  };
  refused(0, 1, 10, "0 training and 1 test pictures; at least 1 of each");
  refused(1, -1, 10, "1 training and -1 test pictures");
  refused(1, 1, 1, "1 classes; 2 to 250 are expected");
  refused(1, 1, 251, "251 classes; 2 to 250 are expected");
  write_file_atomically(folder / "test.bin", "mine");
  refused(1, 1, 10, "test.bin: exists already and is not overwritten");
  CHECK(as_text(read_file(folder / "test.bin")) == "mine");
  CHECK_FALSE(std::filesystem::exists(folder / "train.bin"));
  NEPENTHE_CHECK_MESSAGE(Error, write_synthetic(folder / "test.bin/sub", 1, 1, 10, 1), "cannot make the folder");
}
