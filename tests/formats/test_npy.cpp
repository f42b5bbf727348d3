// .npy and lists of numbers.
#include "engine/formats/npy.h"

#include <doctest/doctest.h>

#include <array>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "shared_data.h"

using namespace nepenthe;
using namespace nepenthe::tests;

namespace {

std::vector<std::byte> npy_of(std::string header, std::string_view data, char major = 1) {
  header += '\n';
  std::string file = "\x93NUMPY";
  file += {major, '\0', static_cast<char>(header.size()), '\0'};
  if (major > 1) file += {'\0', '\0'};
  file += header;
  file += data;
  const auto bytes = std::as_bytes(std::span(file));
  return {bytes.begin(), bytes.end()};
}

const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
constexpr std::string_view eight("\0\0\0\0\0\0\x80\x3f", 8);  // 0 and 1 in fp32

}  // namespace

TEST_CASE("npy: what is written is read again, and is what NumPy writes") {
  const TemporaryFolder folder;
  const std::array<float, 6> values = {0, 1.5F, -2, 1e-30F, 4, 5};
  write_npy(folder / "a.npy", values, std::array<std::int64_t, 2>{2, 3});
  const NpyArray array = read_npy(folder / "a.npy");
  CHECK(array.shape == std::vector<std::int64_t>{2, 3});
  REQUIRE(array.values.size() == 6);
  CHECK(array.values[3] == double{1e-30F});

  const auto file = read_file(folder / "a.npy");
  CHECK((file.size() - 24) % 64 == 0);
  CHECK(as_text(file).substr(10).starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  "));
  CHECK(file[file.size() - 25] == std::byte{'\n'});
  // numpy.save gives these very bytes.
  CHECK(sha256_hex(file) == "7b09523b06f94cdc210906b713941cdd0e16aa1ba021351b8fa66f4b2556e3a7");

  NEPENTHE_CHECK_MESSAGE(Error, write_npy(folder / "b.npy", values, std::array<std::int64_t, 1>{5}),
                         "6 values do not fill the shape (5,)");
}

TEST_CASE("npy: other versions, orders of keys and fp64 are read") {
  CHECK(parse_npy(npy_of(good, eight), "f").values == std::vector<double>{0, 1});
  CHECK(parse_npy(npy_of(good, eight, 2), "f").values == std::vector<double>{0, 1});
  CHECK(
      parse_npy(npy_of("{'shape':(1,),'fortran_order':True,'descr':'<f8'}", {"\0\0\0\0\0\0\xf0\x3f", 8}), "f").values ==
      std::vector<double>{1});
  CHECK(parse_npy(npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", eight.substr(4)), "f")
            .values.size() == 1);
}

TEST_CASE("npy: damaged files are refused with what would be right") {
  const auto refused = [](const std::vector<std::byte>& file, std::string_view expected) {
    NEPENTHE_CHECK_MESSAGE(Error, parse_npy(file, "f.npy"), expected);
  };
  refused({}, "f.npy: is no .npy file");
  refused(npy_of(good, eight.substr(0, 7)), "7 bytes of numbers, which do not fill the shape (2,) of '<f4'");
  refused(npy_of(good, std::string(eight) + "x"), "9 bytes of numbers");
  refused(npy_of(good, eight, 9), "has .npy version 9; 1, 2 and 3 are read");
  auto truncated = npy_of(good, "");
  truncated.resize(40);
  refused(truncated, "claims a header of");
  truncated.resize(10);
  refused(truncated, "but 0 follow");
  refused(npy_of("{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", eight),
          "'>f4'; '<f4' and '<f8' are read");
  refused(npy_of("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", eight), "'|O'");
  refused(npy_of("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }", eight), "Fortran order");
  refused(npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", eight), "has the .npy header");
  refused(npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", eight),
          "do not fill");
  refused(npy_of("{'descr': '<f4', 'fortran_order': False, }", eight), "has the .npy header");
  refused(npy_of("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", eight), "header");
  refused(npy_of(good + " print()", eight), "has the .npy header");
  refused(npy_of("", eight), "has the .npy header");
}

TEST_CASE("numbers: one a line or a 1-d .npy, all finite") {
  const TemporaryFolder folder;
  const auto path = folder / "numbers";
  const auto numbers = [&](std::string_view text) {
    write_file_atomically(path, text);
    return read_numbers(path);
  };
  CHECK(numbers("1\n-2.5e-3\r\n  +7 \n0.1") == std::vector<double>{1, -2.5e-3, 7, 0.1});
  NEPENTHE_CHECK_MESSAGE(Error, numbers(""), "numbers: is empty");
  NEPENTHE_CHECK_MESSAGE(Error, numbers("1\ntwo\n"), "numbers: line 2 is 'two'; one finite number a line is expected");
  NEPENTHE_CHECK_MESSAGE(Error, numbers("1\n\n2\n"), "line 2 is ''");
  NEPENTHE_CHECK_MESSAGE(Error, numbers("1\n2 3\n"), "line 2 is '2 3'");
  NEPENTHE_CHECK_MESSAGE(Error, numbers("nan\n"), "line 1 is 'nan'");
  NEPENTHE_CHECK_MESSAGE(Error, numbers("1e999\n"), "line 1 is '1e999'");
  NEPENTHE_CHECK_MESSAGE(Error, numbers("+-1\n"), "line 1 is '+-1'");

  const std::array<float, 2> values = {1.5F, std::numeric_limits<float>::infinity()};
  write_npy(path, std::span(values).first(1), std::array<std::int64_t, 1>{1});
  CHECK(read_numbers(path) == std::vector<double>{1.5});
  write_npy(path, values, std::array<std::int64_t, 1>{2});
  NEPENTHE_CHECK_MESSAGE(Error, read_numbers(path), "element 1 is inf");
  write_npy(path, values, std::array<std::int64_t, 2>{1, 2});
  NEPENTHE_CHECK_MESSAGE(Error, read_numbers(path), "has shape (1, 2); a list of numbers has one dimension");
}

TEST_CASE("npy: random damage is read or refused, never worse") {
  const auto file = npy_of(good, eight);
  std::mt19937 random(1);
  for (int round = 0; round < 4000; ++round) {
    auto damaged = file;
    damaged[random() % damaged.size()] = static_cast<std::byte>(random());
    if (round % 4 == 0) damaged.resize(random() % damaged.size());
    try {
      (void)parse_npy(damaged, "fuzz");
    } catch (const Error&) {
    }
  }
}
