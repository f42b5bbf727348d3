#include "data/dataset.h"

#include <fmt/format.h>

#include <limits>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "data/wrong_folder.h"
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/text_lines.h"

namespace nepenthe {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t picture_bytes = 3 * 32 * 32;
constexpr std::size_t most_classes = 256;  // labels are bytes

template <class... Args>
[[noreturn]] void fail(const fs::path& file, fmt::format_string<Args...> what, Args&&... args) {
  throw Error(fmt::format("{}: {}", file.string(), fmt::format(what, std::forward<Args>(args)...)));
}

/// The names of the classes, a line each (engine/formats/text_lines.h; a comment is a line that begins with '#');
/// without the file "0", "1", … up to `default_count`.
std::vector<std::string> read_names(const fs::path& path, std::size_t default_count) {
  std::vector<std::string> names;
  if (!fs::exists(path)) {
    for (std::size_t i = 0; i < default_count; ++i) names.push_back(std::to_string(i));
    return names;
  }
  const std::vector<std::byte> file = read_file(path);
  std::set<std::string_view> seen;
  for (const TextLine& line : text_lines(as_text(file), Comments::whole_lines, path.string())) {
    if (!seen.insert(line.text).second) {
      fail(path, "line {} names '{}' again; names must differ", line.number, printable(line.text));
    }
    names.emplace_back(line.text);
  }
  if (names.empty()) fail(path, "is empty; the name of a class is expected on each line");
  if (names.size() > most_classes) fail(path, "names {} classes; labels are bytes, so at most 256", names.size());
  return names;
}

/// What a file's name limits its labels by, for messages.
std::string limit_of(const fs::path& names_file, std::size_t count) {
  return fs::exists(names_file) ? fmt::format("{} names {} classes", names_file.filename().string(), count)
                                : fmt::format("{} classes without a {}", count, names_file.filename().string());
}

struct LabelByte {
  std::size_t offset;  // in the record
  std::size_t classes;
  std::string kind, limit;  // for messages
};

std::int32_t read_label(std::span<const std::byte> record, const LabelByte& label, std::size_t number,
                        const fs::path& path) {
  const auto value = std::to_integer<std::size_t>(record[label.offset]);
  if (value >= label.classes) {
    fail(path, "record {} has {} {}; it must be below {} ({})", number, label.kind, value, label.classes, label.limit);
  }
  return static_cast<std::int32_t>(value);
}

/// The records of `files` in their order. A record: one byte for each of `label_bytes`, the last of which is the fine
/// label, then the picture.
Split read_split(const std::vector<fs::path>& files, const std::vector<LabelByte>& label_bytes) {
  const std::size_t record_bytes = label_bytes.size() + picture_bytes;
  Split split;
  Sha256 digest;
  for (const fs::path& path : files) {
    const std::vector<std::byte> file = read_file(path);
    if (file.empty() || file.size() % record_bytes != 0) {
      fail(path, "has {} bytes; a multiple of {} (one record: {} and {} bytes of picture) is expected{}", file.size(),
           record_bytes, label_bytes.size() == 1 ? "the label" : "two labels", picture_bytes,
           file.empty() ? ", and at least one record"
                        : fmt::format(", such as {}", file.size() / record_bytes * record_bytes));
    }
    digest.update(file);
    const std::size_t count = file.size() / record_bytes;
    if (split.labels.size() + count > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
      fail(path, "has too many records; at most 2^31 - 1 are read");
    }
    split.pixels.reserve(split.pixels.size() + count * picture_bytes);
    for (std::size_t i = 0; i < count; ++i) {
      const auto record = std::span(file).subspan(i * record_bytes, record_bytes);
      if (label_bytes.size() > 1) split.coarse_labels.push_back(read_label(record, label_bytes.front(), i, path));
      split.labels.push_back(read_label(record, label_bytes.back(), i, path));
      const auto* picture = reinterpret_cast<const std::uint8_t*>(record.data()) + label_bytes.size();
      split.pixels.insert(split.pixels.end(), picture, picture + picture_bytes);
    }
  }
  split.digest = digest.hex();
  return split;
}

/// Whether a name is that of a part of CIFAR-10's training data: "data_batch_1.bin", with no zero in front.
bool names_batch(std::string_view name) {
  constexpr std::string_view begin = "data_batch_", end = ".bin";
  if (!name.starts_with(begin) || !name.ends_with(end) || name.size() <= begin.size() + end.size()) return false;
  const std::string_view number = name.substr(begin.size(), name.size() - begin.size() - end.size());
  return number.front() != '0' && number.find_first_not_of("0123456789") == std::string_view::npos;
}

/// data_batch_1.bin, data_batch_2.bin, …, as many as there are. Throws UsageError where one is missing before the last,
/// and for what may be another copy of one ("data_batch_1 (1).bin", "data_batch_1.bin.part"): record numbers count
/// through the files, and with other files would name other pictures.
std::vector<fs::path> find_batches(const fs::path& folder) {
  std::set<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const std::size_t batch = name.find("data_batch");
    const bool hidden = name.starts_with('.');
    if (batch != std::string::npos && name.find(".bin", batch) != std::string::npos && !hidden) found.insert(name);
  }
  std::vector<fs::path> batches;
  const auto next = [&] { return fmt::format("data_batch_{}.bin", batches.size() + 1); };
  while (found.erase(next()) != 0) batches.push_back(folder / next());
  for (const std::string& name : found) {
    if (names_batch(name)) continue;
    throw UsageError(
        fmt::format("{}: is no part of CIFAR-10, whose files are data_batch_1.bin, data_batch_2.bin, …; if it is "
                    "another copy of one, removing it would be right, if it is a part, naming it so",
                    (folder / name).string()));
  }
  if (!found.empty()) {
    throw UsageError(
        fmt::format("{}: holds {} but no {}; record numbers count through the files in their order, so none may "
                    "be missing before the last",
                    folder.string(), *found.begin(), next()));
  }
  return batches;
}

/// The data set's own name where its classes are those, of which the first and the last are given.
std::string name_by_classes(const std::string& own, const std::vector<std::string>& class_names, std::size_t count,
                            std::string_view first, std::string_view last) {
  const bool itself = class_names.size() == count && class_names.front() == first && class_names.back() == last;
  return itself ? own : fmt::format("data in {}'s layout", own);
}

void read_cifar100(Dataset& data) {
  data.normalization = cifar100_normalization;
  const fs::path fine = data.folder / "fine_label_names.txt";
  const fs::path coarse = data.folder / "coarse_label_names.txt";
  data.class_names = read_names(fine, 100);
  data.name = name_by_classes("CIFAR-100", data.class_names, 100, "apple", "worm");
  data.coarse_class_names = read_names(coarse, 20);
  const std::size_t classes = data.class_names.size();
  const std::size_t coarse_classes = data.coarse_class_names.size();
  const std::vector<LabelByte> labels = {{0, coarse_classes, "coarse label", limit_of(coarse, coarse_classes)},
                                         {1, classes, "fine label", limit_of(fine, classes)}};
  data.train = read_split({data.folder / "train.bin"}, labels);
  data.test = read_split({data.folder / "test.bin"}, labels);
}

void read_cifar10(Dataset& data, const std::vector<fs::path>& batches) {
  data.normalization = cifar10_normalization;
  const fs::path names = data.folder / "batches.meta.txt";
  data.class_names = read_names(names, 10);
  data.name = name_by_classes("CIFAR-10", data.class_names, 10, "airplane", "truck");
  const std::size_t classes = data.class_names.size();
  const std::vector<LabelByte> labels = {{0, classes, "label", limit_of(names, classes)}};
  data.train = read_split(batches, labels);
  data.test = read_split({data.folder / "test_batch.bin"}, labels);
}

Dataset read_recognised(const fs::path& folder) {
  if (!fs::exists(folder)) {
    const std::string explained = recognise_wrong_folder(folder);
    throw UsageError(fmt::format("{}: there is no such folder; {}", folder.string(),
                                 explained.empty() ? "a data set's folder is expected (data/fetch_cifar100 downloads "
                                                     "CIFAR-100, make_synthetic_data makes one)"
                                                   : explained));
  }
  if (!fs::is_directory(folder)) {
    const std::string explained = recognise_wrong_folder(folder);
    throw UsageError(fmt::format("{}: is no folder; {}", folder.string(),
                                 explained.empty() ? "the folder with a data set's files is expected" : explained));
  }
  const bool train100 = fs::exists(folder / "train.bin");
  const bool test100 = fs::exists(folder / "test.bin");
  const std::vector<fs::path> batches = find_batches(folder);
  const bool test10 = fs::exists(folder / "test_batch.bin");
  if ((train100 || test100) && (!batches.empty() || test10)) {
    throw UsageError(
        fmt::format("{}: holds files of both CIFAR-100 ({}) and CIFAR-10 ({}); one data set a folder is "
                    "expected",
                    folder.string(), train100 ? "train.bin" : "test.bin",
                    test10 ? "test_batch.bin" : batches.front().filename().string()));
  }
  const bool complete100 = train100 && test100;
  const bool complete10 = !batches.empty() && test10;
  if (!complete100 && !complete10) {
    std::string found = "neither kind";
    if (train100) found = "train.bin but no test.bin";
    if (test100) found = "test.bin but no train.bin";
    if (!batches.empty()) found = "data_batch_*.bin but no test_batch.bin";
    if (test10) found = "test_batch.bin but no data_batch_*.bin";
    const std::string explained = recognise_wrong_folder(folder);
    throw UsageError(
        fmt::format("{}: holds no data set: looked for train.bin and test.bin (CIFAR-100, binary version) "
                    "or data_batch_*.bin and test_batch.bin (CIFAR-10, binary version), found {}{}{}",
                    folder.string(), found, explained.empty() ? "" : "; ", explained));
  }
  Dataset data;
  data.folder = folder;
  if (complete100) {
    read_cifar100(data);
  } else {
    read_cifar10(data, batches);
  }
  data.classes = static_cast<int>(data.class_names.size());
  return data;
}

}  // namespace

Dataset read_dataset(const fs::path& folder) {
  try {
    return read_recognised(folder);
  } catch (const fs::filesystem_error& problem) {
    throw Error(fmt::format("{}: {}", folder.string(), problem.code().message()));
  }
}

}  // namespace nepenthe
