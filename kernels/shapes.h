// What a kernel needs to know of its operands beside where they are: their sizes, and whether gradients are added.
// Aggregates with designated initialisers; comparable, so that they serve as keys of plan caches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace nepenthe::kernels {

/// Whether a gradient kernel overwrites its output or adds to it.
enum class Accumulate { assign, add };

/// Activations (N, H, W, C).
struct ImageShape {
  int n, h, w, c;
  std::size_t size() const { return std::size_t(n) * h * w * c; }
  auto operator<=>(const ImageShape&) const = default;
};

/// Square kernels of side `kernel`, `out_c` filters, symmetric zero padding; no bias, no groups, no dilation.
struct Conv2dShape {
  int n, h, w, c;  // input (N, H, W, C)
  int out_c, kernel, stride, padding;
  int out_h() const { return (h + 2 * padding - kernel) / stride + 1; }
  int out_w() const { return (w + 2 * padding - kernel) / stride + 1; }
  ImageShape input() const { return {n, h, w, c}; }
  ImageShape output() const { return {n, out_h(), out_w(), out_c}; }
  std::size_t weights() const { return std::size_t(out_c) * kernel * kernel * c; }
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes the 0 that results are compared with for a pointer
  auto operator<=>(const Conv2dShape&) const = default;
};

/// Square windows of side `kernel`; what lies outside the picture takes no part.
struct PoolShape {
  int n, h, w, c;  // input (N, H, W, C)
  int kernel, stride, padding;
  int out_h() const { return (h + 2 * padding - kernel) / stride + 1; }
  int out_w() const { return (w + 2 * padding - kernel) / stride + 1; }
  ImageShape input() const { return {n, h, w, c}; }
  ImageShape output() const { return {n, out_h(), out_w(), c}; }
  auto operator<=>(const PoolShape&) const = default;
};

struct BatchNormShape {
  ImageShape image;
  bool add = false;   // y = norm(x) + residual
  bool relu = false;  // … and then max(·, 0)
  float eps = 1e-5f;
  float momentum = 0.1f;  // running = (1 − momentum)·running + momentum·batch
};

/// y (rows, out) = x (rows, in) · w (out, in)ᵀ + b (out); all row major.
struct LinearShape {
  int rows, in, out;
};

/// Logits (rows, classes), row major.
struct LogitsShape {
  int rows, classes;
};

/// "input (N, H, W, C) = (…), 16 filters of 3 x 3, stride 1, padding 1".
std::string text(const Conv2dShape& shape);

/// Each throws std::invalid_argument, naming the op, where the shape is of nothing or has no output. Both backends' ops
/// call it first.
void check(std::string_view op, const ImageShape& shape);
void check(std::string_view op, const Conv2dShape& shape);
void check(std::string_view op, const PoolShape& shape);
void check(std::string_view op, const LinearShape& shape);
void check(std::string_view op, const LogitsShape& shape);

}  // namespace nepenthe::kernels
