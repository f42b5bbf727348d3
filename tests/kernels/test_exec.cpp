#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "backends.h"
#include "kernels/cpu/chunks.h"
#include "kernels/cpu/thread_team.h"

namespace nepenthe::tests {
namespace {

using kernels::Isa;

TEST_CASE("exec: what the CPU's says of itself" * doctest::skip(emulated)) {
  CpuExec& exec = exec_with(2);
  MESSAGE(exec.description());
  CHECK(exec.threads() == 2);
  CHECK(CpuExec().threads() >= 1);
  CHECK(exec.description().find(kernels::name(exec.isa())) != std::string::npos);
  CHECK(exec.lanes() == (exec.isa() == Isa::v4 ? 16 : exec.isa() == Isa::v3 ? 8 : 4));
}

TEST_CASE("exec: names of precisions") {
  CHECK(kernels::name(Precision::fp32) == "fp32");
  CHECK(kernels::name(Precision::tf32) == "tf32");
  CHECK(kernels::name(Precision::bf16) == "bf16");
}

TEST_CASE("exec: what CUDA's says of itself") {
  for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16}) {
    CudaExec* const exec = cuda_exec(precision);
    if (!exec) return;
    if (precision == Precision::fp32) MESSAGE(exec->description());
    CHECK(exec->precision() == precision);
    CHECK(exec->description().starts_with("CUDA ("));
    CHECK(exec->description().find('\n') == std::string::npos);
    for (const int channels : {1, 3, 16, 24}) CHECK(kernels::channel_block(*exec, channels) == channels);
  }
}

TEST_CASE("exec: CUDA's can be moved") {
  if (!cuda_exec(Precision::fp32)) return;
  CudaExec exec(Precision::bf16);
  CudaExec moved = std::move(exec);
  CHECK(moved.precision() == Precision::bf16);
  void* const memory = allocate(moved, 100);
  exec = std::move(moved);
  release(exec, memory);
}

TEST_CASE("exec: impossible requests are refused" * doctest::skip(emulated)) {
  CHECK_THROWS_AS(CpuExec(-1), std::invalid_argument);
  CHECK_THROWS_AS(CpuExec(kernels::most_threads + 1), std::invalid_argument);
}

TEST_CASE("exec: parallel runs every part once and passes a failure on" * doctest::skip(emulated)) {
  for (const int threads : {1, 2, 3}) {
    std::vector<std::atomic<int>> runs(100);
    exec_with(threads).parallel(100, [&](int part, int) { ++runs[static_cast<std::size_t>(part)]; });
    for (const auto& run : runs) CHECK(run == 1);
    exec_with(threads).parallel(0, [](int, int) { FAIL("no parts"); });
    CHECK_THROWS_AS(exec_with(threads).parallel(10,
                                                [](int part, int) {
                                                  if (part == 7) throw std::range_error("seven");
                                                }),
                    std::range_error);
  }
}

TEST_CASE("thread team: made, used and ended a thousand times, idle threads asleep or not" * doctest::skip(emulated)) {
  std::atomic<int> done = 0;
  for (int round = 0; round < 1000; ++round) {
    kernels::ThreadTeam team(1 + round % 4);
    if (round % 10 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
    for (int call = 0; call < round % 3; ++call) team.run(5, [&](int, int) { ++done; });
  }
  CHECK(done == 5 * 999);
}

TEST_CASE("exec: the workspace is aligned, grows and stays" * doctest::skip(emulated)) {
  CpuExec exec(1);
  float* small = exec.workspace(10);
  CHECK(reinterpret_cast<std::uintptr_t>(small) % 64 == 0);
  float* large = exec.workspace(std::size_t{1} << 21);
  large[(std::size_t{1} << 21) - 1] = 1;
  CHECK(exec.workspace(5) == large);
  CpuExec moved = std::move(exec);
  CHECK(moved.workspace(5) == large);
}

TEST_CASE("exec: a layout for every number of channels" * doctest::skip(emulated)) {
  CpuExec& exec = exec_with(1);
  for (const int channels : {1, 3, 5, 8, 16, 24, 64}) {
    const int block = kernels::channel_block(exec, channels);
    CHECK(channels % block == 0);
    CHECK((block == 1 || block == exec.lanes()));
  }
}

TEST_CASE("chunks: they cover everything once" * doctest::skip(emulated)) {
  for (const int images : {1, 2, 7, 8, 15, 16, 17, 64, 100, 128, 129, 1000}) {
    const kernels::Chunks chunks = kernels::chunks_of_images(images);
    std::size_t next = 0;
    for (int chunk = 0; chunk < chunks.parts(); ++chunk) {
      CHECK(chunks[chunk].begin == next);
      CHECK(chunks[chunk].end > next);
      next = chunks[chunk].end;
    }
    CHECK(next == static_cast<std::size_t>(images));
  }
}

}  // namespace
}  // namespace nepenthe::tests
