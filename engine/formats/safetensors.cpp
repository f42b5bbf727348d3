#include "engine/formats/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/file.h"

namespace nepenthe {

namespace {

using nlohmann::json;

constexpr std::uint64_t longest_header = 100'000'000;  // as the format's own library
constexpr std::size_t length_bytes = 8;
constexpr std::string_view metadata_key = "__metadata__";

template <class... Args>
[[noreturn]] void fail(std::string_view source, fmt::format_string<Args...> what, Args&&... args) {
  throw Error(fmt::format("{}: {}", source, fmt::format(what, std::forward<Args>(args)...)));
}

struct Range {
  std::uint64_t begin = 0, end = 0;
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
};

/// One entry of the header, without a look at the data. Fields of other names are allowed.
Range parse_entry(const std::string& name, const json& entry, std::string_view source) {
  const std::string shown = printable(name);
  if (!entry.is_object()) fail(source, "tensor '{}' is a JSON {}; an object is expected", shown, entry.type_name());
  const auto field = [&](const char* key) -> const json& {
    const auto found = entry.find(key);
    if (found == entry.end()) fail(source, "tensor '{}' has no '{}'", shown, key);
    return *found;
  };
  Range range;
  range.name = name;
  const json& dtype = field("dtype");
  const auto known = dtype.is_string() ? dtype_named(dtype.get_ref<const std::string&>()) : std::nullopt;
  if (!known) {
    fail(source, "tensor '{}' has dtype {}; one of safetensors 0.8 is expected, such as F32 or I64", shown,
         printable(dtype.dump()));
  }
  range.dtype = *known;

  const json& shape = field("shape");
  const auto is_size = [](const json& size) {
    return size.is_number_unsigned() &&
           size.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  };
  if (!shape.is_array() || !std::ranges::all_of(shape, is_size)) {
    fail(source, "tensor '{}' has shape {}; a list of whole numbers from 0 on is expected", shown,
         printable(shape.dump()));
  }
  range.shape = shape.get<std::vector<std::int64_t>>();

  const json& offsets = field("data_offsets");
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    fail(source, "tensor '{}' has data_offsets {}; two whole numbers from 0 on are expected", shown,
         printable(offsets.dump()));
  }
  range.begin = offsets[0].get<std::uint64_t>();
  range.end = offsets[1].get<std::uint64_t>();
  return range;
}

void check_range(const Range& range, std::uint64_t data_size, std::string_view source) {
  const std::string shown = printable(range.name);
  const auto needed = byte_count(range.dtype, range.shape);
  if (!needed) {
    fail(source, "tensor '{}' has shape {}, whose size in {} overflows or is no whole number of bytes", shown,
         to_string(range.shape), nepenthe::name(range.dtype));
  }
  if (range.begin > range.end || range.end > data_size) {
    fail(source, "tensor '{}' has data_offsets [{}, {}]; they must rise and stay within the {} bytes of data", shown,
         range.begin, range.end, data_size);
  }
  if (range.end - range.begin != *needed) {
    fail(source, "tensor '{}' has {} bytes; {} of shape {} needs {}", shown, range.end - range.begin,
         nepenthe::name(range.dtype), to_string(range.shape), *needed);
  }
}

/// Throws unless the ranges, sorted, follow each other without overlap or hole up to the end.
void check_cover(const std::vector<Range>& ranges, std::uint64_t data_size, std::string_view source) {
  std::uint64_t expected = 0;
  for (const Range& range : ranges) {
    if (range.begin != expected) {
      fail(source, "tensor '{}' begins at byte {} of the data; it must begin at {}, where the one before ends ({})",
           printable(range.name), range.begin, expected, range.begin < expected ? "they overlap" : "there is a hole");
    }
    expected = range.end;
  }
  if (expected != data_size) {
    fail(source, "{} bytes follow the header, but its tensors cover {}", data_size, expected);
  }
}

struct Header {
  std::map<std::string, std::string> metadata;
  std::vector<Range> ranges;  // in the order of their bytes
  std::size_t data = 0;       // where those begin in the file
};

std::map<std::string, std::string> parse_metadata(const json& value, std::string_view source) {
  if (value.is_null()) return {};
  if (!value.is_object() || !std::ranges::all_of(value, [](const json& entry) { return entry.is_string(); })) {
    fail(source, "__metadata__ is no object of texts");
  }
  return value.get<std::map<std::string, std::string>>();
}

/// The header's entries. As in the format's own library the last of two tensors of one name counts, but a field that
/// decides something may be there only once.
void parse_json(std::string_view text, Header& header, std::string_view source) {
  constexpr int deepest = 126;  // as that library, counted from 0
  constexpr std::array<std::string_view, 3> fields = {"dtype", "shape", "data_offsets"};
  std::map<std::string, Range> ranges;
  std::string entry;                        // the name of the one that is being read
  std::set<std::string, std::less<>> seen;  // of its fields
  bool metadata_seen = false;
  const auto read = [&](int depth, json::parse_event_t event, json& parsed) {
    using Event = json::parse_event_t;
    const bool begins = event == Event::object_start || event == Event::array_start;
    if (begins && depth > deepest) fail(source, "the header is nested deeper than {} levels", deepest + 1);
    if (event == Event::key && depth == 1) {
      entry = parsed.get<std::string>();
      seen.clear();
    } else if (event == Event::key && depth == 2 && entry != metadata_key) {
      const auto& name = parsed.get_ref<const std::string&>();
      if (std::ranges::find(fields, name) != fields.end() && !seen.insert(name).second) {
        fail(source, "tensor '{}' has '{}' twice", printable(entry), name);
      }
    } else if (depth == 1 && !begins) {
      if (entry != metadata_key) {
        ranges[entry] = parse_entry(entry, parsed, source);
      } else {
        if (std::exchange(metadata_seen, true)) fail(source, "the header has __metadata__ twice");
        header.metadata = parse_metadata(parsed, source);
      }
      return false;  // nothing of it is kept
    }
    return true;
  };
  try {
    [[maybe_unused]] const json kept = json::parse(text, read);
  } catch (const json::exception&) {
    fail(source, "the header is no valid JSON; the file is damaged or no safetensors file");
  }
  for (auto& [name, range] : ranges) header.ranges.push_back(std::move(range));
}

/// The header's length; `start` is the file's beginning, `file_size` all of it.
std::size_t header_length(std::span<const std::byte> start, std::uint64_t file_size, std::string_view source) {
  if (start.size() < length_bytes) {
    fail(source, "has {} bytes; a safetensors file begins with 8 bytes of header length", start.size());
  }
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, start.data(), length_bytes);
  if (header_size > longest_header || header_size > file_size - length_bytes) {
    fail(source,
         "claims a header of {} bytes, but {} follow (at most {} are allowed); it is truncated or no safetensors file",
         header_size, file_size - length_bytes, longest_header);
  }
  return header_size;
}

bool begins_as_object(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  return text.starts_with('{');
}

/// `start` holds the whole header at least.
Header parse_start(std::span<const std::byte> start, std::uint64_t file_size, std::string_view source) {
  const std::size_t header_size = header_length(start, file_size, source);
  const std::string_view text = as_text(start.subspan(length_bytes, header_size));
  if (!begins_as_object(text)) fail(source, "the header does not begin with '{{'; it is no safetensors file");
  // To the JSON parser a NUL is the end, and what follows it would go unseen.
  if (text.find('\0') != std::string_view::npos)
    fail(source, "the header holds a NUL byte; it must be JSON and spaces alone");
  const std::uint64_t data_size = file_size - length_bytes - header_size;

  Header header{.metadata = {}, .ranges = {}, .data = length_bytes + header_size};
  parse_json(text, header, source);
  for (const Range& range : header.ranges) check_range(range, data_size, source);
  std::ranges::sort(header.ranges, {}, [](const Range& range) { return std::tie(range.begin, range.end, range.name); });
  check_cover(header.ranges, data_size, source);
  return header;
}

}  // namespace

bool is_safetensors(std::span<const std::byte> file) {
  return file.size() > length_bytes && begins_as_object(as_text(file.subspan(length_bytes)));
}

StateDict parse_safetensors(std::span<const std::byte> file, std::string_view source) {
  Header header = parse_start(file, file.size(), source);
  StateDict state;
  state.metadata = std::move(header.metadata);
  state.entries.reserve(header.ranges.size());
  for (Range& range : header.ranges) {
    const auto bytes = file.subspan(header.data + range.begin, range.end - range.begin);
    state.entries.emplace_back(std::move(range.name), HostTensor{range.dtype, std::move(range.shape),
                                                                 std::vector<std::byte>(bytes.begin(), bytes.end())});
  }
  return state;
}

std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path) {
  const std::string source = path.string();
  const std::vector<std::byte> length = read_file_start(path, length_bytes);
  std::error_code failed;
  const std::uint64_t file_size = std::filesystem::file_size(path, failed);
  if (failed) fail(source, "cannot be read: {}", failed.message());
  const std::size_t header_size = header_length(length, file_size, source);
  return parse_start(read_file_start(path, length_bytes + header_size), file_size, source).metadata;
}

StateDict read_safetensors(const std::filesystem::path& path) {
  return parse_safetensors(read_file(path), path.string());
}

std::vector<std::byte> serialize_safetensors(const StateDict& state) {
  std::vector<const std::pair<std::string, HostTensor>*> order;
  for (const auto& entry : state.entries) order.push_back(&entry);
  std::ranges::sort(order, [](const auto* a, const auto* b) {
    const std::size_t size_a = element_bits(a->second.dtype);
    const std::size_t size_b = element_bits(b->second.dtype);
    return std::tie(size_b, a->first) < std::tie(size_a, b->first);
  });

  json header = json::object();  // sorts its names
  if (!state.metadata.empty()) header[std::string(metadata_key)] = state.metadata;
  std::uint64_t offset = 0;
  for (const auto* entry : order) {
    const auto& [name, tensor] = *entry;
    if (name == metadata_key || header.contains(name)) {
      throw Error(
          fmt::format("[write_safetensors] '{}' is no name for a tensor: reserved or already taken", printable(name)));
    }
    (void)tensor.count();  // shape and bytes belong together
    header[name] = {{"dtype", nepenthe::name(tensor.dtype)},
                    {"shape", tensor.shape},
                    {"data_offsets", {offset, offset + tensor.bytes.size()}}};
    offset += tensor.bytes.size();
  }

  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception&) {
    throw Error("[write_safetensors] a name or metadata is no UTF-8");
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t header_size = text.size();
  if (header_size > longest_header) {
    throw Error(fmt::format("[write_safetensors] the header has {} bytes; at most {} are allowed", header_size,
                            longest_header));
  }
  std::vector<std::byte> file(length_bytes + header_size + offset);
  auto end = file.begin();
  const auto append = [&end](std::span<const std::byte> bytes) { end = std::ranges::copy(bytes, end).out; };
  append(std::as_bytes(std::span(&header_size, 1)));
  append(std::as_bytes(std::span(text)));
  for (const auto* entry : order) append(entry->second.bytes);
  return file;
}

void write_safetensors(const std::filesystem::path& path, const StateDict& state) {
  write_file_atomically(path, serialize_safetensors(state));
}

}  // namespace nepenthe
