// Kernels with one mistake each, for check.py to find.

namespace {

/// Each store may change what is loaded next, so that the compiler waits for one load before it issues another.
__global__ void one_at_a_time_kernel(float4* y, const float4* x, int count) {
#pragma unroll 4
  for (int i = threadIdx.x; i < count; i += 256) {
    const float4 value = x[i];
    y[i] = make_float4(value.x + 1, value.y, value.z, value.w);
  }
}

/// Four in flight, but not all of 16 bytes.
__global__ void in_pieces_kernel(float4* y, const float4* x, const float* scale, int count) {
  for (int i = threadIdx.x; i < count; i += 256 * 4) {
    float4 value[4];
    float factor[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) value[j] = x[i + 256 * j];
#pragma unroll
    for (int j = 0; j < 4; ++j) factor[j] = scale[i + 256 * j];
#pragma unroll
    for (int j = 0; j < 4; ++j)
      y[i + 256 * j] = make_float4(value[j].x * factor[j], value[j].y, value[j].z, value[j].w);
  }
}

__global__ void too_early_kernel(float* y, const float* x) {
  const float value = x[threadIdx.x];
  asm volatile("griddepcontrol.wait;" ::: "memory");
  y[threadIdx.x] = value;
}

__global__ void never_waits_kernel(float* y, const float* x) { y[threadIdx.x] = x[threadIdx.x]; }

}  // namespace

void launch_mistakes(float4* y, const float4* x, float* a, const float* b, int count) {
  one_at_a_time_kernel<<<1, 256>>>(y, x, count);
  in_pieces_kernel<<<1, 256>>>(y, x, b, count);
  too_early_kernel<<<1, 256>>>(a, b);
  never_waits_kernel<<<1, 256>>>(a, b);
}
