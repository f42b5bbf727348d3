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

/// The element types of safetensors. Of those from f8_e4m3 on the elements are carried but not understood.
enum class DType : std::uint8_t {
  f32,
  f64,
  f16,
  bf16,
  i64,
  i32,
  i16,
  i8,
  u64,
  u32,
  u16,
  u8,
  boolean,
  f8_e4m3,
  f8_e5m2,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  f6_e2m3,
  f6_e3m2,
  f4,
  c64
};

/// Bits of one element: a multiple of 8 but for f6_e2m3, f6_e3m2 and f4.
std::size_t element_bits(DType dtype);

/// Bytes of a dense tensor; empty where the shape is none, they leave 63 bits or end within a byte.
std::optional<std::uint64_t> byte_count(DType dtype, std::span<const std::int64_t> shape);

/// F32, F64, F16 or BF16: what weights may be.
bool is_float(DType dtype);

/// As safetensors spells it: "F32", "BF16", "I64", "BOOL", "F8_E4M3" ….
std::string_view name(DType dtype);

/// The inverse of name(); empty for other spellings.
std::optional<DType> dtype_named(std::string_view name);

/// Number of elements of a shape (1 for the 0-d shape); empty where a size is negative or the product leaves 63 bits.
std::optional<std::int64_t> element_count(std::span<const std::int64_t> shape);

/// "(16, 3, 3, 3)", for messages.
std::string to_string(std::span<const std::int64_t> shape);

/// "[3, 0, 2, 1]", where the element with this number in memory stands in the shape; for messages.
std::string place(std::span<const std::int64_t> shape, std::size_t element);

/// A dense row-major tensor. The files' byte order is little endian, and so must be the host's.
struct HostTensor {
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;  // empty for a 0-d tensor, which has one element
  std::vector<std::byte> bytes;     // byte_count(dtype, shape)

  /// Copies of `values`; throws Error where their number is not the shape's.
  static HostTensor from(std::vector<std::int64_t> shape, std::span<const float> values);
  static HostTensor from(std::vector<std::int64_t> shape, std::span<const std::int64_t> values);

  /// Number of elements. Throws Error where shape and bytes do not belong together.
  std::int64_t count() const;

  /// The elements without a conversion. Throws Error for another dtype.
  std::span<const float> f32() const;
  std::span<const std::int64_t> i64() const;

  /// The elements as fp32, those of F64 rounded to nearest. Throws Error unless is_float(dtype).
  std::vector<float> to_f32() const;

  /// The elements as fp64, also of booleans and integers, beyond 2^53 rounded to nearest. Throws Error for others.
  std::vector<double> to_f64() const;
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
