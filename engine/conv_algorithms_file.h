// The file that says which of cuDNN's algorithms compute the convolutions of a run (kernels/conv_algorithms.h): JSON,
// so that it can be read, compared and carried to another machine of the same kind.
#pragma once

#include <filesystem>
#include <string>

#include "kernels/conv_algorithms.h"

namespace nepenthe {

/// Reads a record. Throws Error naming the file where it is damaged.
kernels::ConvAlgorithms read_conv_algorithms(const std::filesystem::path& file);

/// Writes one, with the device they were chosen on (Device::description()) for people, and a
/// digest of it all.
void write_conv_algorithms(const std::filesystem::path& file, const kernels::ConvAlgorithms& algorithms,
                           const std::string& device);

/// SHA-256 of what a record says, "" for an empty one.
std::string digest(const kernels::ConvAlgorithms& algorithms);

}  // namespace nepenthe
