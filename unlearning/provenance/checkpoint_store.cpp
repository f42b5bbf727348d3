#include "unlearning/provenance/checkpoint_store.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>
#include <system_error>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/in_the_making.h"
#include "engine/formats/content_digest.h"
#include "engine/formats/safetensors.h"

namespace nepenthe {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view checkpoint_ending = ".safetensors", state_ending = ".state.safetensors";

}  // namespace

CheckpointStore::CheckpointStore(fs::path folder, int shards, int stages, bool may_lack_digests)
    : folder_(std::move(folder)), shards_(shards), stages_(stages), may_lack_digests_(may_lack_digests) {}

fs::path CheckpointStore::shard_folder(int shard) const { return folder_ / fmt::format("shard-{}", shard); }

fs::path CheckpointStore::checkpoint(int shard, int stage) const {
  return shard_folder(shard) / fmt::format("stage-{}{}", stage, checkpoint_ending);
}

fs::path CheckpointStore::state(int shard, int stage) const {
  return shard_folder(shard) / fmt::format("stage-{}{}", stage, state_ending);
}

void CheckpointStore::refuse_link(const fs::path& file) {
  for (const fs::path& path : {file.parent_path(), file}) {
    if (std::error_code unknown; fs::is_symlink(fs::symlink_status(path, unknown))) {
      throw Error(
          fmt::format("{}: is a symbolic link, through which nothing of a run is read, written or removed; what "
                      "it names would be right in its place",
                      path.string()));
    }
  }
}

std::optional<CheckpointStore::Header> CheckpointStore::header(int shard, int stage) const {
  const fs::path file = checkpoint(shard, stage);
  refuse_link(file);
  try {
    auto metadata = read_safetensors_metadata(file);
    return Header{.lineage = metadata[lineage_key], .digest = metadata[digest_key]};
  } catch (const Error&) {
    return std::nullopt;
  }
}

StateDict CheckpointStore::read(int shard, int stage) const {
  const fs::path file = checkpoint(shard, stage);
  refuse_link(file);
  return read_with_digest(file, may_lack_digests_);
}

void CheckpointStore::check_state(int shard, int stage) const {
  refuse_link(state(shard, stage));
  (void)read_with_digest(state(shard, stage), may_lack_digests_);
}

void CheckpointStore::write(int shard, int stage, StateDict state) const {
  const fs::path file = checkpoint(shard, stage);
  refuse_link(file);
  write_with_digest(file, std::move(state));
}

void CheckpointStore::make_folder(int shard) const {
  nepenthe::make_folder(shard_folder(shard));
  sync_folder(folder_);
}

void CheckpointStore::remove_state(int shard, int stage) const {
  refuse_link(state(shard, stage));
  remove_file(state(shard, stage));
}

bool CheckpointStore::is_own(const fs::path& file) const {
  if (std::error_code unknown; !fs::is_regular_file(fs::symlink_status(file, unknown))) return false;
  return is_own_name(file.filename().string());
}

bool CheckpointStore::is_own_name(std::string_view name) const {
  if (!name.starts_with("stage-")) return false;
  name.remove_prefix(std::string_view("stage-").size());
  int stage = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), stage);
  const std::string_view ending = name.substr(static_cast<std::size_t>(end - name.data()));
  return error == std::errc() && stage >= 0 && stage <= stages_ &&
         (ending == checkpoint_ending || ending == state_ending);
}

void CheckpointStore::remove_all_but(int shard, const std::set<fs::path>& kept) const {
  refuse_link(checkpoint(shard, 0));
  bool removed = false;
  for (const fs::directory_entry& entry : list_folder(shard_folder(shard))) {
    if (kept.contains(entry.path()) || !is_own(entry.path())) continue;
    remove_file(entry.path());
    removed = true;
  }
  if (removed) sync_folder(shard_folder(shard));
}

std::vector<fs::path> CheckpointStore::remove_abandoned() const {
  std::vector<fs::path> removed;
  for (int shard = 0; shard < shards_; ++shard) {
    std::error_code unknown;
    if (!fs::is_directory(fs::symlink_status(shard_folder(shard), unknown))) continue;
    for (fs::path& path : remove_abandoned_files(shard_folder(shard), [&](auto name) { return is_own_name(name); })) {
      removed.push_back(std::move(path));
    }
  }
  return removed;
}

std::vector<fs::path> CheckpointStore::foreign() const {
  std::vector<fs::path> found;
  for (int shard = 0; shard < shards_; ++shard) {
    for (const fs::directory_entry& entry : list_folder(shard_folder(shard))) {
      if (!is_own(entry.path())) found.push_back(entry.path());
    }
  }
  return found;
}

}  // namespace nepenthe
