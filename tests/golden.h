// Golden values of tests/golden (make_golden.py says what each file holds), and the way from their layouts, NCHW and
// OIHW, to ours and back.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "device.h"
#include "engine/formats/safetensors.h"
#include "engine/tape.h"
#include "kernels/harness.h"

namespace nepenthe::tests {

inline nlohmann::json golden_json(std::string_view file) {
  std::ifstream in(std::filesystem::path(NEPENTHE_GOLDEN_DIR) / file);
  REQUIRE(in.good());
  return nlohmann::json::parse(in);
}

/// A golden .safetensors file.
class Golden {
 public:
  explicit Golden(std::string_view file)
      : state_(read_safetensors(std::filesystem::path(NEPENTHE_GOLDEN_DIR) / file)) {}

  const HostTensor& tensor(const std::string& name) const {
    CAPTURE(name);
    const HostTensor* const found = state_.find(name);
    REQUIRE(found != nullptr);
    return *found;
  }
  /// The elements of a float64 or float32 tensor.
  std::vector<double> values(const std::string& name) const {
    const HostTensor& found = tensor(name);
    if (found.dtype == DType::f32) return widened(found.to_f32());
    REQUIRE(found.dtype == DType::f64);
    std::vector<double> out(static_cast<std::size_t>(found.count()));
    std::memcpy(out.data(), found.bytes.data(), found.bytes.size());
    return out;
  }
  double value(const std::string& name) const { return values(name).at(0); }
  /// One row of a matrix.
  std::vector<double> row(const std::string& name, std::size_t index) const {
    const std::vector<double> all = values(name);
    const auto columns = static_cast<std::ptrdiff_t>(tensor(name).shape.at(1));
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(index) * columns;
    return {begin, begin + columns};
  }
  std::vector<std::int32_t> labels(const std::string& name) const {
    const auto wide = tensor(name).i64();
    return {wide.begin(), wide.end()};
  }

  /// Of a 4-d tensor: its shape as (N, H, W, C), and its elements in that order. Filters become (K, R, S, C) likewise.
  ImageShape image_shape(const std::string& name) const {
    const auto& s = tensor(name).shape;
    REQUIRE(s.size() == 4);
    return {static_cast<int>(s[0]), static_cast<int>(s[2]), static_cast<int>(s[3]), static_cast<int>(s[1])};
  }
  std::vector<double> channels_last(const std::string& name) const;

 private:
  StateDict state_;
};

/// (N, C, H, W) to (N, H, W, C); `shape` is the latter.
template <class T>
std::vector<T> channels_last(const ImageShape& shape, const std::vector<T>& planar) {
  std::vector<T> out;
  out.reserve(planar.size());
  const std::size_t plane = std::size_t(shape.h) * shape.w, channels = std::size_t(shape.c);
  for (std::size_t n = 0; n < std::size_t(shape.n); ++n) {
    for (std::size_t pixel = 0; pixel < plane; ++pixel) {
      for (std::size_t c = 0; c < channels; ++c) out.push_back(planar.at((n * channels + c) * plane + pixel));
    }
  }
  return out;
}

/// (N, H, W, C) to (N, C, H, W); `shape` is the former.
template <class T>
std::vector<T> channels_first(const ImageShape& shape, const std::vector<T>& last) {
  return channels_last(ImageShape{shape.n, shape.c, 1, shape.h * shape.w}, last);
}

inline std::vector<double> Golden::channels_last(const std::string& name) const {
  return tests::channels_last(image_shape(name), values(name));
}

inline std::vector<float> narrowed(const std::vector<double>& values) { return {values.begin(), values.end()}; }

/// A plain (N, H, W, C) array as a tensor of the device, and back.
inline Tensor upload(Device& device, const ImageShape& shape, const std::vector<float>& plain) {
  REQUIRE(plain.size() == shape.size());
  Tensor tensor(device, shape);
  const std::vector<float> laid_out =
      std::visit([&](const auto& exec) { return to_backend(exec, shape, plain); }, device.exec());
  device.upload(tensor.data(), laid_out.data(), laid_out.size());
  return tensor;
}
inline Tensor upload(Device& device, const ImageShape& shape, const std::vector<double>& plain) {
  return upload(device, shape, narrowed(plain));
}
inline std::vector<float> download(Device& device, const Tensor& tensor) {
  const std::vector<float> laid_out = device.download(tensor.data(), tensor.shape().size());
  return std::visit([&](const auto& exec) { return from_backend(exec, tensor.shape(), laid_out); }, device.exec());
}

/// The mean of a batch's losses.
inline double mean_loss(Device& device, const Tensor& losses) {
  double sum = 0;
  for (const float loss : download(device, losses)) sum += loss;
  return sum / static_cast<double>(losses.shape().n);
}

}  // namespace nepenthe::tests
