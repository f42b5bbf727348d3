// A reader for the pickles inside PyTorch checkpoints. It knows the operations that torch.save emits (protocol 2) and
// builds tensors and containers only. No function is ever called: the few global names that tensors need are recognised
// by name and stand for nothing else; any other name is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/formats/host_tensor.h"

namespace nepenthe {

/// What a pickle holds. Values refer to each other by index into Pickle's lists, so cycles and deep nesting, which a
/// pickle can express, cost neither leaks nor recursion.
struct PickleValue {
  enum class Kind : std::uint8_t { none, boolean, integer, real, text, tuple, list, dict, function, storage, tensor };
  Kind kind = Kind::none;
  std::int64_t integer = 0;  // boolean and integer: the value; function: which, internal; else the index
  double real = 0;
  std::size_t index() const { return static_cast<std::size_t>(integer); }
};

/// "a text", "a tensor" …, for messages.
std::string_view name(PickleValue::Kind kind);

struct PickledStorage {
  std::string key;  // names the archive's member data/KEY
  DType dtype = DType::f32;
  std::int64_t count = 0;  // elements
};

/// A view of a storage: element (i, j, …) is the storage's element offset + i·strides[0] + j·strides[1] …, which the
/// reader has checked to lie within the storage's claimed count.
struct PickledTensor {
  std::size_t storage = 0;
  std::int64_t offset = 0;
  std::vector<std::int64_t> shape, strides;
};

struct Pickle {
  PickleValue root;
  std::vector<std::string> texts;
  std::vector<std::vector<PickleValue>> sequences;                      // of tuples and lists
  std::vector<std::vector<std::pair<PickleValue, PickleValue>>> dicts;  // in order of insertion
  std::vector<PickledStorage> storages;
  std::vector<PickledTensor> tensors;
};

/// Reads a pickle. Throws Error, in one line beginning with `source`, for anything damaged or not allowed:
/// "… names the function posix.system; only tensors and containers are read".
Pickle parse_pickle(std::span<const std::byte> bytes, std::string_view source);

}  // namespace nepenthe
