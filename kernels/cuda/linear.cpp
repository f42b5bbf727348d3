#include "kernels/linear.h"

#include "kernels/cuda/context.h"
#include "kernels/cuda/linear_bias.h"
#include "kernels/cuda/matmul.h"

namespace nepenthe::kernels {

void linear_forward(CudaExec& exec, const LinearShape& shape, float* y, const float* x, const float* w,
                    const float* b) {
  const MatmulShape product{
      .rows = shape.rows, .columns = shape.out, .depth = shape.in, .transpose_b = true, .bias = true};
  exec.context().products->run(exec, product, y, x, w, b);
}

void linear_backward_data(CudaExec& exec, const LinearShape& shape, float* dx, Accumulate accumulate, const float* dy,
                          const float* w) {
  const MatmulShape product{.rows = shape.rows, .columns = shape.in, .depth = shape.out, .accumulate = accumulate};
  exec.context().products->run(exec, product, dx, dy, w);
}

void linear_backward_weights(CudaExec& exec, const LinearShape& shape, float* dw, float* db, Accumulate accumulate,
                             const float* dy, const float* x) {
  const MatmulShape product{
      .rows = shape.out, .columns = shape.in, .depth = shape.rows, .transpose_a = true, .accumulate = accumulate};
  exec.context().products->run(exec, product, dw, dy, x);
  column_sums(exec, shape.rows, shape.out, db, accumulate, dy);
}

}  // namespace nepenthe::kernels
