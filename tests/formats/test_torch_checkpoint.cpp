// PyTorch zip checkpoints: PyTorch's own files, made-up ones, every way a file can be wrong or made to harm, and ours.
#include "engine/formats/torch_checkpoint.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <string>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/pickle.h"
#include "engine/formats/safetensors.h"
#include "formats/made_checkpoint.h"

using namespace nepenthe;
using namespace nepenthe::tests;
using namespace std::string_literals;

TEST_CASE("torch checkpoint: the study's ResNet56 has its names, shapes and numbers") {
  const auto path = shared_data("weights/cifar100_resnet56-f2eff4c8.pt");
  if (!path) return;
  const StateDict state = read_weights(*path);
  CHECK(state.entries.size() == 344);
  std::int64_t parameters = 0;
  int counters = 0;
  for (const auto& [name, entry] : state.entries) {
    if (name.ends_with("num_batches_tracked")) {
      ++counters;
      CHECK(entry.shape.empty());
      CHECK(entry.i64()[0] > 0);
    } else if (!name.ends_with("running_mean") && !name.ends_with("running_var")) {
      parameters += entry.count();
      CHECK(entry.dtype == DType::f32);
    }
  }
  CHECK(parameters == 861'620);
  CHECK(counters == 57);
  CHECK(state.entries.front().first == "conv1.weight");
  CHECK(state.entries.front().second.shape == std::vector<std::int64_t>{16, 3, 3, 3});
  CHECK(state.find("fc.weight")->shape == std::vector<std::int64_t>{100, 64});
}

TEST_CASE("torch checkpoint: PyTorch's golden files give PyTorch's values") {
  const auto expected_path = golden_file("checkpoints/expected.json");
  if (!expected_path) return;
  const auto expected = nlohmann::json::parse(std::ifstream(*expected_path));
  for (const auto& [file, tensors] : expected.items()) {
    INFO(file);
    const StateDict state = read_weights(expected_path->parent_path() / file);
    CHECK(state.entries.size() == tensors.size());
    for (const auto& [name, values] : tensors.items()) {
      INFO(name);
      const HostTensor* found = state.find(name);
      REQUIRE(found != nullptr);
      CHECK(found->shape == values["shape"].get<std::vector<std::int64_t>>());
      if (found->dtype == DType::i64) {
        CHECK(values["dtype"] == "int64");
        CHECK(found->i64()[0] == values["values"][0].get<std::int64_t>());
        continue;
      }
      const auto wanted = values["values"].get<std::vector<double>>();
      const std::vector<float> got = found->to_f32();
      REQUIRE(got.size() == wanted.size());
      for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == static_cast<float>(wanted[i]));
    }
  }
}

TEST_CASE("torch checkpoint: PyTorch's golden files that must be refused are, and run nothing") {
  const auto folder = golden_file("checkpoints/evil.pt");
  if (!folder) return;
  const auto in_folder = [&](const char* name) { return folder->parent_path() / name; };
  const auto trace = std::filesystem::temp_directory_path() / "nepenthe_evil";
  std::filesystem::remove(trace);
  NEPENTHE_CHECK_MESSAGE(Error, read_weights(in_folder("evil.pt")), ".system); a dict of tensors is expected");
  NEPENTHE_CHECK_MESSAGE(Error, read_weights(in_folder("evil_eval.pt")), ".eval); a dict of tensors is expected");
  NEPENTHE_CHECK_MESSAGE(Error, read_weights(in_folder("legacy.pt")), "old format without zip");
  CHECK_FALSE(std::filesystem::exists(trace));
}

TEST_CASE("torch checkpoint: views, shared storages and nesting") {
  const StateDict state = parse(checkpoint(dict({{"whole", whole},
                                                 {"transposed", tensor(storage("0", 6), 0, {3, 2}, {1, 3})},
                                                 {"part", tensor(storage("0", 6), 4, {2}, {1})},
                                                 {"scalar", tensor(storage("0", 6), 5, {}, {})},
                                                 {"repeated", tensor(storage("0", 6), 2, {2, 2}, {0, 1})},
                                                 {"one", tensor(storage("0", 6), 3, {1, 1}, {INT64_MAX, -7})},
                                                 {"empty", tensor(storage("0", 6), 0, {0, 3}, {3, 1})}})));
  using Floats = std::vector<float>;
  CHECK(state.entries.front().first == "whole");
  CHECK(state.find("whole")->to_f32() == Floats{0, 1, 2, 3, 4, 5});
  CHECK(state.find("transposed")->to_f32() == Floats{0, 3, 1, 4, 2, 5});
  CHECK(state.find("part")->to_f32() == Floats{4, 5});
  CHECK(state.find("scalar")->shape.empty());
  CHECK(state.find("scalar")->to_f32() == Floats{5});
  CHECK(state.find("repeated")->to_f32() == Floats{2, 3, 2, 3});
  CHECK(state.find("one")->to_f32() == Floats{3});
  CHECK(state.find("empty")->count() == 0);

  const std::string inner = dict({{"module.w", whole}});
  for (const std::string key : {"state_dict", "model_state_dict", "model"}) {
    CHECK(parse(checkpoint(dict({{"epoch", number(3)}, {key, inner}}))).find("module.w") != nullptr);
  }
  CHECK(parse(checkpoint(inner, {{.name = "a/byteorder", .data = "little"}, {.name = "a/version", .data = "3\n"}}))
            .entries.size() == 1);
}

TEST_CASE("torch checkpoint: whatever lies beside the weights or among them is passed over and named") {
  const std::string build = "b", no_arguments = ")", one_tuple = "\x85", two_tuple = "\x86";
  const std::string list12 = cat("](", number(1), number(2), "e");
  const std::string encoded = made("_codecs", "encode", cat(text("\xc3\xbf"), text("latin1")));
  const std::string numpy_type =
      cat(made("numpy", "dtype", cat(text("f8"), "\x89\x88")), mark, number(3), text("<"), "NNN", tuple, build);
  struct Beside {
    std::string value, named;
  };
  const std::vector<Beside> all = {
      // What PyTorch's safe loader lets through.
      {made("__builtin__", "set", list12), "an object of __builtin__.set"},
      {cat("\x8f(", number(1), number(2), "\x90"), "an object of builtins.set"},
      {cat("(", number(1), "\x91"), "an object of builtins.frozenset"},
      {made("torch", "Size", numbers({2, 3})), "an object of torch.Size"},
      {made("torch", "device", text("cpu")), "an object of torch.device"},
      {global("torch", "float32"), "the name torch.float32"},
      {encoded, "an object of _codecs.encode"},
      {made("__builtin__", "bytearray", encoded), "an object of __builtin__.bytearray"},
      {made("__builtin__", "complex", "G?\xf0\0\0\0\0\0\0G?\xf0\0\0\0\0\0\0"s), "an object of __builtin__.complex"},
      {"C\2ab", "an object of builtins.bytes"},
      {cat("B", little<std::uint32_t>(2), "ab"), "an object of builtins.bytes"},
      {cat("\x8e", little<std::uint64_t>(2), "ab"), "an object of builtins.bytes"},
      {cat("\x96", little<std::uint64_t>(2), "ab"), "an object of builtins.bytearray"},
      {cat("\x8a\x09", std::string(9, '\1')), "an object of builtins.int"},
      {cat("\x8b", little<std::uint32_t>(300), std::string(300, '\1')), "an object of builtins.int"},
      {cat("\x8b", little<std::uint32_t>(1), "\7"), "a number"},
      {"\x8a\0"s, "a number"},
      {cat("\x8c\2ab"), "a text"},
      {cat("\x8d", little<std::uint64_t>(2), "ab"), "a text"},
      {"U\2ab", "a text"},
      {cat("T", little<std::uint32_t>(2), "ab"), "a text"},
      {made("collections", "Counter", dict({{"a", number(2)}})), "an object of collections.Counter"},
      {cat(global("collections", "OrderedDict"), ")R", dict({{"_metadata", number(1)}}), build), "a dict"},
      {cat(global("collections", "defaultdict"), global("__builtin__", "list"), one_tuple, reduce, text("a"), "Ns"),
       "an object of collections.defaultdict"},
      {made("torch._utils", "_rebuild_sparse_tensor", cat(global("torch", "sparse_coo"), numbers({1}))),
       "an object of torch._utils._rebuild_sparse_tensor"},
      {tensor(storage("0", 6, "ComplexFloatStorage"), 0, {1}, {1}), "an object of torch.ComplexFloatStorage"},
      {cat(global("torch._utils", "_rebuild_parameter"), mark, tensor(storage("0", 6, "QInt8Storage"), 0, {1}, {1}),
           "\x88N", tuple, reduce),
       "torch.QInt8Storage"},
      // What it refuses.
      {made("numpy._core.multiarray", "scalar", cat(numpy_type, encoded)),
       "an object of numpy._core.multiarray.scalar"},
      {cat(global("argparse", "Namespace"), no_arguments, "\x81", dict({{"lr", number(1)}}), build),
       "an object of argparse.Namespace"},
      {cat(global("a", "List"), no_arguments, "\x81", "(", number(1), "e", number(2), "a"), "an object of a.List"},
      {cat(global("a", "Dict"), no_arguments, "\x81", "(", number(1), whole, "u", text("w"), whole, "s"),
       "an object of a.Dict"},
      {cat(global("a", "New"), numbers({1}), dict({{"k", number(1)}}), "\x92"), "an object of a.New"},
      {cat("(", global("a", "Old"), number(1), "o", "}b"), "an object of a.Old"},
      {cat("(", number(1), "ia\nOlder\n"), "an object of a.Older"},
      {cat(text("posix"), "\x94", text("system"), "\x94\x93\x94", text("touch x"), one_tuple, reduce),
       "an object of posix.system"},
      {cat(made("__builtin__", "getattr", cat(global("os", "path"), text("x"))), no_arguments, reduce),
       "an object of __builtin__.getattr"},
      {cat("(NNN1", number(1), "N0"), "a number"},
      {cat("\x95", little<std::uint64_t>(1), "N"), "None"},
  };
  for (const auto& [value, named] : all) {
    INFO(named);
    const std::string beside = dict({{"a", value}, {"state_dict", dict({{"w", whole}})}, {"z", value}});
    CHECK(parse(checkpoint(beside)).find("w") != nullptr);
    const WeightsFile among =
        parse_torch_checkpoint(bytes_of(checkpoint(dict({{"w", whole}, {"bn.x", value}}))), "f.pt");
    CHECK(among.state.entries.size() == 1);
    CHECK(among.passed_over.starts_with("'bn.x' ("));
    CHECK(among.passed_over.ends_with(fmt::format("{})", named)));
  }
  check_refused(checkpoint(cat("}", global("torch", "float32"), number(1), "s")),
                "holds a dict with the name torch.float32 (a number)");
}

TEST_CASE("torch checkpoint: the forms of a parameter, and a tensor with attributes") {
  const std::string state = dict({{"a", number(1)}});
  const std::string v1 = cat(global("torch._utils", "_rebuild_tensor"), mark, storage("0", 6), number(0),
                             numbers({2, 3}), numbers({3, 1}), tuple, reduce);
  const std::string arguments = cat(mark, storage("0", 6), number(0), numbers({2, 3}), numbers({3, 1}), "\x89N", tuple);
  for (const std::string& value :
       {v1, made("torch._utils", "_rebuild_parameter", cat(whole, "\x88N")),
        made("torch._utils", "_rebuild_parameter_with_state", cat(whole, "\x88N", state)),
        cat(global("torch.nn.parameter", "Parameter"), mark, whole, tuple, "\x81"),
        made("torch._tensor", "_rebuild_from_type_v2",
             cat(global("torch._utils", "_rebuild_tensor_v2"), global("torch", "Tensor"), arguments, state)),
        cat(whole, state, "b")}) {
    CHECK(parse(checkpoint(dict({{"w", value}}))).find("w")->to_f32() == std::vector<float>{0, 1, 2, 3, 4, 5});
  }
  check_refused(
      checkpoint(dict({{"w", made("torch._tensor", "_rebuild_from_type_v2", cat(global("os", "system"), "N)N"))}})),
      "holds a dict with 'w' (an object of torch._tensor._rebuild_from_type_v2)");
}

TEST_CASE("torch checkpoint: pickles that are damaged or made to harm") {
  const auto refused = [](const std::string& pickle, const std::string& expected) {
    check_refused(checkpoint(pickle), expected);
  };
  refused(cat(global("posix", "system"), text("touch x"), "\x85R"),
          "holds an object of posix.system; a dict of tensors");
  refused(global("torch", "load"), "holds the name torch.load; a dict of tensors is expected");
  refused(cat(global("a\x1b[2J", "b"), ")R"), "an object of a\\x1b[2J.b;");
  refused(cat(global("collections", "OrderedDict"), numbers({1}), reduce),
          "holds an object of collections.OrderedDict;");
  refused(cat(number(1), ")", reduce), "calls a number");
  refused(cat(")", text("x"), reduce), "has a text where a tuple belongs");
  refused("", "takes a value from an empty stack");
  refused("t", "closes a group that it never opened");
  refused(cat(mark, "s"), "takes a value from an empty stack");
  refused("]h\x07", "refers to entry 7 of its memo, which is empty");
  refused(cat("]j", little<std::uint32_t>(0xffffffff)), "entry 4294967295");
  refused(cat("}", mark, text("k"), "u"), "a key without a value");
  refused(cat("]", number(1), "N", "s"), "sets items of a list");
  refused(cat("}", number(1), "a"), "appends to a dict");
  refused(cat("]", std::string("N"), "b"), "sets attributes of a list");
  refused("NN", "ends with values left over");
  refused(cat("X", little<std::uint32_t>(0xffffffff), "abc"), "ends in the middle of an operation");
  refused("cposix", "ends in the middle of an operation");
  refused(cat("\x8a\x09", std::string(9, 'x')), "holds an object of builtins.int");
  refused(cat("\x8b", little<std::uint32_t>(0xffffffff), "abc"), "ends in the middle of an operation");
  refused(cat("\x8d", little<std::uint64_t>(~0ULL), "abc"), "ends in the middle of an operation");
  refused("\x95\1\0"s, "ends in the middle of an operation");
  refused(cat("\x97"), "has operation 0x97, which torch.save does not emit");
  refused("p0\n", "has operation 0x70");
  refused("\x93", "takes a value from an empty stack");
  refused(cat(text("os"), number(1), "\x93"), "has a number where a text belongs");
  refused(cat(global("a", "b"), "\x81"), "has the name a.b where a tuple belongs");
  refused("(o", "makes an object of nothing");
  refused("]\x90", "closes a group that it never opened");
  refused(cat("](", number(1), "\x90"), "adds to a list");
  refused(cat(global("torch._tensor", "_rebuild_from_type_v2"), ")", reduce), "builds a tensor from 0 values");
  refused(cat(global("torch._utils", "_rebuild_parameter"), ")", reduce), "has a parameter without a tensor");
  refused(tensor(storage(std::string(257, '0'), 6), 0, {1}, {1}), "a storage of a name of 257 bytes");
  refused(cat(text("x"), persistent_id), "has a text where a tuple belongs");
  refused(cat(numbers({1}), persistent_id), "refers to something that is no tensor's storage");
  check_refused(zip({{.name = "a/data.pkl", .data = "\x80\x06}."}}),
                "has pickle protocol 6; 2 (the default of torch.save) to 5 are read");
  check_refused(zip({{.name = "a/data.pkl", .data = "cos\nsystem\n."}}), "is no pickle of protocol 2 to 5");
  check_refused(zip({{.name = "a/data.pkl", .data = ""}}), "ends in the middle of an operation");

  // One tuple that serves ever more tensors takes no memory for each.
  std::string many = cat(global("torch._utils", "_rebuild_tensor_v2"), "q\1(", storage("0", 6), number(0),
                         numbers(std::vector<std::int64_t>(64, 1)), "q\2h\2\x89Ntq\3R");
  for (int i = 0; i < 100'000; ++i) many += "h\1h\3R0";
  refused(many, "has tensors of more dimensions than bytes");
  // Nor does one long name that is used again and again.
  std::string names = cat(text(std::string(1'000'000, 'm')), "q\1");
  for (int i = 0; i < 300'000; ++i)
    names +=
        "h\1h\1\x93"
        "0";
  refused(names, "holds a text");
  // Deep nesting neither recurses nor leaks.
  std::string deep = ")";
  for (int i = 0; i < 1'000'000; ++i) deep += "\x85";
  refused(deep, "holds a tuple");
  refused(std::string(5'000'000, '('), "opens more than");
}

TEST_CASE("torch checkpoint: tensors stay within their storages, storages within their members") {
  const auto refused = [](const std::string& value, const std::string& expected) {
    check_refused(checkpoint(dict({{"w", value}})), expected);
  };
  refused(tensor(storage("0", 6), 0, {7}, {1}), "shape (7,), strides (1,) and offset 0 that leaves its storage of 6");
  refused(tensor(storage("0", 6), 6, {}, {}), "leaves its storage");
  refused(tensor(storage("0", 6), -1, {1}, {1}), "leaves its storage");
  refused(tensor(storage("0", 6), 3, {2}, {-1}), "leaves its storage");
  refused(tensor(storage("0", 6), 0, {3, 3}, {INT64_MAX, INT64_MAX}), "leaves its storage");
  refused(tensor(storage("0", 6), 0, {-2}, {1}), "has a tensor of shape (-2,), which is no shape");
  refused(tensor(storage("0", 6), 0, {INT64_MAX, 3}, {0, 0}), "which is no shape");
  refused(tensor(storage("0", 6), 0, {1'000'000'000, 1000}, {0, 0}), "repeats its storage beyond all measure");
  refused(tensor(storage("0", 6), 0, {2}, {1, 1}), "with 2 strides");
  refused(tensor(storage("0", 6), 0, std::vector<std::int64_t>(65, 1), {1}), "65 dimensions");
  refused(tensor(storage("1", 6), 0, {1}, {1}), "lacks member 'data/1'");
  refused(tensor(storage("../version", 6), 0, {1}, {1}), "lacks member 'data/../version'");
  refused(tensor(storage("0", 5), 0, {1}, {1}), "member 'data/0' has 24 bytes; 5 elements of F32 are expected");
  refused(tensor(storage("0", 6, "LongStorage"), 0, {1}, {1}), "6 elements of I64");
  refused(tensor(storage("0", -6), 0, {1}, {1}), "a storage of -6 elements");
  refused(tensor(storage("0", INT64_MAX), 0, {1}, {1}), "elements of F32 are expected");
  refused(tensor(number(1), 0, {1}, {1}), "from something that is no storage");
}

TEST_CASE("torch checkpoint: archives that are damaged or made to harm") {
  const std::string good = checkpoint(dict({{"w", whole}}));
  CHECK(parse(good).entries.size() == 1);
  std::string flipped = good;
  flipped[good.find("a/data/0") + 10] ^= 1;  // the first data member's bytes
  check_refused(flipped, "member 'a/data/0' fails its CRC-32");
  std::string unneeded = checkpoint(dict({{"w", whole}}), {{.name = "a/version", .data = "3\n"}});
  unneeded[unneeded.find("3\n")] = '4';
  check_refused(unneeded, "member 'a/version' fails its CRC-32");
  check_refused(good.substr(0, good.size() / 2), "is no complete zip archive");
  check_refused(good.substr(0, good.size() - 1), "is no complete zip archive");
  check_refused(cat(good, "x"), "is no complete zip archive");
  check_refused(good.substr(0, 4), "is no complete zip archive");
  check_refused("", "is empty; a PyTorch zip checkpoint is expected");
  check_refused("hello", "is no zip archive; a PyTorch zip checkpoint is expected");
  check_refused(zip({{.name = "a/b", .data = "x"}}), "with 0 members data.pkl");
  check_refused(zip({{.name = "a/data.pkl", .data = "x"}, {.name = "b/data.pkl", .data = "x"}}),
                "with 2 members data.pkl");
  check_refused(zip({{.name = "a/b", .data = "x"}, {.name = "a/b", .data = "x"}}), "has member 'a/b' twice");
  check_refused(zip({{.name = "a/b", .data = "x", .claimed = 0xfffffff0}}), "claims 4294967280 bytes, packed in 1");
  check_refused(zip({{.name = "a/b", .data = "x", .claimed = 0xfffffff0, .method = 8}}), "claims 4294967280 bytes");
  check_refused(zip({{.name = "a/b", .data = "xyz", .claimed = 1000, .method = 8}}), "the archive is damaged");
  check_refused(zip({{.name = "a/b", .data = "x", .method = 12}}), "has compression method 12");
  check_refused(zip({{.name = "a/b", .data = "x", .flags = 1}}), "is encrypted");
  check_refused(checkpoint("}", {{.name = "a/constants.pkl", .data = ""}}), "is a TorchScript archive");
  check_refused(checkpoint("}", {{.name = "a/byteorder", .data = "big"}}), "has byte order 'big'");
}

TEST_CASE("torch checkpoint: random damage is read or refused, never worse") {
  const std::string file = checkpoint(dict({{"w", whole}, {"v", tensor(storage("0", 6), 1, {2, 2}, {2, 1})}}));
  const std::string pickle = cat(proto, dict({{"w", whole}, {"v", tensor(storage("0", 6), 1, {2, 2}, {2, 1})}}), stop);
  std::mt19937 random(1);
  int refused = 0;
  for (int round = 0; round < 6000; ++round) {
    // Half of the rounds damage the pickle behind a fresh checksum, which whole files hide behind their CRC-32.
    std::string damaged = round % 2 == 0 ? file : pickle;
    const auto flips = 1 + random() % 3;
    for (unsigned i = 0; i < flips; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
    if (round % 8 < 2) damaged.resize(random() % damaged.size());
    if (round % 2 == 1) {
      damaged = zip({{.name = "a/data.pkl", .data = damaged}, {.name = "a/data/0", .data = std::string(24, 'x')}});
    }
    try {
      (void)parse(damaged);
    } catch (const Error&) {
      ++refused;
    }
  }
  CHECK(refused > 4000);
}

TEST_CASE("weights: the reader is chosen by content, whatever the name") {
  const TemporaryFolder folder;
  const auto path = folder / "weights.bin";
  write_file_atomically(path, checkpoint(dict({{"w", whole}})));
  CHECK(read_weights(path).entries.size() == 1);
  write_safetensors(path, read_weights(path));
  CHECK(read_weights(path).find("w")->shape == std::vector<std::int64_t>{2, 3});
  write_file_atomically(path, "these are no weights");
  NEPENTHE_CHECK_MESSAGE(Error, read_weights(path), "weights.bin: is neither a safetensors file nor a zip archive");
  write_file_atomically(path, "");
  NEPENTHE_CHECK_MESSAGE(Error, read_weights(path), "is empty; weights are read from safetensors or PyTorch");
  NEPENTHE_CHECK_MESSAGE(Error, read_weights(folder / "none"), "none: cannot open: No such file or directory");
}

namespace {

HostTensor counting(DType dtype, std::vector<std::int64_t> shape) {
  HostTensor made{dtype, std::move(shape), {}};
  made.bytes.resize(*byte_count(dtype, made.shape));
  for (std::size_t i = 0; i < made.bytes.size(); ++i) {
    made.bytes[i] = static_cast<std::byte>(dtype == DType::boolean ? i % 2 : i * 7 % 251);
  }
  return made;
}

void check_same(const StateDict& a, const StateDict& b) {
  REQUIRE(a.entries.size() == b.entries.size());
  for (std::size_t i = 0; i < a.entries.size(); ++i) {
    INFO(a.entries[i].first);
    CHECK(a.entries[i].first == b.entries[i].first);
    CHECK(a.entries[i].second.dtype == b.entries[i].second.dtype);
    CHECK(a.entries[i].second.shape == b.entries[i].second.shape);
    CHECK(a.entries[i].second.bytes == b.entries[i].second.bytes);
  }
}

}  // namespace

TEST_CASE("torch checkpoint: what is written is read back, in order, for every dtype and shape") {
  StateDict state;
  for (const DType dtype : {DType::u8, DType::f32, DType::f64, DType::f16, DType::bf16, DType::i64, DType::i32,
                            DType::i16, DType::i8, DType::boolean}) {
    for (const std::vector<std::int64_t>& shape :
         {std::vector<std::int64_t>{}, {1}, {37}, {5, 3}, {2, 3, 4, 5}, {0}, {2, 0, 3}, {0, INT64_MAX, INT64_MAX}}) {
      state.add(cat(name(dtype), to_string(shape)), counting(dtype, shape));
    }
  }
  state.add("", counting(DType::f32, {2}));
  state.add("größe\n'\"", counting(DType::f32, {70'000}));
  const Bytes file = serialize_torch_checkpoint(state);
  check_same(parse_torch_checkpoint(file, "f.pt").state, state);

  const TemporaryFolder folder;
  write_torch_checkpoint(folder / "a.pt", state);
  write_torch_checkpoint(folder / "another name.pth", parse_torch_checkpoint(file, "f.pt").state);
  CHECK(read_file(folder / "a.pt") == file);
  CHECK(read_file(folder / "another name.pth") == file);
  check_same(read_weights(folder / "a.pt"), state);
}

TEST_CASE("torch checkpoint: the bytes written are known, their tensors aligned") {
  StateDict state;
  state.add("w", HostTensor::from({2, 3}, std::vector<float>{0, 1, 2, 3, 4, 5}));
  state.metadata["not"] = "written";
  const Bytes file = serialize_torch_checkpoint(state);
  const std::string_view view = as_text(file);
  const std::string data = cat(little(0.f), little(1.f), little(2.f), little(3.f), little(4.f), little(5.f));
  CHECK(view.find(data) % 64 == 0);
  const auto numbers4 = [](std::int32_t a, std::int32_t b) { return cat(mark, number(a), number(b), tuple); };
  const std::string hooks = cat(global("collections", "OrderedDict"), ")", reduce);
  const std::string pickle =
      cat(proto, hooks, mark, text("w"), global("torch._utils", "_rebuild_tensor_v2"), mark, mark, text("storage"),
          global("torch", "FloatStorage"), text("0"), text("cpu"), number(6), tuple, persistent_id, number(0),
          numbers4(2, 3), numbers4(3, 1), "\x89", hooks, tuple, reduce, "u", stop);
  CHECK(view.find(pickle) % 64 == 0);
  for (const char* member : {"archive/data.pkl", "archive/byteorder", "archive/data/0", "archive/version"}) {
    CHECK(view.find(member) < view.size());
  }
  CHECK(view.find("3\nPK\x01\x02") < view.size());  // the last member, then the directory
}

TEST_CASE("torch checkpoint: as many tensors as an archive holds, and one more") {
  StateDict state;
  for (int i = 0; i < 65'531; ++i) {
    state.entries.emplace_back(std::to_string(i), HostTensor{DType::i32, {}, bytes_of(little(i))});
  }
  const StateDict back = parse_torch_checkpoint(serialize_torch_checkpoint(state), "f.pt").state;
  REQUIRE(back.entries.size() == state.entries.size());
  CHECK(back.entries.back().first == "65530");
  CHECK(back.entries.back().second.bytes == bytes_of(little(65'530)));
  state.entries.emplace_back("w", HostTensor{DType::i32, {}, bytes_of(little(0))});
  NEPENTHE_CHECK_MESSAGE(Error, serialize_torch_checkpoint(state), "65532 tensors do not fit in one archive; 65531 do");
}

TEST_CASE("torch checkpoint: what cannot be written is refused") {
  const auto refused = [](const StateDict& state, const char* expected) {
    NEPENTHE_CHECK_MESSAGE(Error, serialize_torch_checkpoint(state), expected);
  };
  const HostTensor one = counting(DType::f32, {1});
  refused({.entries = {{"w", one}, {"w", one}}}, "tensor 'w' is there twice");
  refused({.entries = {{"\xff", one}}}, "the name '\\xff' is no UTF-8");
  refused({.entries = {{"w", {DType::f8_e4m3, {4}, one.bytes}}}}, "tensor 'w' is F8_E4M3, which this format has no");
  refused({.entries = {{"w", {DType::f32, {2}, one.bytes}}}}, "4 bytes do not fill the shape (2,) of F32");
  refused({.entries = {{"w", {DType::f32, std::vector<std::int64_t>(65, 1), one.bytes}}}}, "has 65 dimensions");
}
