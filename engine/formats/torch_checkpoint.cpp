#include "engine/formats/torch_checkpoint.h"

#include <fmt/format.h>
#include <minizip/unzip.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/content_digest.h"
#include "engine/formats/pickle.h"
#include "engine/formats/pickled_weights.h"
#include "engine/formats/safetensors.h"

namespace nepenthe {

namespace {

using Members = std::map<std::string, std::vector<std::byte>, std::less<>>;

template <class... Args>
[[noreturn]] void fail(std::string_view source, fmt::format_string<Args...> what, Args&&... args) {
  throw Error(fmt::format("{}: {}", source, fmt::format(what, std::forward<Args>(args)...)));
}

/// What a file may unpack to, so that a few bytes cannot claim all memory. torch.save stores without compression, so
/// this is generous.
std::uint64_t unpacked_limit(std::span<const std::byte> file) { return (std::uint64_t{64} << 20) + 16 * file.size(); }

/// A file in memory under the callbacks that minizip reads through.
struct MemoryFile {
  std::span<const std::byte> bytes;
  std::uint64_t position = 0;

  static MemoryFile& of(voidpf opaque) { return *static_cast<MemoryFile*>(opaque); }
  static voidpf open(voidpf opaque, const void*, int) { return opaque; }
  static uLong read(voidpf opaque, voidpf, void* buffer, uLong size) {
    MemoryFile& file = of(opaque);
    const std::uint64_t count = std::min<std::uint64_t>(size, file.bytes.size() - file.position);
    if (count > 0) std::memcpy(buffer, file.bytes.data() + file.position, count);
    file.position += count;
    return count;
  }
  static uLong write(voidpf, voidpf, const void*, uLong) { return 0; }
  static ZPOS64_T tell(voidpf opaque, voidpf) { return of(opaque).position; }
  static long seek(voidpf opaque, voidpf, ZPOS64_T offset, int origin) {
    MemoryFile& file = of(opaque);
    const std::uint64_t base = origin == ZLIB_FILEFUNC_SEEK_SET   ? 0
                               : origin == ZLIB_FILEFUNC_SEEK_CUR ? file.position
                                                                  : file.bytes.size();
    if (offset > file.bytes.size() - base) return -1;
    file.position = base + offset;
    return 0;
  }
  static int close(voidpf, voidpf) { return 0; }
  static int error(voidpf, voidpf) { return 0; }
};

/// The current member's bytes, its CRC-32 verified. `room`: how much it may still unpack to.
std::vector<std::byte> read_member(unzFile zip, const unz_file_info64& info, const std::string& name,
                                   std::uint64_t room, std::size_t file_size, std::string_view source) {
  const std::string shown = printable(name);
  constexpr unsigned encrypted = 1;
  constexpr unsigned stored = 0, deflated = 8;
  if ((info.flag & encrypted) != 0) fail(source, "member '{}' is encrypted; torch.save never does that", shown);
  if (info.compression_method != stored && info.compression_method != deflated) {
    fail(source, "member '{}' has compression method {}; stored (0) and deflated (8) are read", shown,
         info.compression_method);
  }
  if (info.compressed_size > file_size || info.uncompressed_size > room ||
      (info.compression_method == stored && info.compressed_size != info.uncompressed_size)) {
    fail(source, "member '{}' claims {} bytes, packed in {}, of a file of {}; it is damaged or made to harm", shown,
         info.uncompressed_size, info.compressed_size, file_size);
  }
  if (unzOpenCurrentFile(zip) != UNZ_OK) fail(source, "member '{}' cannot be opened; the archive is damaged", shown);
  std::vector<std::byte> bytes(info.uncompressed_size);
  std::size_t size = 0;
  int got = 1;
  while (size < bytes.size() && got > 0) {
    const auto part = static_cast<unsigned>(std::min<std::size_t>(bytes.size() - size, std::size_t{1} << 30));
    got = unzReadCurrentFile(zip, bytes.data() + size, part);
    if (got > 0) size += static_cast<std::size_t>(got);
  }
  // minizip compares the CRC-32 when a member that was read to its end is closed.
  const int closed = unzCloseCurrentFile(zip);
  if (closed == UNZ_CRCERROR) {
    fail(source, "member '{}' fails its CRC-32; the file is damaged, fetch or save it again", shown);
  }
  if (size != bytes.size() || closed != UNZ_OK) {
    fail(source, "member '{}' ends after {} of {} bytes; the archive is damaged", shown, size, bytes.size());
  }
  return bytes;
}

/// Whether the archive's end record, with its comment, ends the file. minizip takes files that lack the last byte or
/// have more behind.
bool ends_as_archive(std::span<const std::byte> file) {
  constexpr std::size_t record = 22, longest_comment = 0xFFFF;
  constexpr std::string_view magic = "PK\x05\x06";
  for (std::size_t comment = 0; comment <= longest_comment && comment + record <= file.size(); ++comment) {
    const auto end = file.last(comment + record);
    if (!as_text(end).starts_with(magic)) continue;
    std::uint16_t claimed = 0;
    std::memcpy(&claimed, end.data() + record - sizeof(claimed), sizeof(claimed));
    if (claimed == comment) return true;
  }
  return false;
}

/// All members of the archive; each CRC-32 is verified, whether the member is needed or not.
Members unzip(std::span<const std::byte> file, std::string_view source) {
  MemoryFile memory{file};
  zlib_filefunc64_def callbacks = {MemoryFile::open, MemoryFile::read,  MemoryFile::write, MemoryFile::tell,
                                   MemoryFile::seek, MemoryFile::close, MemoryFile::error, &memory};
  const std::unique_ptr<void, int (*)(unzFile)> zip(unzOpen2_64("", &callbacks), &unzClose);
  if (!zip || !ends_as_archive(file)) {
    fail(source, "is no complete zip archive (it does not end with its directory); it is truncated, fetch it again");
  }
  unz_global_info64 archive = {};
  unzGetGlobalInfo64(zip.get(), &archive);

  Members members;
  std::uint64_t room = unpacked_limit(file);
  std::uint64_t seen = 0;
  int status = unzGoToFirstFile(zip.get());
  for (; status == UNZ_OK; status = unzGoToNextFile(zip.get()), ++seen) {
    unz_file_info64 info = {};
    std::string name;
    status = unzGetCurrentFileInfo64(zip.get(), &info, nullptr, 0, nullptr, 0, nullptr, 0);
    if (status == UNZ_OK) {
      name.resize(info.size_filename);
      status = unzGetCurrentFileInfo64(zip.get(), &info, name.data(), name.size(), nullptr, 0, nullptr, 0);
    }
    if (status != UNZ_OK) break;
    auto bytes = read_member(zip.get(), info, name, room, file.size(), source);
    room -= bytes.size();
    if (!members.emplace(name, std::move(bytes)).second) {
      fail(source, "has member '{}' twice; names must differ", printable(name));
    }
  }
  if (status != UNZ_END_OF_LIST_OF_FILE || seen != archive.number_entry) {
    fail(source, "its directory of {} members breaks off after {}; the archive is damaged", archive.number_entry, seen);
  }
  return members;
}

/// A checkpoint's members and what data.pkl says about them.
class Checkpoint {
 public:
  Checkpoint(std::span<const std::byte> file, std::string_view source)
      : source_(source), members_(unzip(file, source)), room_(unpacked_limit(file)) {
    find_prefix();
    if (members_.contains(prefix_ + "constants.pkl")) {
      fail(source_, "is a TorchScript archive; save the weights with torch.save(model.state_dict(), …)");
    }
    if (const auto order = members_.find(prefix_ + "byteorder"); order != members_.end()) {
      if (as_text(order->second) != "little") {
        fail(source_, "has byte order '{}'; save it on a little-endian machine", printable(as_text(order->second)));
      }
    }
    pickle_ = parse_pickle(members_.at(prefix_ + "data.pkl"), source_);
    for (const PickledStorage& storage : pickle_.storages) check(storage);
  }

  WeightsFile weights() {
    PickledWeights found = find_weights(pickle_, source_);
    WeightsFile file{.format = WeightsFormat::torch,
                     .state = {},
                     .key = std::move(found.key),
                     .passed_over = std::move(found.passed_over)};
    std::set<std::string_view> names;
    for (const auto& [key, value] : pickle_.dicts[found.dict]) {
      if (key.kind != PickleValue::Kind::text || value.kind != PickleValue::Kind::tensor) continue;
      const std::string_view name = pickle_.texts[key.index()];
      if (!names.insert(name).second) fail(source_, "has tensor '{}' twice; names must differ", printable(name));
      file.state.entries.emplace_back(name, dense(pickle_.tensors[value.index()], name));
    }
    return file;
  }

 private:
  /// torch.save puts all members into one folder, named after the file or "archive".
  void find_prefix() {
    constexpr std::string_view pickle_name = "data.pkl";
    std::size_t found = 0;
    for (const auto& [name, bytes] : members_) {
      const std::size_t slash = name.find('/');
      if (name == pickle_name || (slash != std::string::npos && name.substr(slash + 1) == pickle_name)) {
        prefix_ = name.substr(0, name.size() - pickle_name.size());
        ++found;
      }
    }
    if (found != 1) {
      fail(source_, "is a zip archive with {} members data.pkl; a PyTorch checkpoint has one", found);
    }
  }

  Members::const_iterator member_of(const PickledStorage& storage) const {
    return members_.find(fmt::format("{}data/{}", prefix_, storage.key));
  }

  void check(const PickledStorage& storage) const {
    const auto member = member_of(storage);
    if (member == members_.end()) {
      fail(source_, "lacks member 'data/{}', which its tensors need", printable(storage.key));
    }
    if (byte_count(storage.dtype, std::array{storage.count}) != member->second.size()) {
      fail(source_, "member 'data/{}' has {} bytes; {} elements of {} are expected", printable(storage.key),
           member->second.size(), storage.count, nepenthe::name(storage.dtype));
    }
  }

  HostTensor dense(const PickledTensor& view, std::string_view name) {
    const PickledStorage& storage = pickle_.storages[view.storage];
    const std::size_t size = element_bits(storage.dtype) / 8;
    const std::int64_t count = element_count(view.shape).value_or(0);
    // A stride of 0 makes few bytes many elements.
    if (static_cast<std::uint64_t>(count) > room_ / size) {
      fail(source_, "tensor '{}' of shape {} repeats its storage beyond all measure", printable(name),
           to_string(view.shape));
    }
    room_ -= static_cast<std::uint64_t>(count) * size;
    HostTensor tensor{storage.dtype, view.shape, std::vector<std::byte>(static_cast<std::size_t>(count) * size)};
    const auto& data = member_of(storage)->second;

    std::vector<std::int64_t> index(view.shape.size(), 0);
    std::int64_t element = view.offset;
    for (std::int64_t i = 0; i < count; ++i) {
      std::memcpy(tensor.bytes.data() + static_cast<std::size_t>(i) * size,
                  data.data() + static_cast<std::size_t>(element) * size, size);
      for (std::size_t axis = index.size(); axis > 0; --axis) {
        element += view.strides[axis - 1];
        if (++index[axis - 1] < view.shape[axis - 1]) break;
        element -= view.strides[axis - 1] * view.shape[axis - 1];
        index[axis - 1] = 0;
      }
    }
    return tensor;
  }

  std::string_view source_;
  Members members_;
  std::uint64_t room_;
  std::string prefix_;
  Pickle pickle_;
};

bool starts_with(std::span<const std::byte> file, std::string_view magic) { return as_text(file).starts_with(magic); }

constexpr std::string_view zip_magic = "PK\x03\x04";

/// The format of torch.save before 1.6 (or with _use_new_zipfile_serialization=False): a pickled magic number first.
bool is_legacy(std::span<const std::byte> file) {
  using namespace std::string_view_literals;
  constexpr std::size_t longest_start = 32;
  return starts_with(file, "\x80") &&
         as_text(file.first(std::min(file.size(), longest_start)))
                 .find("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"sv) != std::string_view::npos;
}

[[noreturn]] void refuse_legacy(std::string_view source) {
  fail(source,
       "is in PyTorch's old format without zip; save it again with PyTorch 1.6 or later: "
       "torch.save(torch.load(FILE, map_location='cpu'), NEW)");
}

}  // namespace

WeightsFile parse_torch_checkpoint(std::span<const std::byte> file, std::string_view source) {
  if (is_legacy(file)) refuse_legacy(source);
  if (!starts_with(file, zip_magic)) {
    fail(source, "{}; a PyTorch zip checkpoint is expected", file.empty() ? "is empty" : "is no zip archive");
  }
  return Checkpoint(file, source).weights();
}

WeightsFile read_weights_file(const std::filesystem::path& path) {
  const std::vector<std::byte> file = read_file(path);
  const std::string source = path.string();
  if (is_legacy(file)) refuse_legacy(source);
  if (starts_with(file, "PK")) return parse_torch_checkpoint(file, source);
  if (is_safetensors(file)) {
    WeightsFile weights{
        .format = WeightsFormat::safetensors, .state = parse_safetensors(file, source), .key = "", .passed_over = ""};
    check_content(weights.state, source);
    return weights;
  }
  fail(source, "{}; weights are read from safetensors or PyTorch zip checkpoints (.pt, .pth)",
       file.empty() ? "is empty" : "is neither a safetensors file nor a zip archive");
}

StateDict read_weights(const std::filesystem::path& path) { return read_weights_file(path).state; }

}  // namespace nepenthe
