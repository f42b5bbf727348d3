// safetensors: round trips, the reference package's own file, and every way a file can be wrong.
#include "engine/formats/safetensors.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "shared_data.h"

using namespace nepenthe;
using namespace nepenthe::tests;

namespace {

using Bytes = std::vector<std::byte>;

StateDict sample() {
  StateDict state;
  const std::array<float, 3> odd = {1.5F, -0.0F, 1e-40F};
  const std::array<std::int64_t, 1> steps = {-7};
  const std::array<float, 6> grid = {0, 1, 2, 3, 4, 5};
  state.add("z.weight", HostTensor::from({2, 3}, grid));
  state.add("bn.num_batches_tracked", HostTensor::from({}, steps));
  state.add("a.bias", HostTensor::from({3}, odd));
  state.add("empty", HostTensor::from({0, 4}, std::span<const float>{}));
  state.metadata = {{"seed", "1"}, {"model", "resnet20 \"é\"\n"}};
  return state;
}

/// A file of this header and so many zero bytes of data.
Bytes file_of(std::string_view header, std::size_t data) {
  const std::uint64_t size = header.size();
  Bytes file(8 + header.size() + data);
  std::memcpy(file.data(), &size, 8);
  std::memcpy(file.data() + 8, header.data(), header.size());
  return file;
}

std::string refusal(const Bytes& file) {
  const std::string message = message_of<Error>([&] { (void)parse_safetensors(file, "f.safetensors"); });
  CHECK(message.starts_with("f.safetensors: "));
  CHECK(message.find('\n') == std::string::npos);
  return message;
}

void check_refused(std::string_view header, std::size_t data, std::string_view expected) {
  const std::string message = refusal(file_of(header, data));
  INFO(message);
  CHECK(message.find(expected) != std::string::npos);
}

}  // namespace

TEST_CASE("safetensors: what is written is read again, bit for bit") {
  const StateDict state = sample();
  const Bytes file = serialize_safetensors(state);
  const StateDict read = parse_safetensors(file, "memory");
  CHECK(read.metadata == state.metadata);
  CHECK(read.entries.size() == state.entries.size());
  for (const auto& [name, tensor] : state.entries) {
    INFO(name);
    const HostTensor* found = read.find(name);
    REQUIRE(found != nullptr);
    CHECK(found->dtype == tensor.dtype);
    CHECK(found->shape == tensor.shape);
    CHECK(found->bytes == tensor.bytes);
  }
  CHECK(read.find("bn.num_batches_tracked")->i64()[0] == -7);
  CHECK(std::signbit(read.find("a.bias")->f32()[1]));

  const TemporaryFolder folder;
  write_safetensors(folder / "w.safetensors", state);
  CHECK(read_file(folder / "w.safetensors") == file);
  CHECK(serialize_safetensors(read_safetensors(folder / "w.safetensors")) == file);
}

TEST_CASE("safetensors: equal content gives equal bytes, aligned") {
  StateDict state = sample();
  const Bytes file = serialize_safetensors(state);
  std::swap(state.entries[0], state.entries[2]);
  CHECK(serialize_safetensors(state) == file);
  std::uint64_t header = 0;
  std::memcpy(&header, file.data(), 8);
  CHECK(header % 8 == 0);
  CHECK(sha256_hex(file) == "4d8099dd1ab29ee381c92c83709659cfd2d4aa2e279f995d4e410bed717eb796");
}

TEST_CASE("safetensors: the writer refuses what no reader could use") {
  StateDict state;
  const std::array<float, 1> one = {1};
  state.entries.emplace_back("a", HostTensor::from({1}, one));
  NEPENTHE_CHECK_MESSAGE(Error, state.add("a", HostTensor::from({1}, one)), "'a' is there twice");
  SUBCASE("a doubled name") {
    state.entries.emplace_back("a", HostTensor::from({1}, one));
    NEPENTHE_CHECK_MESSAGE(Error, serialize_safetensors(state), "'a' is no name");
  }
  SUBCASE("a reserved name") {
    state.entries[0].first = "__metadata__";
    NEPENTHE_CHECK_MESSAGE(Error, serialize_safetensors(state), "reserved");
  }
  SUBCASE("a name that is no UTF-8") {
    state.entries[0].first = "\xff";
    NEPENTHE_CHECK_MESSAGE(Error, serialize_safetensors(state), "no UTF-8");
  }
  SUBCASE("a shape that does not fit") {
    state.entries[0].second.shape = {2};
    NEPENTHE_CHECK_MESSAGE(Error, serialize_safetensors(state), "4 bytes do not fill the shape (2,) of F32");
  }
}

TEST_CASE("safetensors: damaged files are refused with what would be right") {
  CHECK(refusal({}).find("has 0 bytes") != std::string::npos);
  CHECK(refusal(Bytes(7)).find("has 7 bytes") != std::string::npos);
  CHECK(refusal(Bytes(8, std::byte{0xff})).find("claims a header of 18446744073709551615 bytes, but 0 follow") !=
        std::string::npos);
  Bytes terabytes = file_of("{}", 0);
  terabytes[5] = std::byte{1};  // 2^40 and 2
  CHECK(refusal(terabytes).find("claims a header of 1099511627778 bytes, but 2 follow") != std::string::npos);

  Bytes file = serialize_safetensors(sample());
  const std::uint64_t size = file.size();
  file.pop_back();
  CHECK(refusal(file).find("must rise and stay within the") != std::string::npos);
  file.resize(size + 1);
  CHECK(refusal(file).find("bytes follow the header, but its tensors cover") != std::string::npos);

  check_refused("", 0, "no safetensors file");
  check_refused("[]", 0, "does not begin with '{'");
  check_refused("\xef\xbb\xbf{}", 0, "does not begin with '{'");
  check_refused("{", 0, "no valid JSON");
  check_refused("{}x", 0, "no valid JSON");
  check_refused("{\"\xff\":1}", 0, "no valid JSON");
  check_refused(R"({"a":{"dtype":"F32","dtype":"F16","shape":[],"data_offsets":[0,4]}})", 4,
                "tensor 'a' has 'dtype' twice");
  check_refused(R"({"a":3})", 0, "tensor 'a' is a JSON number");
  check_refused(R"({"a\n":{"shape":[],"data_offsets":[0,4]}})", 4, "tensor 'a\\x0a' has no 'dtype'");
  check_refused(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "has no 'shape'");
  check_refused(R"({"a":{"dtype":"F32","shape":[]}})", 4, "has no 'data_offsets'");
  check_refused(R"({"a":{"dtype":"float32","shape":[1],"data_offsets":[0,4]}})", 4, "has dtype \"float32\"; one of");
  check_refused(R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})", 2, "or is no whole number of bytes");
  check_refused(R"({"a":{"dtype":7,"shape":[4],"data_offsets":[0,4]}})", 4, "has dtype 7");
  check_refused(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "has shape [-1]");
  check_refused(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "has shape [1.0]");
  check_refused(R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4, "has shape 1");
  check_refused(R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "has shape [[1]]");
  check_refused(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", 4, "overflows");
  check_refused(R"({"a":{"dtype":"F64","shape":[9223372036854775807],"data_offsets":[0,4]}})", 4, "overflows");
  check_refused(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4, "whole numbers");
  check_refused(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0]}})", 4, "has data_offsets [0]");
  check_refused(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[-4,0]}})", 4, "has data_offsets [-4,0]");
  check_refused(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[4,0]}})", 4, "must rise");
  check_refused(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[4,8]}})", 4, "within the 4 bytes");
  check_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
                "has 4 bytes; F32 of shape (2,) needs 8");
  check_refused(R"({"__metadata__":{"a":1}})", 0, "__metadata__ is no object of texts");
  check_refused(R"({"__metadata__":[]})", 0, "__metadata__ is no object of texts");
  check_refused(R"({"__metadata__":{"a":null}})", 0, "__metadata__ is no object of texts");
  check_refused(R"({"__metadata__":null,"__metadata__":{}})", 0, "has __metadata__ twice");
  const std::string first = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],)";
  check_refused(first + R"("data_offsets":[4,8]}})", 8, "begins at byte 4 of the data; it must begin at 8");
  check_refused(first + R"("data_offsets":[12,16]}})", 16, "there is a hole");
  check_refused("{" + std::string(100'000, ' '), 0, "no valid JSON");
  check_refused("{\"a\":" + std::string(100'000, '['), 0, "nested deeper");

  const TemporaryFolder folder;
  NEPENTHE_CHECK_MESSAGE(Error, read_safetensors(folder / "none"), "none: cannot open: No such file or directory");
}

TEST_CASE("safetensors: what the reference package reads is read") {
  const auto read = [](std::string_view header, std::size_t data) {
    return parse_safetensors(file_of(header, data), "f");
  };
  const std::string entry = R"("dtype":"F32","shape":[1],"data_offsets":[0,4])";
  const auto with = [&](std::string_view more) { return fmt::format("{{\"a\":{{{}{}}}}}", entry, more); };
  CHECK(read(fmt::format("{{\"__metadata__\":null,\"a\":{{{}}}}}", entry), 4).metadata.empty());
  CHECK(read(R"({"__metadata__":{"k":"1","k":"2"}})", 0).metadata.at("k") == "2");
  for (const std::string_view more :
       {R"(,"x":1)", R"(,"x":null,"x":[{"dtype":1}])", R"(,"x":123456789012345678901234567890)"}) {
    CHECK(read(with(more), 4).entries.size() == 1);
  }
  CHECK(read(with(fmt::format(",\"x\":{}{}", std::string(125, '['), std::string(125, ']'))), 4).entries.size() == 1);
  check_refused(with(fmt::format(",\"x\":{}{}", std::string(126, '['), std::string(126, ']'))), 4,
                "nested deeper than 127");
  check_refused(with(R"(,"x":1e999)"), 4, "no valid JSON");
  CHECK(read(fmt::format(" \t\r\n{}", with("")), 4).entries.size() == 1);
  CHECK(read(fmt::format("{} \n", with("")), 4).entries.size() == 1);
  CHECK(read(fmt::format("{{\"\":{{{}}}}}", entry), 4).find("") != nullptr);
  CHECK(read("{}", 0).entries.empty());
  // The last of two tensors of one name counts, whatever the first claimed.
  const std::string other = R"("dtype":"F32","shape":[9],"data_offsets":[4,8])";
  CHECK(read(fmt::format("{{\"a\":{{{}}},\"a\":{{{}}}}}", other, entry), 4).find("a")->count() == 1);
  check_refused(fmt::format("{{\"a\":{{{}}},\"a\":{{{}}}}}", entry, other), 8, "tensor 'a' has 4 bytes");
  check_refused(fmt::format("{{\"a\":3,\"a\":{{{}}}}}", entry), 4, "tensor 'a' is a JSON number");
  // Empty tensors lie anywhere between others, and any alignment will do.
  CHECK(
      read(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F64","shape":[1],"data_offsets":[1,9]},
               "c":{"dtype":"F32","shape":[0,7],"data_offsets":[1,1]}})",
           9)
          .entries.size() == 3);
}

TEST_CASE("safetensors: every dtype of the reference package is carried; what is no float is no weight") {
  struct Case {
    std::string_view name;
    std::size_t bytes;  // of 8 elements
  };
  for (const auto& [dtype, bytes] : std::vector<Case>{
           {"BOOL", 8},        {"U8", 8},          {"I8", 8},      {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8},
           {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
           {"I32", 32},        {"U32", 32},        {"F32", 32},    {"F64", 64},    {"I64", 64},    {"U64", 64},
           {"C64", 64},        {"F4", 4},          {"F6_E2M3", 6}, {"F6_E3M2", 6}}) {
    INFO(dtype);
    const std::string header =
        fmt::format(R"({{"a":{{"dtype":"{}","shape":[2,4],"data_offsets":[0,{}]}}}})", dtype, bytes);
    const StateDict state = parse_safetensors(file_of(header, bytes), "f");
    const HostTensor* tensor = state.find("a");
    REQUIRE(tensor != nullptr);
    CHECK(tensor->count() == 8);
    CHECK(name(tensor->dtype) == dtype);
    const StateDict again = parse_safetensors(serialize_safetensors(state), "g");
    CHECK(again.find("a")->dtype == tensor->dtype);
    if (dtype == "F16" || dtype == "BF16" || dtype == "F32" || dtype == "F64") {
      CHECK(tensor->to_f32() == std::vector<float>(8));
    } else {
      NEPENTHE_CHECK_MESSAGE(Error, tensor->to_f32(), fmt::format("the elements are {}; F32, F64, F16 or BF16", dtype));
    }
    check_refused(header, bytes - 1, "stay within");
    check_refused(header, bytes + 1, "its tensors cover");
  }
}

TEST_CASE("safetensors: a file of the reference package is read") {
  const auto path = golden_file("from_python.safetensors");
  if (!path) return;
  const StateDict state = read_safetensors(*path);
  CHECK(state.entries.size() == 6);
  CHECK(state.metadata.at("note") == "line one\nline \"two\"\t\\ \u00e9 \U0001f600");
  const HostTensor* f32 = state.find("f32");
  REQUIRE(f32 != nullptr);
  CHECK(f32->shape == std::vector<std::int64_t>{2, 3});
  CHECK(f32->f32()[1] == -1.25F);
  CHECK(f32->f32()[4] == 1e30F);
  CHECK(state.find("f64")->dtype == DType::f64);
  CHECK(state.find("f64")->to_f32()[1] == -2.5F);
  CHECK(state.find("i64")->i64()[2] == std::int64_t{1} << 62);
  CHECK(state.find("scalar")->shape.empty());
  CHECK(state.find("scalar")->f32()[0] == 0.125F);
  CHECK(state.find("empty")->count() == 0);
  CHECK(state.find("name with \"quotes\", \\ and \u00e9")->f32()[0] == 7.0F);
}

TEST_CASE("host tensor: halves and bfloats become fp32 exactly, integers are refused") {
  HostTensor tensor{DType::f16, {6}, Bytes(12)};
  const std::array<std::uint16_t, 6> halves = {0x3C00, 0xC000, 0x0001, 0x7BFF, 0x7C00, 0x8000};
  std::memcpy(tensor.bytes.data(), halves.data(), 12);
  const std::vector<float> values = tensor.to_f32();
  CHECK(values[0] == 1.0F);
  CHECK(values[1] == -2.0F);
  CHECK(values[2] == 0x1p-24F);
  CHECK(values[3] == 65504.0F);
  CHECK(std::isinf(values[4]));
  CHECK((values[5] == 0.0F && std::signbit(values[5])));
  tensor.dtype = DType::bf16;
  CHECK(tensor.to_f32()[0] == 0x1.0p-7F);  // 0x3C00 as bfloat16: exponent 120
  tensor.dtype = DType::i16;
  NEPENTHE_CHECK_MESSAGE(Error, tensor.to_f32(), "the elements are I16; F32, F64, F16 or BF16 is needed");
  NEPENTHE_CHECK_MESSAGE(Error, tensor.f32(), "the elements are I16; F32 is needed");
}

TEST_CASE("safetensors: random damage is read or refused, never worse") {
  const Bytes file = serialize_safetensors(sample());
  std::mt19937 random(1);
  int refused = 0;
  for (int round = 0; round < 4000; ++round) {
    Bytes damaged = file;
    const auto flips = 1 + random() % 3;
    for (unsigned i = 0; i < flips; ++i) damaged[random() % damaged.size()] = static_cast<std::byte>(random());
    if (round % 4 == 0) damaged.resize(random() % damaged.size());
    try {
      (void)parse_safetensors(damaged, "fuzz");
    } catch (const Error&) {
      ++refused;
    }
  }
  CHECK(refused > 2000);
}
