// Measures what this machine's CPU does at best: multiply-adds in registers, and copies of more than the caches hold.
// Prints one JSON object. Matrix units (AMX) are not used, so a processor that has them does more in bf16 than this
// says.
#include <fmt/core.h>
#include <immintrin.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <exception>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/cpu_exec.h"

namespace {

using namespace nepenthe::kernels;

constexpr int accumulators = 12;  // independent sums, more than an addition's latency times its throughput
constexpr int turns = 1 << 18, repeats = 25;

/// Where results go, so that no compiler leaves out what nobody reads.
thread_local volatile float sink;

/// A body: `turns` multiply-adds of each accumulator; operations are 2 · turns · accumulators · W.
template <int W>
NEPENTHE_INLINE void multiply_adds(float seed) {
  typename Lanes<W>::type sums[accumulators];
  for (int i = 0; i < accumulators; ++i) sums[i] = broadcast<W>(seed + static_cast<float>(i));
  const auto factor = broadcast<W>(0.999f * seed), term = broadcast<W>(0.001f * seed);
  for (int turn = 0; turn < turns; ++turn) {
    for (int i = 0; i < accumulators; ++i) sums[i] = multiply_add(sums[i], factor, term);
  }
  float total = 0;
  for (int i = 0; i < accumulators; ++i) total += sum_of_lanes<W>(sums[i]);
  sink = total;
}

/// Products of pairs of bf16, summed in fp32; operations are 2 · 2 · 16 · turns · accumulators.
[[gnu::target("avx512f,avx512bf16")]] void multiply_adds_bf16(float seed) {
  __m512 sums[accumulators];
  for (int i = 0; i < accumulators; ++i) sums[i] = _mm512_set1_ps(seed + static_cast<float>(i));
  const __m512bh pairs = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.01f * seed), _mm512_set1_ps(-0.01f * seed));
  for (int turn = 0; turn < turns; ++turn) {
    for (int i = 0; i < accumulators; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], pairs, pairs);
  }
  float total = 0;
  for (int i = 0; i < accumulators; ++i) {
    float lanes[16];
    _mm512_storeu_ps(lanes, sums[i]);
    for (const float lane : lanes) total += lane;
  }
  sink = total;
}

/// The shortest of some runs of one part a thread, in seconds: what the machine can do, whatever else runs.
double seconds(CpuExec& exec, const std::function<void(int part)>& body) {
  double shortest = std::numeric_limits<double>::infinity();
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const auto begin = std::chrono::steady_clock::now();
    exec.parallel(exec.threads(), [&](int part, int) { body(part); });
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    shortest = std::min(shortest, time.count());
  }
  return shortest;
}

int threads_of(int argc, char** argv) {
  int threads = 0;
  if (argc == 1) return threads;
  const std::string_view option = argv[1], value = argc == 3 ? argv[2] : "";
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), threads);
  if (argc != 3 || option != "--threads" || error != std::errc() || end != value.data() + value.size()) {
    throw std::invalid_argument("usage: bench_cpu_ceilings [--threads N]");
  }
  return threads;
}

void run(int threads) {
  CpuExec exec(threads);
  const double each = 2.0 * turns * accumulators * exec.threads();
  const double fp32 = each * exec.lanes() / seconds(exec, [&](int) {
                        on_isa<&multiply_adds<16>, &multiply_adds<8>, &multiply_adds<4>>(exec.isa(), 1.0f);
                      });
  nlohmann::ordered_json bf16;
  if (__builtin_cpu_supports("avx512bf16")) bf16 = each * 32 / seconds(exec, [](int) { multiply_adds_bf16(1.0f); });
  const std::size_t bytes = std::size_t{256} << 20;
  std::vector<char> from(bytes, 1), to(bytes, 2);
  const std::size_t part_bytes = bytes / static_cast<std::size_t>(exec.threads());
  const double copy = 2.0 * static_cast<double>(part_bytes) * exec.threads() / seconds(exec, [&](int part) {
                        const std::size_t begin = part_bytes * static_cast<std::size_t>(part);
                        std::memcpy(to.data() + begin, from.data() + begin, part_bytes);
                      });
  const nlohmann::ordered_json result{{"device", exec.description()},
                                      {"threads", exec.threads()},
                                      {"fp32_flops", fp32},
                                      {"bf16_flops", bf16},
                                      {"copy_bytes_per_second", copy}};
  fmt::print("{}\n", result.dump());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(threads_of(argc, argv));
    return 0;
  } catch (const std::invalid_argument& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
  }
  return 1;
}
