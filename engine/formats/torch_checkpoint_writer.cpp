#include <fmt/format.h>
#include <minizip/zip.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/content_digest.h"
#include "engine/formats/text_lines.h"
#include "engine/formats/torch_checkpoint.h"

namespace nepenthe {

namespace {

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> what, Args&&... args) {
  throw Error(fmt::format("[write_torch_checkpoint] {}", fmt::format(what, std::forward<Args>(args)...)));
}

constexpr std::size_t other_members = 3;  // data.pkl, byteorder, version

/// Empty for a dtype without one.
std::string_view storage_type(DType dtype) {
  switch (dtype) {
    case DType::f32: return "FloatStorage";
    case DType::f64: return "DoubleStorage";
    case DType::f16: return "HalfStorage";
    case DType::bf16: return "BFloat16Storage";
    case DType::i64: return "LongStorage";
    case DType::i32: return "IntStorage";
    case DType::i16: return "ShortStorage";
    case DType::i8: return "CharStorage";
    case DType::u8: return "ByteStorage";
    case DType::boolean: return "BoolStorage";
    default: return {};
  }
}

void check(const StateDict& state) {
  constexpr std::size_t highest_rank = 64;      // as in PyTorch
  constexpr std::size_t most_members = 0xFFFE;  // minizip 1.1 counts them in 16 bits and takes 0xFFFF for "more"
  if (state.entries.size() > most_members - other_members) {
    fail("{} tensors do not fit in one archive; {} do", state.entries.size(), most_members - other_members);
  }
  std::set<std::string_view> names;
  for (const auto& [name, tensor] : state.entries) {
    if (!names.insert(name).second) fail("tensor '{}' is there twice; names must differ", printable(name));
    if (!is_utf8(name)) fail("the name '{}' is no UTF-8", printable(name));
    if (tensor.shape.size() > highest_rank) {
      fail("tensor '{}' has {} dimensions; {} are allowed", printable(name), tensor.shape.size(), highest_rank);
    }
    if (storage_type(tensor.dtype).empty()) {
      fail("tensor '{}' is {}, which this format has no storage type for; write safetensors", printable(name),
           nepenthe::name(tensor.dtype));
    }
    (void)tensor.count();  // shape and bytes belong together
  }
}

/// A pickle of protocol 2. The operations are spelled as they are stored; engine/formats/pickle.cpp has their names.
class Pickler {
 public:
  /// An OrderedDict of tensors; tensor number N has the storage in the member data/N.
  std::string run(const StateDict& state) {
    add("\x80\x02");
    add_empty_ordered_dict();
    add("(");
    for (std::size_t i = 0; i < state.entries.size(); ++i) {
      add_text(state.entries[i].first);
      add_tensor(state.entries[i].second, std::to_string(i));
    }
    add("u.");
    return std::move(bytes_);
  }

 private:
  void add(std::string_view bytes) { bytes_ += bytes; }
  template <class T>
  void add_raw(T value) {
    add(as_text(std::as_bytes(std::span(&value, 1))));
  }
  void add_global(std::string_view module, std::string_view name) {
    fmt::format_to(std::back_inserter(bytes_), "c{}\n{}\n", module, name);
  }
  void add_text(std::string_view text) {
    add("X");
    add_raw(static_cast<std::uint32_t>(text.size()));
    add(text);
  }
  void add_number(std::int64_t value) {
    if (value == static_cast<std::int32_t>(value)) {
      add("J");
      add_raw(static_cast<std::int32_t>(value));
    } else {
      add("\x8a\x08");
      add_raw(value);
    }
  }
  void add_numbers(std::span<const std::int64_t> values) {
    add("(");
    for (const std::int64_t value : values) add_number(value);
    add("t");
  }
  void add_empty_ordered_dict() {
    add_global("collections", "OrderedDict");
    add(")R");
  }

  /// _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, backward hooks)
  void add_tensor(const HostTensor& tensor, std::string_view key) {
    const std::int64_t count = tensor.count();
    std::vector<std::int64_t> strides(tensor.shape.size());
    std::int64_t stride = 1;
    for (std::size_t axis = strides.size(); axis > 0; --axis) {
      strides[axis - 1] = stride;
      if (count > 0) stride *= tensor.shape[axis - 1];  // those of an empty tensor mean nothing and could overflow
    }
    add_global("torch._utils", "_rebuild_tensor_v2");
    add("((");
    add_text("storage");
    add_global("torch", storage_type(tensor.dtype));
    add_text(key);
    add_text("cpu");
    add_number(count);
    add("tQ");
    add_number(0);
    add_numbers(tensor.shape);
    add_numbers(strides);
    add("\x89");
    add_empty_ordered_dict();
    add("tR");
  }

  std::string bytes_;
};

/// A zip archive in memory, stored and without dates.
class Archive {
 public:
  /// `expected`: at least the file's size. Memory is taken here alone: no exception may cross minizip, which is C.
  explicit Archive(std::size_t expected) {
    file_.reserve(expected);
    zlib_filefunc64_def callbacks = {open, read, write, tell, seek, close, error, this};
    zip_.reset(zipOpen2_64("", APPEND_STATUS_CREATE, nullptr, &callbacks));
    if (!zip_) fail("the archive cannot be begun");
  }
  Archive(const Archive&) = delete;
  Archive& operator=(const Archive&) = delete;

  /// The most that a member takes beside its bytes: two headers with the name, extra fields, alignment.
  static constexpr std::size_t overhead = 512;

  void add(const std::string& name, std::span<const std::byte> bytes) {
    constexpr std::size_t header_size = 30, zip64_size = 20, alignment = 64, smallest_extra = 4;
    const bool zip64 = bytes.size() >= std::numeric_limits<std::uint32_t>::max();
    const std::size_t begin = file_.size() + header_size + name.size() + smallest_extra + (zip64 ? zip64_size : 0);
    const std::size_t padding = (alignment - begin % alignment) % alignment;
    std::string extra = {'F', 'B', static_cast<char>(padding), '\0'};  // the name that PyTorch has for its padding
    extra.append(padding, '\0');

    zip_fileinfo info = {};
    info.dosDate = (1u << 21) | (1u << 16);  // 1980-01-01, the first there is
    int status = zipOpenNewFileInZip64(zip_.get(), name.c_str(), &info, extra.data(), static_cast<uInt>(extra.size()),
                                       nullptr, 0, nullptr, 0, 0, zip64 ? 1 : 0);
    while (!bytes.empty() && status == ZIP_OK) {
      const auto part = bytes.first(std::min(bytes.size(), std::size_t{1} << 30));
      status = zipWriteInFileInZip(zip_.get(), part.data(), static_cast<unsigned>(part.size()));
      bytes = bytes.subspan(part.size());
    }
    if (status == ZIP_OK) status = zipCloseFileInZip(zip_.get());
    if (status != ZIP_OK) fail("member '{}' cannot be added: minizip's error {}", name, status);
  }

  std::vector<std::byte> finish() {
    if (const int status = zipClose(zip_.release(), nullptr); status != ZIP_OK) {
      fail("the archive cannot be ended: minizip's error {}", status);
    }
    return std::move(file_);
  }

 private:
  struct Close {
    void operator()(void* zip) const { zipClose(zip, nullptr); }
  };

  static Archive& of(voidpf opaque) { return *static_cast<Archive*>(opaque); }
  static voidpf open(voidpf opaque, const void*, int) { return opaque; }
  static uLong read(voidpf, voidpf, void*, uLong) { return 0; }
  static uLong write(voidpf opaque, voidpf, const void* bytes, uLong size) {
    Archive& archive = of(opaque);
    auto& file = archive.file_;
    if (size > file.capacity() - archive.position_) return 0;
    if (archive.position_ + size > file.size()) file.resize(archive.position_ + size);
    if (size > 0) std::memcpy(file.data() + archive.position_, bytes, size);
    archive.position_ += size;
    return size;
  }
  static ZPOS64_T tell(voidpf opaque, voidpf) { return of(opaque).position_; }
  static long seek(voidpf opaque, voidpf, ZPOS64_T offset, int origin) {
    Archive& archive = of(opaque);
    const std::size_t base = origin == ZLIB_FILEFUNC_SEEK_SET   ? 0
                             : origin == ZLIB_FILEFUNC_SEEK_CUR ? archive.position_
                                                                : archive.file_.size();
    if (offset > archive.file_.size() - base) return -1;
    archive.position_ = base + offset;
    return 0;
  }
  static int close(voidpf, voidpf) { return 0; }
  static int error(voidpf, voidpf) { return 0; }

  std::vector<std::byte> file_;
  std::size_t position_ = 0;
  std::unique_ptr<void, Close> zip_;  // goes first: closing writes
};

}  // namespace

std::vector<std::byte> serialize_torch_checkpoint(const StateDict& state) {
  check(state);
  const std::string pickle = Pickler().run(state);
  std::size_t size = pickle.size() + (state.entries.size() + other_members + 1) * Archive::overhead;
  for (const auto& [name, tensor] : state.entries) size += tensor.bytes.size();

  const auto bytes_of = [](std::string_view text) { return std::as_bytes(std::span(text)); };
  Archive archive(size);
  archive.add("archive/data.pkl", bytes_of(pickle));
  archive.add("archive/byteorder", bytes_of("little"));
  for (std::size_t i = 0; i < state.entries.size(); ++i) {
    archive.add(fmt::format("archive/data/{}", i), state.entries[i].second.bytes);
  }
  archive.add("archive/version", bytes_of("3\n"));
  return archive.finish();
}

void write_torch_checkpoint(const std::filesystem::path& path, const StateDict& state) {
  write_file_atomically(path, serialize_torch_checkpoint(state));
}

WeightsFormat weights_format(const std::filesystem::path& path) {
  const std::string ending = path.extension().string();
  if (ending == ".safetensors") return WeightsFormat::safetensors;
  if (ending == ".pt" || ending == ".pth") return WeightsFormat::torch;
  throw UsageError(
      fmt::format("{}: its ending says what to write: .safetensors, .pt or .pth would be right", path.string()));
}

void write_weights(const std::filesystem::path& path, StateDict state) {
  if (weights_format(path) == WeightsFormat::torch) {
    write_torch_checkpoint(path, state);
  } else {
    write_with_digest(path, std::move(state));
  }
}

}  // namespace nepenthe
