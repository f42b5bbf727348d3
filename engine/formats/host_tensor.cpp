#include "engine/formats/host_tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <bit>
#include <cstring>
#include <functional>

#include "engine/base/error.h"
#include "engine/base/file.h"

namespace nepenthe {

static_assert(std::endian::native == std::endian::little, "files are little endian and are read without swapping");

namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  std::size_t bits;
};
constexpr std::array<DTypeRow, 22> dtypes = {{{DType::f32, "F32", 32},
                                              {DType::f64, "F64", 64},
                                              {DType::f16, "F16", 16},
                                              {DType::bf16, "BF16", 16},
                                              {DType::i64, "I64", 64},
                                              {DType::i32, "I32", 32},
                                              {DType::i16, "I16", 16},
                                              {DType::i8, "I8", 8},
                                              {DType::u64, "U64", 64},
                                              {DType::u32, "U32", 32},
                                              {DType::u16, "U16", 16},
                                              {DType::u8, "U8", 8},
                                              {DType::boolean, "BOOL", 8},
                                              {DType::f8_e4m3, "F8_E4M3", 8},
                                              {DType::f8_e5m2, "F8_E5M2", 8},
                                              {DType::f8_e8m0, "F8_E8M0", 8},
                                              {DType::f8_e4m3fnuz, "F8_E4M3FNUZ", 8},
                                              {DType::f8_e5m2fnuz, "F8_E5M2FNUZ", 8},
                                              {DType::f6_e2m3, "F6_E2M3", 6},
                                              {DType::f6_e3m2, "F6_E3M2", 6},
                                              {DType::f4, "F4", 4},
                                              {DType::c64, "C64", 64}}};

const DTypeRow& row(DType dtype) { return dtypes.at(static_cast<std::size_t>(dtype)); }

template <class T>
HostTensor make(DType dtype, std::vector<std::int64_t> shape, std::span<const T> values) {
  const auto count = element_count(shape);
  if (!count || static_cast<std::size_t>(*count) != values.size()) {
    throw Error(fmt::format("[host_tensor] {} values do not fill the shape {}", values.size(), to_string(shape)));
  }
  const auto bytes = std::as_bytes(values);
  return {dtype, std::move(shape), {bytes.begin(), bytes.end()}};
}

template <class T>
std::span<const T> elements(const HostTensor& tensor, DType wanted) {
  if (tensor.dtype != wanted) {
    throw Error(fmt::format("[host_tensor] the elements are {}; {} is needed", name(tensor.dtype), name(wanted)));
  }
  return {reinterpret_cast<const T*>(tensor.bytes.data()), static_cast<std::size_t>(tensor.count())};
}

float from_half(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 31u;
  const std::uint32_t mantissa = half & 0x3FFu;
  if (exponent == 0) {  // zero and subnormals: mantissa · 2^-24, exact in fp32
    const float magnitude = static_cast<float>(mantissa) * 0x1.0p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t wide = exponent == 31 ? 255u : exponent + 112u;
  return std::bit_cast<float>(sign | (wide << 23) | (mantissa << 13));
}

float from_bfloat(std::uint16_t value) { return std::bit_cast<float>(std::uint32_t{value} << 16); }

template <class T, class To, class Convert>
std::vector<To> converted(const HostTensor& tensor, Convert convert) {
  std::vector<To> values(static_cast<std::size_t>(tensor.count()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, tensor.bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = static_cast<To>(convert(value));
  }
  return values;
}

template <class To>
std::vector<To> floats(const HostTensor& tensor) {
  switch (tensor.dtype) {
    case DType::f32: return converted<float, To>(tensor, std::identity());
    case DType::f64: return converted<double, To>(tensor, std::identity());
    case DType::f16: return converted<std::uint16_t, To>(tensor, from_half);
    case DType::bf16: return converted<std::uint16_t, To>(tensor, from_bfloat);
    default:
      throw Error(
          fmt::format("[host_tensor] the elements are {}; F32, F64, F16 or BF16 is needed", name(tensor.dtype)));
  }
}

}  // namespace

std::size_t element_bits(DType dtype) { return row(dtype).bits; }

std::optional<std::uint64_t> byte_count(DType dtype, std::span<const std::int64_t> shape) {
  std::int64_t bits = 0;
  const auto count = element_count(shape);
  if (!count || __builtin_mul_overflow(*count, static_cast<std::int64_t>(element_bits(dtype)), &bits) || bits % 8 != 0)
    return std::nullopt;
  return static_cast<std::uint64_t>(bits) / 8;
}

bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::f16 || dtype == DType::bf16;
}

std::string_view name(DType dtype) { return row(dtype).name; }

std::optional<DType> dtype_named(std::string_view name) {
  for (const DTypeRow& candidate : dtypes) {
    if (candidate.name == name) return candidate.dtype;
  }
  return std::nullopt;
}

std::optional<std::int64_t> element_count(std::span<const std::int64_t> shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(count, size, &count)) return std::nullopt;
  }
  return count;
}

std::string to_string(std::span<const std::int64_t> shape) {
  return fmt::format("({}{})", fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
}

std::string place(std::span<const std::int64_t> shape, std::size_t element) {
  std::vector<std::size_t> indices(shape.size());
  for (std::size_t i = shape.size(); i-- > 0;) {
    indices[i] = element % static_cast<std::size_t>(shape[i]);
    element /= static_cast<std::size_t>(shape[i]);
  }
  return fmt::format("[{}]", fmt::join(indices, ", "));
}

HostTensor HostTensor::from(std::vector<std::int64_t> shape, std::span<const float> values) {
  return make(DType::f32, std::move(shape), values);
}

HostTensor HostTensor::from(std::vector<std::int64_t> shape, std::span<const std::int64_t> values) {
  return make(DType::i64, std::move(shape), values);
}

std::int64_t HostTensor::count() const {
  if (byte_count(dtype, shape) != bytes.size()) {
    throw Error(fmt::format("[host_tensor] {} bytes do not fill the shape {} of {}", bytes.size(), to_string(shape),
                            nepenthe::name(dtype)));
  }
  return *element_count(shape);
}

std::span<const float> HostTensor::f32() const { return elements<float>(*this, DType::f32); }

std::span<const std::int64_t> HostTensor::i64() const { return elements<std::int64_t>(*this, DType::i64); }

std::vector<float> HostTensor::to_f32() const { return floats<float>(*this); }

std::vector<double> HostTensor::to_f64() const {
  switch (dtype) {
    case DType::boolean:
    case DType::u8: return converted<std::uint8_t, double>(*this, std::identity());
    case DType::u16: return converted<std::uint16_t, double>(*this, std::identity());
    case DType::u32: return converted<std::uint32_t, double>(*this, std::identity());
    case DType::u64: return converted<std::uint64_t, double>(*this, std::identity());
    case DType::i8: return converted<std::int8_t, double>(*this, std::identity());
    case DType::i16: return converted<std::int16_t, double>(*this, std::identity());
    case DType::i32: return converted<std::int32_t, double>(*this, std::identity());
    case DType::i64: return converted<std::int64_t, double>(*this, std::identity());
    default: return floats<double>(*this);
  }
}

void StateDict::add(std::string name, HostTensor tensor) {
  if (find(name) != nullptr) throw Error(fmt::format("[state_dict] '{}' is there twice", printable(name)));
  entries.emplace_back(std::move(name), std::move(tensor));
}

const HostTensor* StateDict::find(std::string_view name) const {
  for (const auto& [entry_name, tensor] : entries) {
    if (entry_name == name) return &tensor;
  }
  return nullptr;
}

}  // namespace nepenthe
