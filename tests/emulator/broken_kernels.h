// Kernels with one mistake each, and the same without it; and a few that are right.
#pragma once

#include <vector>

namespace cuda_emulator::broken {

/// Runs the kernel, as it should be or with the mistake, on 128 zeros and a counter at zero, and returns them after it.
using Experiment = std::vector<float> (*)(bool mistake);

std::vector<float> missing_barrier(bool mistake);
std::vector<float> missing_barrier_before_reuse(bool mistake);
std::vector<float> missing_syncwarp(bool mistake);
std::vector<float> shuffle_in_place_of_syncwarp(bool mistake);
std::vector<float> divergent_barrier(bool mistake);
std::vector<float> return_before_barrier(bool mistake);
std::vector<float> shuffle_from_absent_lane(bool mistake);
std::vector<float> lane_outside_its_mask(bool mistake);
std::vector<float> lane_that_never_comes(bool mistake);
std::vector<float> global_write_out_of_bounds(bool mistake);
std::vector<float> misaligned_vector_load(bool mistake);
std::vector<float> shared_write_out_of_bounds(bool mistake);
std::vector<float> too_much_shared_memory(bool mistake);
std::vector<float> uninitialised_shared_read(bool mistake);
std::vector<float> bank_conflict(bool mistake);
std::vector<float> bank_conflict_of_doubles(bool mistake);
std::vector<float> add_without_atomic(bool mistake);
std::vector<float> read_of_another_block(bool mistake);
std::vector<float> missing_threadfence(bool mistake);
std::vector<float> threadfence_of_one_thread(bool mistake);
std::vector<float> threadfence_before_the_write(bool mistake);
std::vector<float> early_access(bool mistake);
std::vector<float> result_by_order_of_threads(bool mistake);

/// Of 32 lanes with values 0 … 31, one kernel's results: 32 each of shfl_xor 3, shfl_down 2 within 8 and shfl_up 1; 16
/// of shfl from lane 5; then ballot of odd lanes (1 if right), any and all of odd lanes, and the reductions add, min
/// and max of the lane's value less 10.
std::vector<float> warp_functions();
/// Of 96 threads with values 1 … 96, one kernel's results: count, and, or of the even ones; the counter after
/// atomicAdd, atomicMax, atomicMin, atomicExch, atomicCAS of one thread and atomicInc up to 10 of all.
std::vector<float> block_functions();

/// Adds `amount` to each of `count` floats on `stream`, by blocks of 64 threads. The stream is a cudaStream_t.
void add(float* values, int count, float amount, void* stream);

}  // namespace cuda_emulator::broken
