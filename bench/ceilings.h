// What the machine can do at best: memory bandwidth, matrix products, the cost of a launch.
#pragma once

#include <optional>

#include "bench/kernel_bench.h"

namespace nepenthe::bench {

struct Ceilings {
  double copy_bytes_per_second = 0;  // cudaMemcpyAsync from device to device, bytes read and written
  double add_bytes_per_second = 0;   // kernels::add over the same memory: two arrays read, one written
  double launch_eager_us = 0;        // one of many small kernels issued one by one
  double launch_graph_us = 0;        // the same as nodes of a graph
  // Of large products; none where cuBLASLt refuses.
  std::optional<double> fp32_flops, tf32_flops, bf16_flops;

  double bytes_per_second() const;
  std::optional<double> flops(Products products) const;
};

/// `megabytes` of each array that is copied, `side` of the square matrices.
Ceilings measure_ceilings(KernelBench& bench, int megabytes, int side);

}  // namespace nepenthe::bench
