#include "engine/formats/npy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>
#include <set>
#include <string>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/host_tensor.h"

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

template <class T>
std::vector<double> widened(std::span<const std::byte> bytes) {
  std::vector<double> values(bytes.size() / sizeof(T));
  for (std::size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = value;
  }
  return values;
}

std::vector<double> parse_lines(std::string_view text, std::string_view source) {
  std::vector<double> values;
  for (std::size_t line = 1; !text.empty(); ++line) {
    const std::size_t end = text.find('\n');
    std::string_view number = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    number.remove_prefix(std::min(number.find_first_not_of(" \t"), number.size()));
    number.remove_suffix(number.size() - std::min(number.find_last_not_of(" \t\r") + 1, number.size()));
    const std::string_view digits = number.starts_with('+') ? number.substr(1) : number;
    double value = 0;
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    const bool two_signs = digits.size() < number.size() && digits.starts_with('-');
    if (two_signs || error != std::errc() || stop != digits.data() + digits.size() || !std::isfinite(value)) {
      fail(source, "line {} is '{}'; one finite number a line is expected", line, printable(number));
    }
    values.push_back(value);
  }
  return values;
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

NpyArray parse_npy(std::span<const std::byte> file, std::string_view source) {
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
  if (header.descr != "<f4" && header.descr != "<f8") {
    fail(source, "holds numbers of type '{}'; '<f4' and '<f8' are read", printable(header.descr));
  }
  if (header.fortran_order && header.shape.size() > 1) {
    fail(source, "is in Fortran order; C order is read: save numpy.ascontiguousarray(…)");
  }
  const std::size_t width = header.descr == "<f4" ? sizeof(float) : sizeof(double);
  const auto data = file.subspan(begin + header_size);
  const auto count = element_count(header.shape);
  if (!count || data.size() % width != 0 || data.size() / width != static_cast<std::size_t>(*count)) {
    fail(source, "has {} bytes of numbers, which do not fill the shape {} of '{}'", data.size(),
         to_string(header.shape), header.descr);
  }
  return {header.shape, width == sizeof(float) ? widened<float>(data) : widened<double>(data)};
}

NpyArray read_npy(const std::filesystem::path& path) { return parse_npy(read_file(path), path.string()); }

std::vector<double> read_numbers(const std::filesystem::path& path) {
  const std::vector<std::byte> file = read_file(path);
  const std::string source = path.string();
  if (!as_text(file).starts_with(magic)) {
    if (file.empty()) fail(source, "is empty; one number a line, or a 1-d .npy file, is expected");
    return parse_lines(as_text(file), source);
  }
  NpyArray array = parse_npy(file, source);
  if (array.shape.size() != 1) {
    fail(source, "has shape {}; a list of numbers has one dimension", to_string(array.shape));
  }
  for (std::size_t i = 0; i < array.values.size(); ++i) {
    if (!std::isfinite(array.values[i]))
      fail(source, "element {} is {}; finite numbers are expected", i, array.values[i]);
  }
  return std::move(array.values);
}

}  // namespace nepenthe
