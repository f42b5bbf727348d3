#include "engine/formats/content_digest.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/safetensors.h"

namespace nepenthe {
namespace {

constexpr std::string_view kind = "sha256:";

}  // namespace

std::string content_digest(const StateDict& state) {
  std::vector<const std::pair<std::string, HostTensor>*> order;
  for (const auto& entry : state.entries) order.push_back(&entry);
  std::ranges::sort(order, {}, [](const auto* entry) { return entry->first; });
  Sha256 hash;
  // Lengths go before texts, so that no two contents give the same bytes.
  const auto add = [&](std::string_view text) {
    const std::string with_length = fmt::format("{}:{}\n", text.size(), text);
    hash.update(std::as_bytes(std::span(with_length)));
  };
  for (const auto* entry : order) {
    const auto& [name, tensor] = *entry;
    add(name);
    add(fmt::format("{} {} {}", nepenthe::name(tensor.dtype), to_string(tensor.shape), tensor.bytes.size()));
    hash.update(tensor.bytes);
  }
  for (const auto& [key, value] : state.metadata) {
    if (key == digest_key) continue;
    add(key);
    add(value);
  }
  return std::string(kind) + hash.hex();
}

void check_content(const StateDict& state, std::string_view source) {
  const auto digest = state.metadata.find(digest_key);
  // A digest of another kind is another program's.
  if (digest == state.metadata.end() || !digest->second.starts_with(kind)) return;
  if (digest->second != content_digest(state)) {
    throw Error(
        fmt::format("{}: damaged: its contents do not fit their digest; a copy from before the damage, or "
                    "making it again, would be right",
                    source));
  }
}

void write_with_digest(const std::filesystem::path& path, StateDict state) {
  state.metadata[digest_key] = content_digest(state);
  write_safetensors(path, state);
}

StateDict read_with_digest(const std::filesystem::path& path, bool may_lack_it) {
  StateDict state = read_safetensors(path);
  check_content(state, path.string());
  const auto digest = state.metadata.find(digest_key);
  if (!may_lack_it && (digest == state.metadata.end() || !digest->second.starts_with(kind))) {
    throw Error(fmt::format("{}: damaged: the digest of its contents is missing", path.string()));
  }
  return state;
}

}  // namespace nepenthe
