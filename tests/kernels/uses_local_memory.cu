// A kernel that must not compile: an array indexed at run time lies in local memory, which the build refuses.
__global__ void uses_local_memory(const int* indices, float* out) {
  float values[64];
  for (int i = 0; i < 64; ++i) values[i] = out[i];
  for (int i = 0; i < 64; ++i) values[indices[i]] += values[indices[63 - i]];
  for (int i = 0; i < 64; ++i) out[i] = values[i];
}
