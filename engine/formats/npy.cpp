#include "engine/formats/npy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <set>
#include <string>

#include "engine/base/error.h"
#include "engine/base/file.h"

namespace nepenthe {

namespace {

constexpr std::string_view magic = "\x93NUMPY";
constexpr std::size_t preamble = 10;  // magic, two bytes of version, two of header length

template <class... Args>
[[noreturn]] void fail(std::string_view source, fmt::format_string<Args...> what, Args&&... args) {
  throw Error(fmt::format("{}: {}", source, fmt::format(what, std::forward<Args>(args)...)));
}

/// The header is a Python dict literal with exactly the keys descr, fortran_order and shape, in any order.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::string_view source) : text_(text), rest_(text), source_(source) {}

  struct Header {
    std::string descr;
    bool fortran_order = false;
    std::vector<std::int64_t> shape;
  };

  Header parse() {
    Header header;
    std::set<std::string> keys;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (!keys.insert(key).second) bad();
      if (key == "descr") {
        if (accept('[')) fail(source_, "holds records of several fields; save one of them: an array of plain numbers");
        header.descr = quoted();
      } else if (key == "fortran_order") {
        header.fortran_order = boolean();
      } else if (key == "shape") {
        header.shape = shape();
      } else {
        bad();
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_spaces();
    if (!rest_.empty() || keys.size() != 3) bad();
    return header;
  }

 private:
  [[noreturn]] void bad() const {
    fail(source_, "has the .npy header \"{}\"; a dict with 'descr', 'fortran_order' and 'shape' is expected",
         printable(text_));
  }
  void skip_spaces() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \n"), rest_.size())); }
  bool accept(char c) {
    skip_spaces();
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) bad();
  }
  std::string quoted() {
    expect('\'');
    const std::size_t end = rest_.find('\'');
    if (end == std::string_view::npos) bad();
    std::string text(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    return text;
  }
  bool boolean() {
    skip_spaces();
    for (const std::string_view word : {"True", "False"}) {
      if (!rest_.starts_with(word)) continue;
      rest_.remove_prefix(word.size());
      return word == "True";
    }
    bad();
  }
  std::vector<std::int64_t> shape() {
    std::vector<std::int64_t> sizes;
    expect('(');
    while (!accept(')')) {
      skip_spaces();
      std::int64_t size = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), size);
      if (error != std::errc() || size < 0) bad();
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      if (rest_.starts_with('L')) rest_.remove_prefix(1);  // as Python 2 wrote it
      sizes.push_back(size);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return sizes;
  }

  std::string_view text_, rest_, source_;
};

struct ElementType {
  std::string_view name;  // as NumPy spells it behind the byte order
  DType dtype;
};
constexpr std::array<ElementType, 12> element_types = {{{"b1", DType::boolean},
                                                        {"i1", DType::i8},
                                                        {"i2", DType::i16},
                                                        {"i4", DType::i32},
                                                        {"i8", DType::i64},
                                                        {"u1", DType::u8},
                                                        {"u2", DType::u16},
                                                        {"u4", DType::u32},
                                                        {"u8", DType::u64},
                                                        {"f2", DType::f16},
                                                        {"f4", DType::f32},
                                                        {"f8", DType::f64}}};

DType element_type(std::string_view descr, std::string_view source) {
  if (descr.starts_with('<') || descr.starts_with('>') || descr.starts_with('|')) {
    for (const ElementType& type : element_types) {
      if (type.name == descr.substr(1)) return type.dtype;
    }
  }
  fail(source, "holds elements of type '{}'{}; booleans, whole numbers and floats (b1, i1 … u8, f2, f4, f8) are read",
       printable(descr), descr.ends_with("O") ? ", Python's objects" : "");
}

/// From column major to row major.
std::vector<std::byte> in_c_order(std::span<const std::byte> data, std::span<const std::int64_t> shape,
                                  std::size_t size) {
  std::vector<std::byte> ordered(data.size());
  std::vector<std::int64_t> index(shape.size(), 0);
  std::vector<std::size_t> strides(shape.size(), size);
  for (std::size_t axis = 1; axis < shape.size(); ++axis) {
    strides[axis] = strides[axis - 1] * static_cast<std::size_t>(shape[axis - 1]);
  }
  std::size_t from = 0;
  for (std::size_t to = 0; to < data.size(); to += size) {
    std::memcpy(ordered.data() + to, data.data() + from, size);
    for (std::size_t axis = shape.size(); axis > 0; --axis) {
      from += strides[axis - 1];
      if (++index[axis - 1] < shape[axis - 1]) break;
      from -= strides[axis - 1] * static_cast<std::size_t>(shape[axis - 1]);
      index[axis - 1] = 0;
    }
  }
  return ordered;
}

}  // namespace

void write_npy(const std::filesystem::path& path, std::span<const float> values, std::span<const std::int64_t> shape) {
  const auto count = element_count(shape);
  if (!count || static_cast<std::size_t>(*count) != values.size()) {
    throw Error(fmt::format("[write_npy] {} values do not fill the shape {}", values.size(), to_string(shape)));
  }
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': {}, }}", to_string(shape));
  constexpr std::size_t alignment = 64;
  header.append((alignment - (preamble + header.size() + 1) % alignment) % alignment, ' ');
  header += '\n';
  const auto size = static_cast<std::uint16_t>(header.size());
  std::string file(magic);
  file += {'\x01', '\x00', static_cast<char>(size & 0xff), static_cast<char>(size >> 8)};
  file += header;
  file += as_text(std::as_bytes(values));
  write_file_atomically(path, file);
}

bool is_npy(std::span<const std::byte> file) { return as_text(file).starts_with(magic); }

HostTensor parse_npy(std::span<const std::byte> file, std::string_view source) {
  const std::string_view text = as_text(file);
  if (!text.starts_with(magic) || text.size() < preamble) fail(source, "is no .npy file, or it is truncated");
  const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(text[i])); };
  const std::size_t major = byte(6);
  if (major < 1 || major > 3) fail(source, "has .npy version {}; 1, 2 and 3 are read", major);
  std::size_t begin = preamble;
  std::size_t header_size = byte(8) | (byte(9) << 8);
  if (major > 1) {  // four bytes of header length
    begin = preamble + 2;
    if (text.size() < begin) fail(source, "is a truncated .npy file");
    header_size |= (byte(10) << 16) | (byte(11) << 24);
  }
  if (header_size > text.size() - begin) {
    fail(source, "claims a header of {} bytes, but {} follow; it is truncated", header_size, text.size() - begin);
  }
  const auto header = HeaderParser(text.substr(begin, header_size), source).parse();
  const DType dtype = element_type(header.descr, source);
  const auto data = file.subspan(begin + header_size);
  if (byte_count(dtype, header.shape) != data.size()) {
    fail(source, "has {} bytes of numbers, which do not fill the shape {} of '{}'", data.size(),
         to_string(header.shape), header.descr);
  }
  const std::size_t size = element_bits(dtype) / 8;
  HostTensor array{
      dtype, header.shape,
      header.fortran_order ? in_c_order(data, header.shape, size) : std::vector<std::byte>(data.begin(), data.end())};
  if (header.descr.starts_with('>')) {
    for (auto element = array.bytes.begin(); element != array.bytes.end();) {
      const auto next = element + static_cast<std::ptrdiff_t>(size);
      std::reverse(element, next);
      element = next;
    }
  }
  return array;
}

HostTensor read_npy(const std::filesystem::path& path) { return parse_npy(read_file(path), path.string()); }

}  // namespace nepenthe
