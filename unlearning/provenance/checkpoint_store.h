// The checkpoints of a SISA run: shard-K/stage-T.safetensors, and beside it stage-T.state.safetensors while a stage is
// in the making. Each says in its metadata how it came to be (its lineage) and carries a digest of its contents
// (engine/formats/content_digest.h); those of runs of an earlier version may lack the digest.
//
// The store removes and replaces files of its own names only, and nothing through a symbolic link.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/formats/host_tensor.h"

namespace nepenthe {

class CheckpointStore {
 public:
  static constexpr const char* lineage_key = "lineage";

  /// Stages count from 0 (before any data) to `stages`.
  CheckpointStore(std::filesystem::path folder, int shards, int stages, bool may_lack_digests);

  std::filesystem::path checkpoint(int shard, int stage) const;
  std::filesystem::path state(int shard, int stage) const;

  /// What a checkpoint's header says of it; empty where there is none to be read. Reads no tensor. Throws Error for a
  /// symbolic link in the place of the file or of its folder.
  struct Header {
    std::string lineage, digest;
  };
  std::optional<Header> header(int shard, int stage) const;

  /// A checkpoint, its contents proven by its digest. Throws Error, naming the file, where it is missing or damaged.
  StateDict read(int shard, int stage) const;
  /// Throws the same of the state of a stage in the making.
  void check_state(int shard, int stage) const;

  /// Replaces a checkpoint; its lineage is in the state's metadata, under lineage_key.
  void write(int shard, int stage, StateDict state) const;

  void make_folder(int shard) const;
  void remove_state(int shard, int stage) const;
  /// Removes what the store wrote into a shard's folder, other than `kept`.
  void remove_all_but(int shard, const std::set<std::filesystem::path>& kept) const;

  /// Removes the temporaries of killed writers and returns them; nothing through a symbolic link.
  std::vector<std::filesystem::path> remove_abandoned() const;

  /// Throws Error where `file` or the folder it lies in is a symbolic link.
  static void refuse_link(const std::filesystem::path& file);

  /// Whether a file is one that the store writes.
  bool is_own(const std::filesystem::path& file) const;
  /// What lies in the shards' folders and is not the store's.
  std::vector<std::filesystem::path> foreign() const;

 private:
  std::filesystem::path shard_folder(int shard) const;
  bool is_own_name(std::string_view name) const;

  std::filesystem::path folder_;
  int shards_, stages_;
  bool may_lack_digests_;
};

}  // namespace nepenthe
