#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <new>
#include <stdexcept>
#include <thread>

#include <cpuid.h>
#include <fmt/core.h>
#include <sched.h>
#include <sys/mman.h>

#include "kernels/conv_algorithms.h"
#include "kernels/cpu/range_clock.h"
#include "kernels/cpu/thread_team.h"
#include "kernels/cpu_exec.h"
#include "kernels/layout.h"

namespace nepenthe::kernels {
namespace {

Isa best_isa(Precision precision) {
  if (has(Isa::v4, precision)) return Isa::v4;
  return has(Isa::v3) ? Isa::v3 : Isa::v2;
}

/// What clang's __builtin_cpu_supports lacks of x86-64-v3; it knows the levels by name from version 18 on only.
bool has_f16c_lzcnt_movbe() {
  unsigned a = 0, b = 0, c = 0, d = 0, extended = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && __get_cpuid(0x80000001, &a, &b, &extended, &d) != 0 &&
         (c & bit_F16C) != 0 && (c & bit_MOVBE) != 0 && (extended & bit_LZCNT) != 0;
}

int usable_processors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

}  // namespace

std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::v2: return "x86-64-v2";
    case Isa::v3: return "x86-64-v3";
    case Isa::v4: return "x86-64-v4";
  }
  return "unknown";
}

std::optional<Isa> isa_named(std::string_view text) {
  for (const Isa isa : {Isa::v2, Isa::v3, Isa::v4}) {
    if (text == name(isa)) return isa;
  }
  return std::nullopt;
}

bool has(Isa isa, Precision precision) {
  switch (isa) {
    case Isa::v2:
      return __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
    case Isa::v3:
      return has(Isa::v2) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && has_f16c_lzcnt_movbe();
    case Isa::v4:
      return has(Isa::v3) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") &&
             (precision != Precision::bf16 || __builtin_cpu_supports("avx512bf16"));
  }
  return false;
}

std::optional<Isa> isa_asked_for() {
  const char* text = std::getenv("NEPENTHE_ISA");
  if (!text || !*text) return std::nullopt;
  if (const std::optional<Isa> isa = isa_named(text)) return isa;
  throw std::invalid_argument(
      fmt::format("[exec] NEPENTHE_ISA is \"{}\": x86-64-v2, x86-64-v3 or x86-64-v4 is needed", text));
}

int channel_block(const CpuExec& exec, int channels) { return channels % exec.lanes() == 0 ? exec.lanes() : 1; }

const ConvAlgorithms& conv_algorithms(const CpuExec&) {
  static const ConvAlgorithms none;
  return none;
}

CpuExec::CpuExec(int threads, std::optional<Isa> isa, Precision precision)
    : threads_(threads), isa_(isa ? *isa : isa_asked_for().value_or(best_isa(precision))) {
  if (threads < 0 || threads > most_threads) {
    throw std::invalid_argument(fmt::format("[exec] {} threads: 1 to {}, or 0 for all", threads, most_threads));
  }
  if (threads == 0) threads_ = usable_processors();
  if (!has(isa_, precision)) {
    throw std::invalid_argument(fmt::format("[exec] this processor lacks {}{}; it has {}", name(isa_),
                                            has(isa_) ? "'s bf16 (AVX512-BF16)" : "", name(best_isa(precision))));
  }
  team_ = std::make_unique<ThreadTeam>(threads_);
}

CpuExec::~CpuExec() = default;
CpuExec::CpuExec(CpuExec&&) noexcept = default;
CpuExec& CpuExec::operator=(CpuExec&&) noexcept = default;

std::string CpuExec::description() const { return fmt::format("CPU ({}, {})", processor_name(), name(isa_)); }

void CpuExec::parallel(int parts, const std::function<void(int part, int thread)>& body) { team_->run(parts, body); }

float* CpuExec::workspace(std::size_t floats) {
  if (floats > workspace_floats_) {
    // On huge pages where they can be had: convolutions jump about in their scratch memory.
    constexpr std::size_t huge_page = std::size_t{1} << 21;
    const std::size_t bytes = (floats * sizeof(float) + huge_page - 1) / huge_page * huge_page;
    workspace_.reset();
    workspace_floats_ = 0;
    auto* memory = static_cast<float*>(std::aligned_alloc(huge_page, bytes));
    if (!memory) throw std::bad_alloc();
    madvise(memory, bytes, MADV_HUGEPAGE);
    workspace_.reset(memory);
    workspace_floats_ = bytes / sizeof(float);
  }
  return workspace_.get();
}

void CpuExec::AlignedFree::operator()(float* memory) const { std::free(memory); }

}  // namespace nepenthe::kernels
