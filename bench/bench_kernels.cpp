// Measures what the GPU can do at best, then every kernel of the CUDA backend beside that, and cuDNN's batch norm
// beside ours.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <fstream>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/ceilings.h"
#include "bench/cudnn_batch_norm.h"
#include "bench/kernel_bench.h"
#include "bench/kernel_cases.h"
#include "kernels/bf16.h"

namespace {

using namespace nepenthe;
using Json = nlohmann::ordered_json;

struct Options {
  int batch = 128, repeats = 9, copy_megabytes = 1024, product_side = 8192;
  std::string precision = "bf16", json;
  bool only_ceilings = false;
};

Json number(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

/// Figures of a measurement: cold where there is that, since the ceilings are those of memory.
struct Figures {
  double us, bytes_per_second;
  std::optional<double> flops, share;
};

Figures figures(const bench::Measurement& m, const bench::Ceilings& ceilings) {
  const double us = m.cold_us.value_or(m.hot_us), seconds = us * 1e-6;
  Figures result{.us = us, .bytes_per_second = m.what.bytes / seconds};
  double at_best = m.what.bytes / ceilings.bytes_per_second();
  if (m.what.operations > 0) {
    result.flops = m.what.operations / seconds;
    const std::optional<double> most = ceilings.flops(m.what.products);
    if (!most) return result;
    at_best = std::max(at_best, m.what.operations / *most);
  }
  result.share = at_best / seconds;
  return result;
}

void print(const bench::Ceilings& c) {
  const auto teraflops = [](const std::optional<double>& flops) {
    return flops ? fmt::format("{:.1f}", *flops * 1e-12) : std::string("–");
  };
  fmt::print("ceilings: copy {:.0f} GB/s, add {:.0f} GB/s; products {} (bf16), {} (tf32), {} (fp32) TFLOP/s;\n",
             c.copy_bytes_per_second * 1e-9, c.add_bytes_per_second * 1e-9, teraflops(c.bf16_flops),
             teraflops(c.tf32_flops), teraflops(c.fp32_flops));
  fmt::print("a small kernel {:.2f} us when issued, {:.2f} us in a graph\n\n", c.launch_eager_us, c.launch_graph_us);
}

/// Returns how many cases failed.
int print(const std::vector<bench::Measurement>& measurements, const bench::Ceilings& ceilings) {
  fmt::print("{:<40} {:<32} {:>8} {:>8} {:>7} {:>8} {:>6} {:>8}\n", "kernel", "shape", "hot us", "cold us", "GB/s",
             "TFLOP/s", "share", "launches");
  int failed = 0;
  for (const bench::Measurement& m : measurements) {
    if (!m.failure.empty()) {
      fmt::print("{:<40} {:<32} failed: {}\n", m.what.op, m.what.shape, m.failure);
      ++failed;
      continue;
    }
    const Figures f = figures(m, ceilings);
    fmt::print("{:<40} {:<32} {:>8.2f} {:>8} {:>7.0f} {:>8} {:>6} {:>8.0f}\n", m.what.op, m.what.shape, m.hot_us,
               m.cold_us ? fmt::format("{:.2f}", *m.cold_us) : "", f.bytes_per_second * 1e-9,
               f.flops ? fmt::format("{:.2f}", *f.flops * 1e-12) : "",
               f.share ? fmt::format("{:.0f} %", 100 * *f.share) : "", m.launches);
  }
  return failed;
}

void write_json(const Options& options, const kernels::CudaExec& exec, const bench::KernelBench& bench,
                const bench::Ceilings& c) {
  Json json{{"program", "bench_kernels"},
            {"device", exec.description()},
            {"precision", options.precision},
            {"batch", options.batch},
            {"repeats", options.repeats},
            {"l2_bytes", bench.l2_bytes()},
            {"ceilings",
             {{"copy_bytes_per_second", c.copy_bytes_per_second},
              {"add_bytes_per_second", c.add_bytes_per_second},
              {"bf16_flops", number(c.bf16_flops)},
              {"tf32_flops", number(c.tf32_flops)},
              {"fp32_flops", number(c.fp32_flops)},
              {"launch_eager_us", c.launch_eager_us},
              {"launch_graph_us", c.launch_graph_us}}},
            {"kernels", Json::array()}};
  for (const bench::Measurement& m : bench.measurements()) {
    Json entry{{"op", m.what.op}, {"shape", m.what.shape}, {"bytes", m.what.bytes}, {"operations", m.what.operations}};
    if (m.failure.empty()) {
      const Figures f = figures(m, c);
      entry.update({{"hot_us", m.hot_us},
                    {"cold_us", number(m.cold_us)},
                    {"bytes_per_second", f.bytes_per_second},
                    {"flops", number(f.flops)},
                    {"share", number(f.share)},
                    {"launches", m.launches}});
    } else {
      entry["failure"] = m.failure;
    }
    json["kernels"].push_back(entry);
  }
  std::ofstream file(options.json);
  file << json.dump(2) << '\n';
  if (!file.flush()) throw std::runtime_error(fmt::format("{}: cannot be written", options.json));
}

template <class T>
void run_all(bench::KernelBench& bench, int batch) {
  bench::run_kernels<T>(bench, batch);
  for (const kernels::ImageShape& image : bench::stages(batch)) bench::run_cudnn_batch_norm<T>(bench, image);
}

int run(const Options& options) {
  const auto precision = options.precision == "fp32"   ? kernels::Precision::fp32
                         : options.precision == "tf32" ? kernels::Precision::tf32
                                                       : kernels::Precision::bf16;
  kernels::CudaExec exec(precision);
  fmt::print("{}, {}, batch {}\n", exec.description(), options.precision, options.batch);
  bench::KernelBench bench(exec, options.repeats);
  const bench::Ceilings ceilings = bench::measure_ceilings(bench, options.copy_megabytes, options.product_side);
  print(ceilings);
  if (options.only_ceilings) {
    if (!options.json.empty()) write_json(options, exec, bench, ceilings);
    return 0;
  }
  if (precision == kernels::Precision::bf16) {
    run_all<kernels::bf16>(bench, options.batch);
  } else {
    run_all<float>(bench, options.batch);
  }
  const int failed = print(bench.measurements(), ceilings);
  if (!options.json.empty()) write_json(options, exec, bench, ceilings);
  if (failed > 0) throw std::runtime_error(fmt::format("{} of {} kernels failed", failed, bench.measurements().size()));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Measures the CUDA backend's kernels beside what the GPU can do at best", "bench_kernels");
  app.option_defaults()->always_capture_default();
  app.add_option("--batch", options.batch, "Pictures a step")->check(CLI::PositiveNumber);
  app.add_option("--precision", options.precision, "fp32, tf32 or bf16")
      ->check(CLI::IsMember({"fp32", "tf32", "bf16"}));
  app.add_option("--repeats", options.repeats, "Every figure is the median of as many")->check(CLI::PositiveNumber);
  app.add_option("--copy-megabytes", options.copy_megabytes, "Memory copied for the ceiling")
      ->check(CLI::PositiveNumber);
  app.add_option("--product-side", options.product_side, "Side of the matrices multiplied for the ceiling")
      ->check(CLI::PositiveNumber);
  app.add_flag("--only-ceilings", options.only_ceilings, "Measure no kernels");
  app.add_option("--json", options.json, "Write every figure to this file as JSON")->type_name("FILE");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(options);
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "error: out of memory\n");
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
  }
  return 1;
}
