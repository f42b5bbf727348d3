// PyTorch's zip checkpoints (.pt, .pth: what torch.save has written since version 1.6), read and written without it.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/formats/host_tensor.h"

namespace nepenthe {

/// The format that a file of weights has.
enum class WeightsFormat { safetensors, torch };

struct WeightsFile {
  WeightsFormat format = WeightsFormat::safetensors;
  StateDict state;
  std::string key, passed_over;  // of a PyTorch checkpoint, as PickledWeights has them
};

/// The tensors of a checkpoint, dense and in the checkpoint's order: those of the dict of tensors that it is or holds
/// (engine/formats/pickled_weights.h). Names are kept as they are; what else the checkpoint holds is passed over.
/// Nothing is executed and nothing is trusted (engine/formats/pickle.h): every member's CRC-32 is verified, and sizes
/// are bounded by the file's own. `source` stands for the file in messages. Throws Error, in one line: the file, what
/// was wrong, what would be right; also for the old format without zip, TorchScript archives and big-endian
/// checkpoints.
WeightsFile parse_torch_checkpoint(std::span<const std::byte> file, std::string_view source);

/// Weights of either format, told apart by the file's first bytes: a PyTorch zip checkpoint or safetensors, which must
/// fit its digest where it carries one (engine/formats/content_digest.h). Throws Error as the readers do, or where the
/// file is neither.
WeightsFile read_weights_file(const std::filesystem::path& path);

/// Its tensors alone.
StateDict read_weights(const std::filesystem::path& path);

/// The format that a file is written in, by its ending: .safetensors, or .pt and .pth. Throws UsageError, naming those,
/// for other endings.
WeightsFormat weights_format(const std::filesystem::path& path);

/// Writes weights in that format, in one step as write_file_atomically does: safetensors with metadata and a digest of
/// its contents, a PyTorch checkpoint without. Throws UsageError as weights_format, Error as the writers do.
void write_weights(const std::filesystem::path& path, StateDict state);

/// The bytes of a checkpoint that torch.load, also with weights_only=True, reads as an OrderedDict of the tensors in
/// their order: nothing compressed, every tensor with a storage of its own, aligned to 64 bytes as PyTorch does. Equal
/// for equal entries; the metadata have no place in it. Throws Error for a doubled name or one that is no UTF-8, more
/// than 64 dimensions, or a shape that does not fit its bytes.
std::vector<std::byte> serialize_torch_checkpoint(const StateDict& state);

/// Writes that to a file in one step, as write_file_atomically does.
void write_torch_checkpoint(const std::filesystem::path& path, const StateDict& state);

}  // namespace nepenthe
