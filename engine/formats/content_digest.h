// Safetensors files that prove their own contents: among their metadata is a digest of everything else in them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "engine/formats/host_tensor.h"

namespace nepenthe {

/// The metadata's name for it.
inline constexpr const char* digest_key = "digest";

/// "sha256:" and 64 hexadecimal digits: of the tensors' names, types, shapes and bytes and of all metadata but the
/// digest itself, whatever their order.
std::string content_digest(const StateDict& state);

/// Throws Error where `state` carries a digest and does not fit it: "SOURCE: damaged: …".
void check_content(const StateDict& state, std::string_view source);

/// Writes `state` with its digest, in one step as write_safetensors does.
void write_with_digest(const std::filesystem::path& path, StateDict state);

/// What read_safetensors gives, its contents checked against their digest. Throws Error where they do not fit it, or
/// where there is none, unless `may_lack_it`: files of others and of earlier versions do.
StateDict read_with_digest(const std::filesystem::path& path, bool may_lack_it = false);

}  // namespace nepenthe
