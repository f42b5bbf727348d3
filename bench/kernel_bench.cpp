#include "bench/kernel_bench.h"

#include <algorithm>
#include <cstdint>
#include <exception>
#include <random>
#include <utility>

#include "kernels/capture.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/stopwatch.h"

namespace nepenthe::bench {
namespace {

constexpr double graph_ms = 2;  // that a replay is to take, so that its own start does not count
constexpr int most_calls = 400;
constexpr std::size_t most_sets = 600;

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return (values[values.size() / 2] + values[(values.size() - 1) / 2]) / 2;
}

}  // namespace

KernelBench::KernelBench(kernels::CudaExec& exec, int repeats) : exec_(exec), repeats_(repeats) {
  int bytes = 0;
  NEPENTHE_CHECK(cudaDeviceGetAttribute(&bytes, cudaDevAttrL2CacheSize, 0));
  l2_bytes_ = static_cast<std::size_t>(bytes);
}

KernelBench::~KernelBench() { kernels::release(exec_, memory_); }

std::byte* KernelBench::memory(std::size_t bytes) {
  if (bytes > memory_bytes_) {
    kernels::synchronize(exec_);
    kernels::release(exec_, memory_);
    memory_ = nullptr;
    memory_bytes_ = 0;
    memory_ = static_cast<std::byte*>(kernels::allocate(exec_, bytes));
    memory_bytes_ = bytes;
  }
  std::vector<std::uint16_t> tile(std::min<std::size_t>(bytes / 2 + 1, std::size_t{1} << 20));
  std::mt19937 generator(1);
  for (std::uint16_t& bits : tile) bits = static_cast<std::uint16_t>(0x3f00u | (generator() & 0x807fu));
  const std::size_t tile_bytes = tile.size() * sizeof(tile[0]);
  for (std::size_t at = 0; at < bytes; at += tile_bytes) {
    kernels::copy_to_device(exec_, memory_ + at, tile.data(), std::min(tile_bytes, bytes - at));
  }
  return memory_;
}

double KernelBench::microseconds(const std::function<void()>& issue, int calls) {
  const auto captured = kernels::capture(exec_, issue);
  captured->replay();
  const kernels::Stopwatch watch(exec_.context().stream);
  std::vector<double> times;
  for (int i = 0; i < repeats_; ++i) times.push_back(1e3 * watch.milliseconds([&] { captured->replay(); }) / calls);
  return median(times);
}

double KernelBench::microseconds_eager(const std::function<void()>& issue, int calls) {
  issue();
  const kernels::Stopwatch watch(exec_.context().stream);
  std::vector<double> times;
  for (int i = 0; i < repeats_; ++i) times.push_back(1e3 * watch.milliseconds(issue) / calls);
  return median(times);
}

int KernelBench::calls_for(const std::function<void()>& issue) {
  issue();  // makes plans and scratch memory
  const kernels::Stopwatch watch(exec_.context().stream);
  const double once = watch.milliseconds(issue);
  return std::clamp(static_cast<int>(graph_ms / std::max(once, 1e-3)), 1, most_calls);
}

void KernelBench::measure(Measurement& measurement) {
  const Case& what = measurement.what;
  Operands first(memory(512), nullptr);
  what.bind(first);
  const std::size_t set_bytes = first.used();
  const std::size_t sets = 4 * l2_bytes_ / set_bytes + 2;
  const bool cold = sets <= most_sets;
  std::byte* base = memory(set_bytes * (cold ? sets : 1));

  Operands hot_operands(base, &exec_);
  const auto hot = what.bind(hot_operands);
  int calls = calls_for(hot);
  {
    const auto once = kernels::capture(exec_, hot);
    measurement.launches = static_cast<double>(once->launches());
  }
  measurement.hot_us = microseconds(
      [&] {
        for (int i = 0; i < calls; ++i) hot();
      },
      calls);
  if (!cold) return;
  std::vector<std::function<void()>> issues;
  for (std::size_t set = 0; set < sets; ++set) {
    Operands operands(base + set * set_bytes, &exec_);
    issues.push_back(what.bind(operands));
  }
  for (const auto& issue : issues) issue();
  // Whole rounds, so that every set waits equally long for its turn.
  const auto rounds = std::max<std::size_t>(static_cast<std::size_t>(calls) / sets, 1);
  measurement.cold_us = microseconds(
      [&] {
        for (std::size_t round = 0; round < rounds; ++round) {
          for (const auto& issue : issues) issue();
        }
      },
      static_cast<int>(rounds * sets));
}

void KernelBench::run(Case what) {
  Measurement measurement{.what = std::move(what)};
  try {
    measure(measurement);
  } catch (const std::exception& error) {
    measurement.failure = error.what();
  }
  measurements_.push_back(std::move(measurement));
}

}  // namespace nepenthe::bench
