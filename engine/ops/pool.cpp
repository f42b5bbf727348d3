#include "engine/ops/pool.h"

#include <cstdint>

#include "engine/profile.h"
#include "kernels/pool.h"

namespace nepenthe::ops {

Variable max_pool(Pass& pass, const Variable& x, int kernel, int stride, int padding) {
  const auto [n, h, w, c] = x->value.shape();
  const kernels::PoolShape shape{
      .n = n, .h = h, .w = w, .c = c, .kernel = kernel, .stride = stride, .padding = padding};
  Device& device = pass.device;
  Variable y = make_variable(Tensor(device, shape.output(), device.activation_type()));
  DeviceArray<std::uint8_t> taps;  // for the backward pass alone
  if (pass.tape != nullptr) taps = DeviceArray<std::uint8_t>(device, shape.output().size());
  device.run([&](auto& exec, auto element) {
    using T = decltype(element);
    const ProfiledRange range(device, "max_pool_forward");
    kernels::max_pool_forward<T>(exec,
                                 {.shape = shape, .y = y->value.as<T>(), .taps = taps.data(), .x = x->value.as<T>()});
  });
  if (pass.tape != nullptr) {
    pass.tape->push([&device, x, y, taps, shape] {
      const GradientSlot dx = gradient_slot(device, *x);
      device.run([&](auto& exec, auto element) {
        using T = decltype(element);
        const ProfiledRange range(device, "max_pool_backward");
        kernels::max_pool_backward<T>(exec, {.shape = shape,
                                             .dx = dx.tensor.as<T>(),
                                             .accumulate = dx.accumulate,
                                             .dy = y->grad.as<T>(),
                                             .taps = taps.data()});
      });
    });
  }
  return y;
}

Variable global_avg_pool(Pass& pass, const Variable& x) {
  const ImageShape shape = x->value.shape();
  Device& device = pass.device;
  Variable y = make_variable(Tensor(device, {shape.n, 1, 1, shape.c}));
  device.run([&](auto& exec, auto element) {
    using T = decltype(element);
    const ProfiledRange range(device, "global_avg_pool_forward");
    kernels::global_avg_pool_forward<T>(exec, {.shape = shape, .y = y->value.data(), .x = x->value.as<T>()});
  });
  if (pass.tape != nullptr) {
    pass.tape->push([&device, x, y, shape] {
      const GradientSlot dx = gradient_slot(device, *x);
      device.run([&](auto& exec, auto element) {
        using T = decltype(element);
        const ProfiledRange range(device, "global_avg_pool_backward");
        kernels::global_avg_pool_backward<T>(
            exec, {.shape = shape, .dx = dx.tensor.as<T>(), .accumulate = dx.accumulate, .dy = y->grad.data()});
      });
    });
  }
  return y;
}

}  // namespace nepenthe::ops
