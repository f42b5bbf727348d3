// The file that says which of cuDNN's engines compute the convolutions of a run (kernels/conv_engines.h): JSON, so that
// it can be read, compared and carried to another machine of the same kind.
#pragma once

#include <filesystem>
#include <string>

#include "kernels/conv_engines.h"

namespace nepenthe {

/// Reads a record. Throws Error naming the file where it is damaged.
kernels::ConvEngines read_engines(const std::filesystem::path& file);

/// Writes one, with the device they were chosen on (Device::description()) for people.
void write_engines(const std::filesystem::path& file, const kernels::ConvEngines& engines, const std::string& device);

/// SHA-256 of what a record says, "" for an empty one.
std::string digest(const kernels::ConvEngines& engines);

}  // namespace nepenthe
