#include "engine/formats/numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/npy.h"
#include "engine/formats/text_lines.h"

namespace nepenthe {

namespace {

/// Finite numbers, and where each was.
struct NumberList {
  std::string source;
  std::vector<std::byte> file;  // what `fields` point into
  std::vector<double> values;
  std::vector<TextLine> fields;  // of text: each number as it was written
  bool booleans = false;

  /// "FILE: line 3" or "FILE: element 2".
  std::string place(std::size_t i) const {
    return fields.empty() ? fmt::format("{}: element {}", source, i)
                          : fmt::format("{}: line {}", source, fields[i].number);
  }
  std::string written(std::size_t i) const {
    return fields.empty() ? fmt::format("{}", values[i]) : printable(fields[i].text);
  }
};

/// The numbers of the lines of `list.file`.
void parse_text(NumberList& list) {
  const std::vector<TextLine> lines = text_lines(as_text(list.file), Comments::anywhere, list.source);
  for (const TextLine& line : lines) {
    constexpr std::string_view blanks = " \t";
    for (std::string_view rest = line.text; !rest.empty();) {
      const std::string_view field = rest.substr(0, rest.find_first_of(blanks));
      rest.remove_prefix(std::min(rest.find_first_not_of(blanks, field.size()), rest.size()));
      const std::string_view digits = field.substr(field.starts_with('+') && !field.starts_with("+-") ? 1 : 0);
      double value = 0;
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
      if (error != std::errc() || end != digits.data() + digits.size() || !std::isfinite(value) ||
          (lines.size() > 1 && field != line.text)) {
        throw Error(
            fmt::format("{}: line {} is '{}'; one finite number a line is expected, or all in one line with "
                        "blanks between",
                        list.source, line.number, printable(line.text)));
      }
      list.values.push_back(value);
      list.fields.push_back({line.number, field});
    }
  }
}

void parse_array(NumberList& list) {
  const HostTensor array = parse_npy(list.file, list.source);
  if (std::ranges::count_if(array.shape, [](std::int64_t size) { return size != 1; }) > 1) {
    throw Error(fmt::format("{}: has shape {}; a list of numbers is expected, as of shape (N,), (N, 1) or (1, N)",
                            list.source, to_string(array.shape)));
  }
  list.values = array.to_f64();
  list.booleans = array.dtype == DType::boolean;
  for (std::size_t i = 0; i < list.values.size(); ++i) {
    if (!std::isfinite(list.values[i])) {
      throw Error(fmt::format("{} is {}; finite numbers are expected", list.place(i), list.values[i]));
    }
  }
}

NumberList read_list(const std::filesystem::path& path) {
  NumberList list{.source = path.string(), .file = read_file(path)};
  if (as_text(list.file).starts_with("PK\x03\x04")) {
    throw Error(
        fmt::format("{}: is an archive (.npz or .pt); save one array as .npy: numpy.save(FILE, array)", list.source));
  }
  if (is_npy(list.file)) {
    parse_array(list);
  } else {
    parse_text(list);
  }
  if (list.values.empty()) {
    throw Error(
        fmt::format("{}: holds no numbers; text with one number a line, or a .npy file, is expected", list.source));
  }
  return list;
}

}  // namespace

std::vector<double> read_numbers(const std::filesystem::path& path) {
  NumberList list = read_list(path);
  if (list.booleans) throw Error(fmt::format("{}: holds booleans; numbers are expected", list.source));
  return std::move(list.values);
}

std::vector<std::int32_t> read_record_numbers(const std::filesystem::path& path, std::size_t records) {
  const NumberList list = read_list(path);
  std::vector<std::int32_t> numbers;
  if (list.booleans) {
    if (list.values.size() != records) {
      throw Error(fmt::format("{}: holds {} booleans; a mask has one for each of the {} records", list.source,
                              list.values.size(), records));
    }
    for (std::size_t i = 0; i < records; ++i) {
      if (list.values[i] != 0) numbers.push_back(static_cast<std::int32_t>(i));
    }
    if (numbers.empty()) throw Error(fmt::format("{}: is a mask that is false for every record", list.source));
    return numbers;
  }
  const auto is_bit = [](double value) { return value == 0 || value == 1; };
  if (records > 2 && list.values.size() == records && std::ranges::all_of(list.values, is_bit)) {
    throw Error(
        fmt::format("{}: holds as many numbers as there are records, all 0 or 1, which is a mask; save it as "
                    "booleans, or the record numbers: numpy.save(FILE, numpy.flatnonzero(mask))",
                    list.source));
  }
  for (std::size_t i = 0; i < list.values.size(); ++i) {
    const double value = list.values[i];
    if (value != std::floor(value)) {
      throw Error(fmt::format("{} is '{}', no record number; whole numbers from 0 to {} are expected", list.place(i),
                              list.written(i), records - 1));
    }
    if (!(value >= 0 && value < static_cast<double>(records))) {
      throw Error(fmt::format("{} is {}; there is no such record: they go from 0 to {}", list.place(i), list.written(i),
                              records - 1));
    }
    numbers.push_back(static_cast<std::int32_t>(value));
  }
  return numbers;
}

}  // namespace nepenthe
