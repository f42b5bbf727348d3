// Every kernel of the CUDA backend at the shapes of ResNet32 on CIFAR.
#pragma once

#include <vector>

#include "bench/kernel_bench.h"
#include "kernels/shapes.h"

namespace nepenthe::bench {

/// The activations of ResNet32's three stages.
std::vector<kernels::ImageShape> stages(int batch);

/// Runs all cases with activations of type T (float or bf16), products as bench.exec()'s precision says.
template <class T>
void run_kernels(KernelBench& bench, int batch);

}  // namespace nepenthe::bench
