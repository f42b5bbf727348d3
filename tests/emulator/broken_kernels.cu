#include "broken_kernels.h"

#include <cuda_emulator.h>

#include <stdexcept>

namespace cuda_emulator::broken {
namespace {

constexpr int size = 128;  // of the output
constexpr unsigned all_lanes = 0xffffffffu;

using Kernel = void (*)(float* out, unsigned* counter);

void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

template <class T>
class DeviceZeros {
 public:
  explicit DeviceZeros(std::size_t count) : bytes_(count * sizeof(T)) {
    check(cudaMalloc(&memory_, bytes_));
    check(cudaMemset(memory_, 0, bytes_));
  }
  ~DeviceZeros() { cudaFree(memory_); }
  DeviceZeros(const DeviceZeros&) = delete;
  DeviceZeros& operator=(const DeviceZeros&) = delete;

  T* get() const { return static_cast<T*>(memory_); }
  void read(T* to) const { check(cudaMemcpy(to, memory_, bytes_, cudaMemcpyDeviceToHost)); }

 private:
  void* memory_ = nullptr;
  std::size_t bytes_;
};

std::vector<float> run(const char* name, Kernel kernel, unsigned blocks, unsigned threads = size, bool early = false) {
  const DeviceZeros<float> out(size);
  const DeviceZeros<unsigned> counter(1);
  launch(name, early, blocks, threads, 0, nullptr, bound(kernel, out.get(), counter.get()));
  std::vector<float> result(size);
  unsigned count = 0;
  out.read(result.data());
  counter.read(&count);
  result.push_back(static_cast<float>(count));
  return result;
}

#define EXPERIMENT(name, ...)                                                             \
  std::vector<float> name(bool mistake) {                                                 \
    return run(#name, mistake ? name##_kernel<true> : name##_kernel<false>, __VA_ARGS__); \
  }

__device__ int thread() { return static_cast<int>(threadIdx.x); }

template <bool mistake>
__global__ void missing_barrier_kernel(float* out, unsigned*) {
  CUDA_EMULATOR_SHARED(float, tile, [size]);
  tile[thread()] = static_cast<float>(thread());
  if constexpr (!mistake) __syncthreads();
  out[thread()] = tile[thread() < 32 ? thread() : thread() - 32];
}

template <bool mistake>
__global__ void missing_barrier_before_reuse_kernel(float* out, unsigned*) {
  CUDA_EMULATOR_SHARED(float, tile, [size]);
  tile[thread()] = static_cast<float>(thread());
  __syncthreads();
  const float value = tile[size - 1 - thread()];
  if constexpr (!mistake) __syncthreads();
  tile[thread()] = -value;
  __syncthreads();
  out[thread()] = value + tile[(thread() + 1) % size];
}

template <bool mistake>
__global__ void missing_syncwarp_kernel(float* out, unsigned*) {
  CUDA_EMULATOR_SHARED(float, tile, [32]);
  tile[thread()] = static_cast<float>(thread());
  if constexpr (!mistake) __syncwarp();
  out[thread()] = tile[thread() ^ 1];
}

template <bool mistake>
__global__ void shuffle_in_place_of_syncwarp_kernel(float* out, unsigned*) {
  CUDA_EMULATOR_SHARED(float, tile, [32]);
  tile[thread()] = static_cast<float>(thread());
  if constexpr (!mistake) __syncwarp();
  const float value = __shfl_sync(all_lanes, 1.0f, 0);
  out[thread()] = value + tile[thread() ^ 1];
}

template <bool mistake>
__global__ void divergent_barrier_kernel(float* out, unsigned*) {
  if (mistake && thread() < 64) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[thread()] = 1.0f;
}

template <bool mistake>
__global__ void return_before_barrier_kernel(float* out, unsigned*) {
  if (mistake && thread() >= 100) return;
  __syncthreads();
  if (thread() < 100) out[thread()] = 1.0f;
}

template <bool mistake>
__global__ void shuffle_from_absent_lane_kernel(float* out, unsigned*) {
  const int lane = thread() % 32;
  if (lane < 16) out[thread()] = __shfl_sync(0xffffu, static_cast<float>(lane), mistake ? lane + 16 : 15 - lane);
}

template <bool mistake>
__global__ void lane_outside_its_mask_kernel(float* out, unsigned*) {
  out[thread()] = __shfl_xor_sync(mistake ? 0xffffu : all_lanes, static_cast<float>(thread()), 1);
}

template <bool mistake>
__global__ void lane_that_never_comes_kernel(float* out, unsigned*) {
  if (!mistake || thread() != 7) __syncwarp();
  __syncthreads();
  out[thread()] = 1.0f;
}

template <bool mistake>
__global__ void global_write_out_of_bounds_kernel(float* out, unsigned*) {
  out[mistake ? thread() + 1 : thread()] = 1.0f;
}

template <bool mistake>
__global__ void misaligned_vector_load_kernel(float* out, unsigned*) {
  const float4 four = *reinterpret_cast<const float4*>(out + (mistake ? 1 : 4));
  out[8] = four.x + four.w;
}

template <bool mistake>
__global__ void shared_write_out_of_bounds_kernel(float* out, unsigned*) {
  CUDA_EMULATOR_SHARED(float, tile, [size]);
  float* to = tile;
  to[mistake ? thread() + 1 : thread()] = 1.0f;
  out[thread()] = 1.0f;
}

template <bool mistake>
__global__ void too_much_shared_memory_kernel(float* out, unsigned*) {
  CUDA_EMULATOR_SHARED(float, large, [12 * 1024 - (mistake ? 0 : size)]);
  CUDA_EMULATOR_SHARED(float, small, [size]);
  large[thread()] = small[thread()] = 1.0f;
  out[thread()] = large[thread()] + small[thread()];
}

template <bool mistake>
__global__ void uninitialised_shared_read_kernel(float* out, unsigned*) {
  CUDA_EMULATOR_SHARED(float, tile, [size / 2]);
  if (!mistake || blockIdx.x == 0 || thread() != 50) tile[thread()] = 1.0f;  // what another block wrote does not count
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = tile[size / 2 - 1 - thread()];
}

template <bool mistake>
__global__ void bank_conflict_kernel(float* out, unsigned*) {
  CUDA_EMULATOR_SHARED(float, tile, [2 * size]);
  const int at = mistake ? 2 * thread() : thread();  // every other bank
  tile[at] = static_cast<float>(thread());
  out[thread()] = tile[at];
}

template <bool mistake>
__global__ void bank_conflict_of_doubles_kernel(float* out, unsigned*) {
  CUDA_EMULATOR_SHARED(double, tile, [2 * size]);
  const int at = mistake ? 2 * thread() : thread();
  tile[at] = thread();
  out[thread()] = static_cast<float>(tile[at]);
}

template <bool mistake>
__global__ void add_without_atomic_kernel(float*, unsigned* counter) {
  if (thread() != 0) return;
  if constexpr (mistake) {
    *counter += 1;
  } else {
    atomicAdd(counter, 1);
  }
}

template <bool mistake>
__global__ void read_of_another_block_kernel(float* out, unsigned*) {
  if (thread() != 0) return;
  const unsigned block = blockIdx.x;
  out[block] = 1.0f;
  out[64 + block] = mistake && block == 1 ? out[0] : out[block];
}

/// The last block to come adds up what the blocks' threads have left in `out`.
template <bool fence_first, bool fence_of_all, bool fence_of_one>
__device__ void sum_in_last_block(float* out, unsigned* counter) {
  CUDA_EMULATOR_SHARED(unsigned, last, );
  const unsigned block = blockIdx.x, place = 8 * block + threadIdx.x;
  if constexpr (fence_first) __threadfence();
  out[place] = static_cast<float>(place);
  if (fence_of_all || (fence_of_one && thread() == 0)) __threadfence();
  __syncthreads();
  if (thread() == 0) last = atomicInc(counter, gridDim.x - 1) == gridDim.x - 1;
  __syncthreads();
  if (last == 0 || thread() != 0) return;
  float sum = 0;
  for (unsigned i = 0; i < 8 * gridDim.x; ++i) sum += out[i];
  out[size - 1] = sum;
}

template <bool mistake>
__global__ void missing_threadfence_kernel(float* out, unsigned* counter) {
  sum_in_last_block<false, !mistake, false>(out, counter);
}

template <bool mistake>
__global__ void threadfence_of_one_thread_kernel(float* out, unsigned* counter) {
  sum_in_last_block<false, !mistake, true>(out, counter);
}

template <bool mistake>
__global__ void threadfence_before_the_write_kernel(float* out, unsigned* counter) {
  sum_in_last_block<true, !mistake, false>(out, counter);
}

template <bool mistake>
__global__ void early_access_kernel(float* out, unsigned*) {
  if (!mistake || thread() != 5) wait_for_earlier_kernels();
  out[thread()] = 1.0f;
}

template <bool mistake>
__global__ void result_by_order_of_threads_kernel(float* out, unsigned* counter) {
  const unsigned place = atomicAdd(counter, 1);
  out[mistake ? place : threadIdx.x] = static_cast<float>(thread());
}

__global__ void warp_functions_kernel(float* out, unsigned*) {
  const int lane = thread();
  out[lane] = static_cast<float>(__shfl_xor_sync(all_lanes, lane, 3));
  out[32 + lane] = __shfl_down_sync(all_lanes, static_cast<float>(lane), 2, 8);
  out[64 + lane] = static_cast<float>(__shfl_up_sync(all_lanes, static_cast<double>(lane), 1));
  if (lane < 16) out[96 + lane] = static_cast<float>(__shfl_sync(0xffffu, static_cast<long long>(lane), 5));
  const unsigned odd = __ballot_sync(all_lanes, lane % 2);
  const int any = __any_sync(all_lanes, lane % 2), all = __all_sync(all_lanes, lane % 2);
  const int sum = __reduce_add_sync(all_lanes, lane - 10), least = __reduce_min_sync(all_lanes, lane - 10),
            most = __reduce_max_sync(all_lanes, lane - 10);
  if (lane != 0) return;
  out[112] = odd == 0xaaaaaaaau ? 1.0f : 0.0f;
  out[113] = static_cast<float>(any);
  out[114] = static_cast<float>(all);
  out[115] = static_cast<float>(sum);
  out[116] = static_cast<float>(least);
  out[117] = static_cast<float>(most);
}

__global__ void block_functions_kernel(float* out, unsigned* counter) {
  const int even = thread() % 2;  // thread t has the value t + 1
  const int count = __syncthreads_count(even), all = __syncthreads_and(even), any = __syncthreads_or(even);
  if (thread() == 0) {
    out[0] = static_cast<float>(count);
    out[1] = static_cast<float>(all);
    out[2] = static_cast<float>(any);
    atomicAdd(counter, 5);
    out[3] = static_cast<float>(atomicMax(counter, 9));
    out[4] = static_cast<float>(atomicMin(counter, 3));
    out[5] = static_cast<float>(atomicExch(counter, 7));
    out[6] = static_cast<float>(atomicCAS(counter, 7, 0));
    atomicAdd(out + 7, 0.5f);
  }
  __syncthreads();
  atomicInc(counter, 10);
}

__global__ void add_kernel(float* values, int count, float amount) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < static_cast<unsigned>(count)) values[i] += amount;
}

}  // namespace

EXPERIMENT(missing_barrier, 1)
EXPERIMENT(missing_barrier_before_reuse, 1)
EXPERIMENT(missing_syncwarp, 1, 32)
EXPERIMENT(shuffle_in_place_of_syncwarp, 1, 32)
EXPERIMENT(divergent_barrier, 1)
EXPERIMENT(return_before_barrier, 1)
EXPERIMENT(shuffle_from_absent_lane, 1)
EXPERIMENT(lane_outside_its_mask, 1)
EXPERIMENT(lane_that_never_comes, 1)
EXPERIMENT(global_write_out_of_bounds, 1)
EXPERIMENT(misaligned_vector_load, 1, 1)
EXPERIMENT(shared_write_out_of_bounds, 1)
EXPERIMENT(too_much_shared_memory, 1)
EXPERIMENT(uninitialised_shared_read, 2, size / 2)
EXPERIMENT(bank_conflict, 1)
EXPERIMENT(bank_conflict_of_doubles, 1)
EXPERIMENT(add_without_atomic, 4)
EXPERIMENT(read_of_another_block, 2)
EXPERIMENT(missing_threadfence, 5, 8)
EXPERIMENT(threadfence_of_one_thread, 5, 8)
EXPERIMENT(threadfence_before_the_write, 5, 8)
EXPERIMENT(early_access, 1, size, true)
EXPERIMENT(result_by_order_of_threads, 1)

std::vector<float> warp_functions() { return run("warp_functions", warp_functions_kernel, 1, 32); }
std::vector<float> block_functions() { return run("block_functions", block_functions_kernel, 1, 96); }

void add(float* values, int count, float amount, void* stream) {
  launch("add", add_kernel, static_cast<unsigned>((count + 63) / 64), 64, 0, static_cast<cudaStream_t>(stream), values,
         count, amount);
}

}  // namespace cuda_emulator::broken
