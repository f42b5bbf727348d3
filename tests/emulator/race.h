// The race checker's view of what happens; does nothing unless built with NEPENTHE_EMULATOR_RACE.
//
// Kernels are compiled with -fsanitize=thread, which only inserts calls, and linked to race.cpp in place of the
// compiler's own library, so that the rules of order are CUDA's. Ordered are: accesses of one thread; accesses with a
// block barrier between them; accesses of lanes of a warp with a __syncwarp between them; kernels; and accesses of
// different blocks where a __threadfence and an atomic after the first, and an atomic on the same address before the
// second, hand over. A kernel that may begin early is ordered after others from where its thread has waited for them.
//
// It also sees every access to shared memory, and so counts the banks' wavefronts (banks.h): more than needed is an
// error.
#pragma once

#include <cstdint>
#include <string>

#include "fiber.h"

namespace cuda_emulator::race {

#if defined(NEPENTHE_EMULATOR_RACE)
inline constexpr bool enabled = true;
void launch_starts(std::uint64_t blocks);
void block_starts(std::uint64_t block, int threads, bool early, const char* shared_begin, const char* shared_end);
void thread_resumes(int thread, const Fiber& fiber);
void barrier();
/// What was wrong with the block's use of shared memory's banks since its last barrier, or "".
std::string bank_conflict();
void warp_barrier(int warp, unsigned lanes);
void fence();
/// For the running thread.
void earlier_kernels_ended();
void memory_freed(const char* begin);
#else
inline constexpr bool enabled = false;
inline void launch_starts(std::uint64_t) {}
inline void block_starts(std::uint64_t, int, bool, const char*, const char*) {}
inline void thread_resumes(int, const Fiber&) {}
inline void barrier() {}
inline std::string bank_conflict() { return ""; }
inline void warp_barrier(int, unsigned) {}
inline void fence() {}
inline void earlier_kernels_ended() {}
inline void memory_freed(const char*) {}
#endif

}  // namespace cuda_emulator::race
