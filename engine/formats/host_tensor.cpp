#include "engine/formats/host_tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <bit>
#include <cstring>

#include "engine/base/error.h"
#include "engine/base/file.h"

namespace nepenthe {

static_assert(std::endian::native == std::endian::little, "files are little endian and are read without swapping");

namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  std::size_t size;
};
constexpr std::array<DTypeRow, 10> dtypes = {{{DType::f32, "F32", 4},
                                              {DType::f64, "F64", 8},
                                              {DType::f16, "F16", 2},
                                              {DType::bf16, "BF16", 2},
                                              {DType::i64, "I64", 8},
                                              {DType::i32, "I32", 4},
                                              {DType::i16, "I16", 2},
                                              {DType::i8, "I8", 1},
                                              {DType::u8, "U8", 1},
                                              {DType::boolean, "BOOL", 1}}};

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

template <class T, class Convert>
std::vector<float> converted(const HostTensor& tensor, Convert convert) {
  std::vector<float> values(static_cast<std::size_t>(tensor.count()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, tensor.bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = convert(value);
  }
  return values;
}

}  // namespace

std::size_t element_size(DType dtype) { return row(dtype).size; }

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

HostTensor HostTensor::from(std::vector<std::int64_t> shape, std::span<const float> values) {
  return make(DType::f32, std::move(shape), values);
}

HostTensor HostTensor::from(std::vector<std::int64_t> shape, std::span<const std::int64_t> values) {
  return make(DType::i64, std::move(shape), values);
}

std::int64_t HostTensor::count() const {
  const auto elements_of_shape = element_count(shape);
  if (!elements_of_shape || static_cast<std::size_t>(*elements_of_shape) != bytes.size() / element_size(dtype) ||
      bytes.size() % element_size(dtype) != 0) {
    throw Error(fmt::format("[host_tensor] {} bytes do not fill the shape {} of {}", bytes.size(), to_string(shape),
                            nepenthe::name(dtype)));
  }
  return *elements_of_shape;
}

std::span<const float> HostTensor::f32() const { return elements<float>(*this, DType::f32); }

std::span<const std::int64_t> HostTensor::i64() const { return elements<std::int64_t>(*this, DType::i64); }

std::vector<float> HostTensor::to_f32() const {
  switch (dtype) {
    case DType::f32: return converted<float>(*this, [](float value) { return value; });
    case DType::f64: return converted<double>(*this, [](double value) { return static_cast<float>(value); });
    case DType::f16: return converted<std::uint16_t>(*this, from_half);
    case DType::bf16: return converted<std::uint16_t>(*this, from_bfloat);
    default:
      throw Error(
          fmt::format("[host_tensor] the elements are {}; F32, F64, F16 or BF16 is needed", nepenthe::name(dtype)));
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
