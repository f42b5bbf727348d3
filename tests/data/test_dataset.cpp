// The data set reader: what is there is read exactly, what is wrong is named with file, value and limit.
#include "data/dataset.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "data/wrong_folder.h"
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "shared_data.h"

using namespace nepenthe;
using namespace nepenthe::tests;

namespace {

/// One record: the labels, then picture bytes that count up from the last label.
std::string record(std::initializer_list<int> labels) {
  std::string bytes;
  for (const int label : labels) bytes += static_cast<char>(label);
  const int first = *(labels.end() - 1);
  for (int i = 0; i < 3072; ++i) bytes += static_cast<char>(first + i);
  return bytes;
}

/// A folder with two training pictures and one test picture of CIFAR-100's layout.
void write_cifar100(const TemporaryFolder& folder) {
  write_file_atomically(folder / "train.bin", record({1, 2}) + record({0, 0}));
  write_file_atomically(folder / "test.bin", record({1, 1}));
  write_file_atomically(folder / "fine_label_names.txt", "apple\nbear\r\ncup\n\n");
  write_file_atomically(folder / "coarse_label_names.txt", "fruit\nthing");
}

void check_error(const TemporaryFolder& folder, std::string_view text) {
  NEPENTHE_CHECK_MESSAGE(Error, read_dataset(folder.path()), text);
}

void check_usage(const std::filesystem::path& folder, std::string_view text) {
  NEPENTHE_CHECK_MESSAGE(UsageError, read_dataset(folder), text);
}

}  // namespace

TEST_CASE("dataset: CIFAR-100's layout") {
  const TemporaryFolder folder;
  write_cifar100(folder);
  const Dataset data = read_dataset(folder.path());
  CHECK(data.name == "data in CIFAR-100's layout");
  CHECK(data.folder == folder.path());
  CHECK(data.classes == 3);
  CHECK(data.class_names == std::vector<std::string>{"apple", "bear", "cup"});
  CHECK(data.coarse_class_names == std::vector<std::string>{"fruit", "thing"});
  CHECK(data.train.labels == std::vector<std::int32_t>{2, 0});
  CHECK(data.train.coarse_labels == std::vector<std::int32_t>{1, 0});
  CHECK(data.test.count() == 1);
  REQUIRE(data.train.pixels.size() == 2 * 3072);
  CHECK(data.train.pixels[0] == 2);
  CHECK(data.train.pixels[3071] == static_cast<std::uint8_t>(2 + 3071));
  CHECK(data.train.pixels[3072] == 0);
  CHECK(data.train.digest == sha256_file(folder / "train.bin"));
  CHECK(data.normalization.mean[0] == 0.5070F);
  CHECK(data.normalization.std[2] == 0.2761F);
}

TEST_CASE("dataset: without names the classes are 100 and 20 numbers") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "train.bin", record({19, 99}));
  write_file_atomically(folder / "test.bin", record({0, 0}));
  const Dataset data = read_dataset(folder.path());
  CHECK(data.classes == 100);
  CHECK(data.class_names[99] == "99");
  CHECK(data.coarse_class_names.size() == 20);
}

TEST_CASE("dataset: names with a byte order mark, blank lines and comments; a '#' within a name is part of it") {
  const TemporaryFolder folder;
  write_cifar100(folder);
  write_file_atomically(folder / "fine_label_names.txt", "\xef\xbb\xbfred apple \r\n\r\n# animals\r\nbear #2\r\ncup");
  CHECK(read_dataset(folder.path()).class_names == std::vector<std::string>{"red apple", "bear #2", "cup"});
  write_file_atomically(folder / "fine_label_names.txt", std::string_view("\xff\xfe"
                                                                          "a\0\n\0",
                                                                          6));
  check_error(folder, "fine_label_names.txt: is text in UTF-16");
}

TEST_CASE("dataset: called CIFAR-10 by its class names alone") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "data_batch_1.bin", record({1}));
  write_file_atomically(folder / "test_batch.bin", record({5}));
  const std::string names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\n";
  write_file_atomically(folder / "batches.meta.txt", names + "truck\n");
  CHECK(read_dataset(folder.path()).name == "CIFAR-10");
  write_file_atomically(folder / "batches.meta.txt", names + "tram\n");
  CHECK(read_dataset(folder.path()).name == "data in CIFAR-10's layout");
}

TEST_CASE("dataset: CIFAR-10's layout, its files in the order of their numbers") {
  const TemporaryFolder folder;
  std::string bytes;
  std::vector<std::int32_t> labels;
  for (int number = 1; number <= 11; ++number) {
    labels.push_back(number % 10);
    bytes += record({labels.back()});
    write_file_atomically(folder / fmt::format("data_batch_{}.bin", number), record({labels.back()}));
  }
  write_file_atomically(folder / "test_batch.bin", record({5}) + record({6}));
  write_file_atomically(folder / "._data_batch_2.bin", "what macOS puts beside a file");
  write_file_atomically(folder / "test_batch (1).bin", "read by nobody");
  const Dataset data = read_dataset(folder.path());
  CHECK(data.name == "data in CIFAR-10's layout");
  CHECK(data.classes == 10);
  CHECK(data.class_names[3] == "3");
  CHECK(data.coarse_class_names.empty());
  CHECK(data.train.labels == labels);
  CHECK(data.train.coarse_labels.empty());
  CHECK(data.train.pixels[3072] == 2);
  CHECK(data.train.digest == sha256_hex(std::as_bytes(std::span(bytes))));
  CHECK(data.normalization.mean[0] == 0.4914F);
}

TEST_CASE("dataset: record numbers count through all of CIFAR-10's files, or nothing is read") {
  const TemporaryFolder folder;
  for (const char* name : {"data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"}) {
    write_file_atomically(folder / name, record({3}));
  }
  CHECK(read_dataset(folder.path()).train.count() == 2);  // fewer than five, but the first ones
  SUBCASE("a gap") {
    write_file_atomically(folder / "data_batch_4.bin", record({4}));
    write_file_atomically(folder / "data_batch_5.bin", record({5}));
    check_usage(folder.path(), "holds data_batch_4.bin but no data_batch_3.bin; record numbers count through");
  }
  SUBCASE("no beginning") {
    std::filesystem::remove(folder / "data_batch_1.bin");
    check_usage(folder.path(), "holds data_batch_2.bin but no data_batch_1.bin");
  }
  SUBCASE("another copy, or a part under another name") {
    for (const char* name :
         {"data_batch_1 (1).bin", "data_batch_1 copy.bin", "data_batch_2 - Copy.bin", "Copy of data_batch_1.bin",
          "data_batch_01.bin", "data_batch_0.bin", "data_batch_.bin", "data_batch_3.bin.part", "data_batch_3.bin.1",
          "data_batch_1(1).bin", "data_batch_2.bin~"}) {
      CAPTURE(name);
      write_file_atomically(folder / name, record({4}));
      check_usage(folder.path(), fmt::format("{}: is no part of CIFAR-10, whose files are data_batch_1.bin", name));
      std::filesystem::remove(folder / name);
    }
  }
}

TEST_CASE("dataset: a wrong folder is a wrong argument") {
  const TemporaryFolder folder;
  check_usage(folder / "none", "none: there is no such folder");
  check_usage(folder.path(), "looked for train.bin and test.bin (CIFAR-100");
  check_usage(folder.path(), "or data_batch_*.bin and test_batch.bin (CIFAR-10, binary version), found neither kind");
  write_file_atomically(folder / "train.bin", record({0, 0}));
  check_usage(folder.path(), "found train.bin but no test.bin");
  check_usage(folder / "train.bin", "train.bin: is no folder");
  write_file_atomically(folder / "test_batch.bin", record({0}));
  check_usage(folder.path(), "holds files of both CIFAR-100 (train.bin) and CIFAR-10 (test_batch.bin)");
  std::filesystem::remove(folder / "train.bin");
  check_usage(folder.path(), "found test_batch.bin but no data_batch_*.bin");
  std::filesystem::rename(folder / "test_batch.bin", folder / "data_batch_1.bin");
  check_usage(folder.path(), "found data_batch_*.bin but no test_batch.bin");
}

TEST_CASE("dataset: what was given in place of a data set's folder is recognised") {
  const TemporaryFolder folder;
  const std::filesystem::path set = folder / "cifar-100-binary";
  std::filesystem::create_directories(set);
  const auto put = [&](const std::filesystem::path& path, const std::string& bytes = "x") {
    std::filesystem::create_directories((folder.path() / path).parent_path());
    write_file_atomically(folder.path() / path, bytes);
  };
  const std::string as_it_is = "the binary version is needed: data/fetch_cifar100 downloads CIFAR-100's";
  SUBCASE("one level too high or too low, or one of its files") {
    put("cifar-100-binary/train.bin", record({0, 0}));
    put("cifar-100-binary/test.bin", record({0, 0}));
    put("cifar-100-binary/inner/note.txt");
    REQUIRE(read_dataset(set).train.count() == 1);
    check_usage(folder.path(), fmt::format("found neither kind; a data set lies one level lower, in {}", set.string()));
    const std::string higher = fmt::format("a data set lies one level higher, in {}", set.string());
    check_usage(set / "inner", fmt::format("found neither kind; {}", higher));
    check_usage(set / "inner" / "", higher);
    check_usage(set / "nothing", fmt::format("there is no such folder; {}", higher));
    check_usage(set / "train.bin", fmt::format("is no folder; {}", higher));
  }
  SUBCASE("CIFAR-10 one level too high") {
    put("cifar-10-batches-bin/data_batch_1.bin", record({0}));
    put("cifar-10-batches-bin/test_batch.bin", record({0}));
    put("other/train.bin", record({0, 0}));
    put("other/test.bin", record({0, 0}));
    check_usage(folder.path(), fmt::format("a data set lies one level lower, in {} or {}",
                                           (folder / "cifar-10-batches-bin").string(), (folder / "other").string()));
  }
  SUBCASE("the Python version") {
    for (const char* name : {"train", "test", "meta", "file.txt~"}) put(std::filesystem::path("py") / name);
    check_usage(folder / "py", fmt::format("it is the Python version; {}", as_it_is));
    check_usage(folder / "py/train", fmt::format("py is the Python version; {}", as_it_is));
    check_usage(folder.path(), fmt::format("py is the Python version; {}", as_it_is));
    for (const char* name : {"data_batch_1", "batches.meta"}) put(std::filesystem::path("py10") / name);
    check_usage(folder / "py10", "it is the Python version;");
  }
  SUBCASE("an archive") {
    std::filesystem::remove(set);
    put("cifar-100-binary.tar.gz");
    const std::string unpack =
        fmt::format("{0} is an archive: unpack it (tar -xf {0}), and", (folder / "cifar-100-binary.tar.gz").string());
    check_usage(folder.path(), fmt::format("found neither kind; {}", unpack));
    check_usage(set, fmt::format("there is no such folder; {}", unpack));
    check_usage(folder / "cifar-100-binary.tar.gz", fmt::format("is no folder; {}", unpack));
    put("zipped/cifar.ZIP");
    check_usage(folder / "zipped", "cifar.ZIP is an archive: unpack it (unzip ");
    put("python/cifar-100-python.tar.gz");
    check_usage(folder / "python", "is the archive of the Python version; the binary version is needed");
  }
  SUBCASE("pictures as files") {
    put("images/train/apple/0001.png");
    put("images/train/apple/0002.png");
    check_usage(folder / "images", fmt::format("it holds data in another form ({}); {}",
                                               (folder / "images/train/apple/0001.png").string(), as_it_is));
    check_usage(folder / "images/train", "it holds data in another form (");
    put("hub/train-00000-of-00001.parquet");
    check_usage(folder / "hub", "it holds data in another form (");
  }
  SUBCASE("nothing known") {
    put("other/letter.txt");
    NEPENTHE_CHECK_MESSAGE(UsageError, read_dataset(folder / "other"), "found neither kind");
    CHECK(recognise_wrong_folder(folder / "other").empty());
    CHECK(recognise_wrong_folder("").empty());
    CHECK(recognise_wrong_folder("/").empty());
  }
  SUBCASE("by relative paths") {
    CHECK(recognise_wrong_folder("no such name").empty());
    CHECK(recognise_wrong_folder("./no such name/").empty());
  }
}

TEST_CASE("dataset: damaged files name what was found and what is expected") {
  const TemporaryFolder folder;
  write_cifar100(folder);
  const std::string good = record({1, 2}) + record({0, 0});
  SUBCASE("empty") {
    write_file_atomically(folder / "test.bin", "");
    check_error(folder, "test.bin: has 0 bytes; a multiple of 3074 (one record: two labels and 3072 bytes of picture)");
  }
  SUBCASE("one byte short") {
    write_file_atomically(folder / "train.bin", good.substr(1));
    check_error(folder, "train.bin: has 6147 bytes; a multiple of 3074");
  }
  SUBCASE("one byte long") {
    write_file_atomically(folder / "train.bin", good + "x");
    check_error(folder, "train.bin: has 6149 bytes; a multiple of 3074");
  }
  SUBCASE("a fine label out of range") {
    write_file_atomically(folder / "train.bin", good + record({1, 3}));
    check_error(folder,
                "train.bin: record 2 has fine label 3; it must be below 3 (fine_label_names.txt names 3 classes)");
  }
  SUBCASE("a coarse label out of range") {
    write_file_atomically(folder / "test.bin", record({200, 2}));
    check_error(folder, "test.bin: record 0 has coarse label 200; it must be below 2 (coarse_label_names.txt names 2");
  }
  SUBCASE("a label out of the default range") {
    std::filesystem::remove(folder / "fine_label_names.txt");
    write_file_atomically(folder / "test.bin", record({0, 100}));
    check_error(folder,
                "record 0 has fine label 100; it must be below 100 (100 classes without a fine_label_names.txt)");
  }
  SUBCASE("names cut short") {
    write_file_atomically(folder / "fine_label_names.txt", "apple\nbear");
    check_error(folder, "train.bin: record 0 has fine label 2; it must be below 2 (fine_label_names.txt names 2");
  }
  SUBCASE("no names") {
    write_file_atomically(folder / "fine_label_names.txt", "\n");
    check_error(folder, "fine_label_names.txt: is empty");
  }
  SUBCASE("a name twice") {
    write_file_atomically(folder / "coarse_label_names.txt", "# two\na\n\nb\na\n");
    check_error(folder, "coarse_label_names.txt: line 5 names 'a' again");
  }
  SUBCASE("too many names") {
    std::string names;
    for (int i = 0; i < 257; ++i) names += std::to_string(i) + "\n";
    write_file_atomically(folder / "fine_label_names.txt", names);
    check_error(folder, "names 257 classes; labels are bytes");
  }
  SUBCASE("a folder where a file belongs") {
    std::filesystem::remove(folder / "train.bin");
    std::filesystem::create_directory(folder / "train.bin");
    check_error(folder, "train.bin: is a folder; a file is expected");
  }
}

TEST_CASE("dataset: the real CIFAR-100 and CIFAR-10") {
  if (const auto path = shared_data("cifar-100-binary")) {
    const Dataset data = read_dataset(*path);
    CHECK(data.name == "CIFAR-100");
    CHECK(data.classes == 100);
    CHECK(data.coarse_class_names.size() == 20);
    CHECK(data.train.count() == 50'000);
    CHECK(data.test.count() == 10'000);
    CHECK(data.class_names.front() == "apple");
    CHECK(data.class_names.back() == "worm");
    CHECK(std::ranges::count(data.train.labels, 7) == 500);
    CHECK(std::ranges::count(data.test.coarse_labels, 19) == 500);
    // The mean of the red channel, as the study's normalisation gives it.
    double sum = 0;
    for (std::size_t i = 0; i < 50'000; ++i) {
      for (std::size_t j = 0; j < 1024; ++j) sum += data.train.pixels[i * 3072 + j];
    }
    CHECK(sum / (50'000.0 * 1024 * 255) == doctest::Approx(0.5071).epsilon(2e-4));
  }
  if (const auto path = shared_data("cifar-10-batches-bin")) {
    const Dataset data = read_dataset(*path);
    CHECK(data.name == "CIFAR-10");
    CHECK(data.train.count() == 10'000);
    CHECK(data.class_names.back() == "truck");
  }
}
