// A reader for the pickles inside PyTorch checkpoints. It knows the binary operations of protocols 2 to 5 and builds
// tensors, containers, numbers and texts. No function is ever called and nothing is imported: the few global names that
// tensors need are recognised by name and stand for nothing else; whatever is made with another name (a set, a dtype, a
// NumPy scalar, os.system's result) is opaque: a value of which only that name is known, and never a tensor.
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
  enum class Kind : std::uint8_t {
    none,
    boolean,
    integer,  // of 64 bits; larger ones are opaque
    real,     // which one is not kept
    text,
    tuple,
    list,
    dict,
    storage,
    tensor,
    global,  // the name itself, such as torch.float32
    opaque   // made with a name
  };
  Kind kind = Kind::none;
  std::int64_t integer = 0;  // boolean and integer: the value; none and real: 0; else the index
  std::size_t index() const { return static_cast<std::size_t>(integer); }
};

struct PickledStorage {
  std::string_view key;  // names the archive's member data/KEY
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

struct PickledGlobal {
  std::string_view module, name;
};

/// The views point into the pickle's bytes, which must outlive it.
struct Pickle {
  PickleValue root;
  std::vector<std::string_view> texts;
  std::vector<std::vector<PickleValue>> sequences;                      // of tuples and lists
  std::vector<std::vector<std::pair<PickleValue, PickleValue>>> dicts;  // in order of insertion
  std::vector<PickledGlobal> globals;                                   // of globals and opaque values
  std::vector<PickledStorage> storages;
  std::vector<PickledTensor> tensors;

  /// "a text", "a tensor", "an object of numpy.dtype, which is not read" …, for messages.
  std::string describe(PickleValue value) const;
};

/// Reads a pickle. Throws Error, in one line beginning with `source`, where it is damaged. Memory and time stay within
/// a small multiple of its size.
Pickle parse_pickle(std::span<const std::byte> bytes, std::string_view source);

}  // namespace nepenthe
