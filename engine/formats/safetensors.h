// The safetensors format (github.com/huggingface/safetensors): 8 bytes of header length, a JSON header with name,
// dtype, shape and byte range of every tensor, then the bytes.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/formats/host_tensor.h"

namespace nepenthe {

/// Tensors in the order of their bytes, and the metadata. Nothing in the file is trusted: header length, JSON, names,
/// dtypes, shapes and byte ranges are checked, and every byte behind the header must belong to exactly one tensor.
/// Reads and refuses what the format's own library (0.8) does: other fields in a tensor's entry are passed over,
/// `__metadata__` may be null, the last of two tensors of one name counts. Throws Error, in one line: the file, what
/// was wrong, what would be right.
StateDict read_safetensors(const std::filesystem::path& path);

/// The metadata alone: reads the header, whose every claim is checked as above, and no tensor.
std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path);

/// read_safetensors from memory; `source` stands for the file in messages.
StateDict parse_safetensors(std::span<const std::byte> file, std::string_view source);

/// Whether a file begins as safetensors do.
bool is_safetensors(std::span<const std::byte> file);

/// The file's bytes, equal for equal content whatever the order of the entries: header sorted by name and padded with
/// spaces to 8 bytes, tensors by falling element size, then name, so that all are aligned. Throws Error for a doubled
/// or reserved name, or a shape that does not fit its bytes.
std::vector<std::byte> serialize_safetensors(const StateDict& state);

/// Writes that to a file in one step, as write_file_atomically does.
void write_safetensors(const std::filesystem::path& path, const StateDict& state);

}  // namespace nepenthe
