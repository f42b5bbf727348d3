// .npy: every type, order and shape that NumPy writes and we read, and every way a file can be wrong.
#include "engine/formats/npy.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
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
  const HostTensor array = read_npy(folder / "a.npy");
  CHECK(array.shape == std::vector<std::int64_t>{2, 3});
  REQUIRE(array.f32().size() == 6);
  CHECK(array.f32()[3] == 1e-30F);

  const auto file = read_file(folder / "a.npy");
  CHECK((file.size() - 24) % 64 == 0);
  CHECK(as_text(file).substr(10).starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  "));
  CHECK(file[file.size() - 25] == std::byte{'\n'});
  // numpy.save gives these very bytes.
  CHECK(sha256_hex(file) == "7b09523b06f94cdc210906b713941cdd0e16aa1ba021351b8fa66f4b2556e3a7");

  NEPENTHE_CHECK_MESSAGE(Error, write_npy(folder / "b.npy", values, std::array<std::int64_t, 1>{5}),
                         "6 values do not fill the shape (5,)");
}

TEST_CASE("npy: versions, orders of keys, Python 2's shapes") {
  const auto values = [](const std::vector<std::byte>& file) { return parse_npy(file, "f").to_f64(); };
  CHECK(values(npy_of(good, eight)) == std::vector<double>{0, 1});
  CHECK(values(npy_of(good, eight, 2)) == std::vector<double>{0, 1});
  CHECK(values(npy_of(good, eight, 3)) == std::vector<double>{0, 1});
  CHECK(values(npy_of("{'shape':(1,),'fortran_order':True,'descr':'<f8'}", {"\0\0\0\0\0\0\xf0\x3f", 8})) ==
        std::vector<double>{1});
  CHECK(values(npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", eight.substr(4))).size() == 1);
  CHECK(values(npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L), }", eight)).size() == 2);
}

TEST_CASE("npy: every type in either byte order") {
  struct Case {
    std::string type, little;  // the numbers -1 or 1, and 2
    double first;
    DType dtype;
  };
  const std::vector<Case> cases = {
      {"b1", {"\1\0", 2}, 1, DType::boolean},
      {"i1", "\xff\2", -1, DType::i8},
      {"u1", "\1\2", 1, DType::u8},
      {"i2", {"\xff\xff\2\0", 4}, -1, DType::i16},
      {"u2", {"\1\0\2\0", 4}, 1, DType::u16},
      {"i4", {"\xff\xff\xff\xff\2\0\0\0", 8}, -1, DType::i32},
      {"u4", {"\1\0\0\0\2\0\0\0", 8}, 1, DType::u32},
      {"i8", {"\xff\xff\xff\xff\xff\xff\xff\xff\2\0\0\0\0\0\0\0", 16}, -1, DType::i64},
      {"u8", {"\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0", 16}, 1, DType::u64},
      {"f2", {"\0\xbc\0\x40", 4}, -1, DType::f16},
      {"f4", {"\0\0\x80\xbf\0\0\0\x40", 8}, -1, DType::f32},
      {"f8", {"\0\0\0\0\0\0\xf0\xbf\0\0\0\0\0\0\0\x40", 16}, -1, DType::f64},
  };
  for (const Case& c : cases) {
    INFO(c.type);
    const std::size_t size = c.little.size() / 2;
    std::string big = c.little;
    for (std::size_t i = 0; i < big.size(); i += size) std::reverse(big.data() + i, big.data() + i + size);
    const std::vector<double> expected = {c.first, c.type == "b1" ? 0.0 : 2.0};
    for (const char* order : size == 1 ? std::vector<const char*>{"|", "<"} : std::vector<const char*>{"<", ">"}) {
      const auto file =
          npy_of(fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': (2,), }}", order, c.type),
                 *order == '>' ? big : c.little);
      const HostTensor array = parse_npy(file, "f");
      CHECK(array.dtype == c.dtype);
      CHECK(array.to_f64() == expected);
    }
  }
}

TEST_CASE("npy: Fortran order becomes row major") {
  // numpy.arange(24).reshape(2, 3, 4), element (i, j, k) at i + 2 j + 6 k in the file.
  std::string data(24, '\0');
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 3; ++j)
      for (int k = 0; k < 4; ++k)
        data[static_cast<std::size_t>(i + 2 * j + 6 * k)] = static_cast<char>(12 * i + 4 * j + k);
  const HostTensor array =
      parse_npy(npy_of("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3, 4), }", data), "f");
  const std::vector<double> values = array.to_f64();
  REQUIRE(values.size() == 24);
  for (std::size_t i = 0; i < 24; ++i) CHECK(values[i] == static_cast<double>(i));
  CHECK(parse_npy(npy_of("{'descr': '<f4', 'fortran_order': True, 'shape': (0, 3), }", ""), "f").count() == 0);
  CHECK(parse_npy(npy_of("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }", eight), "f").to_f64() ==
        std::vector<double>{0, 1});
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
  for (const std::string type : {"|O", "<c8", "<U3", "|S4", "<M8[ns]", "<f16", "=f4", "f4", "", "<", "<i3"}) {
    refused(npy_of(fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': (2,), }}", type), eight),
            fmt::format("holds elements of type '{}'", type));
  }
  refused(npy_of("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", eight), "Python's objects");
  refused(npy_of("{'descr': [('a', '<f4'), ('b', '<i4')], 'fortran_order': False, 'shape': (1,), }", eight),
          "holds records of several fields; save one of them");
  refused(npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", eight), "has the .npy header");
  refused(npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", eight),
          "do not fill");
  refused(npy_of("{'descr': '<f4', 'fortran_order': False, }", eight), "has the .npy header");
  refused(npy_of("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", eight), "header");
  refused(npy_of(good + " print()", eight), "has the .npy header");
  refused(npy_of("", eight), "has the .npy header");
}

TEST_CASE("npy: random damage is read or refused, never worse") {
  const auto file = npy_of("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 2), }", eight);
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
