#include "kernels/linear.h"

#include "kernels/cuda/context.h"
#include "kernels/cuda/linear_bias.h"
#include "kernels/cuda/matmul.h"

namespace nepenthe::kernels {

void linear_forward(CudaExec& exec, const LinearForward& o) {
  check("linear", o.shape);
  const MatmulShape product{
      .rows = o.shape.rows, .columns = o.shape.out, .depth = o.shape.in, .transpose_b = true, .bias = true};
  exec.context().products->run(exec, product, o.y, o.x, o.w, o.b);
}

void linear_backward_data(CudaExec& exec, const LinearBackwardData& o) {
  check("linear", o.shape);
  const MatmulShape product{
      .rows = o.shape.rows, .columns = o.shape.in, .depth = o.shape.out, .accumulate = o.accumulate};
  exec.context().products->run(exec, product, o.dx, o.dy, o.w);
}

void linear_backward_weights(CudaExec& exec, const LinearBackwardWeights& o) {
  check("linear", o.shape);
  const MatmulShape product{.rows = o.shape.out,
                            .columns = o.shape.in,
                            .depth = o.shape.rows,
                            .transpose_a = true,
                            .accumulate = o.accumulate};
  exec.context().products->run(exec, product, o.dw, o.dy, o.x);
  column_sums(exec, o.shape.rows, o.shape.out, o.db, o.accumulate, o.dy);
}

}  // namespace nepenthe::kernels
