// Tensors in host memory as files hold them, and named lists of them: what the readers return and the writer takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nepenthe {

enum class DType : std::uint8_t { f32, f64, f16, bf16, i64, i32, i16, i8, u8, boolean };

/// Bytes of one element.
std::size_t element_size(DType dtype);

/// As safetensors spells it: "F32", "F64", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL".
std::string_view name(DType dtype);

/// The inverse of name(); empty for other spellings.
std::optional<DType> dtype_named(std::string_view name);

/// Number of elements of a shape (1 for the 0-d shape); empty where a size is negative or the product leaves 63 bits.
std::optional<std::int64_t> element_count(std::span<const std::int64_t> shape);

/// "(16, 3, 3, 3)", for messages.
std::string to_string(std::span<const std::int64_t> shape);

/// A dense row-major tensor. The files' byte order is little endian, and so must be the host's.
struct HostTensor {
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;  // empty for a 0-d tensor, which has one element
  std::vector<std::byte> bytes;     // count() · element_size(dtype)

  /// Copies of `values`; throws Error where their number is not the shape's.
  static HostTensor from(std::vector<std::int64_t> shape, std::span<const float> values);
  static HostTensor from(std::vector<std::int64_t> shape, std::span<const std::int64_t> values);

  /// Number of elements. Throws Error where shape and bytes do not belong together.
  std::int64_t count() const;

  /// The elements without a conversion. Throws Error for another dtype.
  std::span<const float> f32() const;
  std::span<const std::int64_t> i64() const;

  /// The elements as fp32, out of F32, F64 (rounded to nearest), F16 or BF16. Throws Error for integers.
  std::vector<float> to_f32() const;
};

/// Named tensors in their file's order, with the file's text metadata.
struct StateDict {
  std::vector<std::pair<std::string, HostTensor>> entries;
  std::map<std::string, std::string> metadata;

  /// Appends. Throws Error for a name that is already there.
  void add(std::string name, HostTensor tensor);
  /// Null where there is none of that name.
  const HostTensor* find(std::string_view name) const;
};

}  // namespace nepenthe
