// PyTorch checkpoints made by hand, well formed or not.
#pragma once

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/error.h"
#include "engine/formats/torch_checkpoint.h"
#include "shared_data.h"
#include "zip.h"

namespace nepenthe::tests {

using namespace std::string_literals;
using Bytes = std::vector<std::byte>;

inline Bytes bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// Pieces of pickles, spelled as pickletools shows them.
inline const std::string proto = "\x80\x02"s, stop = ".", mark = "(", tuple = "t", reduce = "R", persistent_id = "Q";
inline std::string global(const std::string& module, const std::string& name) {
  return cat("c", module, "\n", name, "\n");
}
inline std::string text(const std::string& value) {
  return cat("X", little(static_cast<std::uint32_t>(value.size())), value);
}
inline std::string number(std::int32_t value) { return cat("J", little(value)); }
inline std::string long_number(std::int64_t value) { return cat("\x8a\x08", little(value)); }
inline std::string numbers(const std::vector<std::int64_t>& values) {
  std::string all = mark;
  for (const std::int64_t value : values) all += long_number(value);
  return cat(all, tuple);
}
inline std::string storage(const std::string& key, std::int64_t count, const std::string& type = "FloatStorage") {
  return cat(mark, text("storage"), global("torch", type), text(key), text("cpu"), long_number(count), tuple,
             persistent_id);
}
inline std::string tensor(const std::string& of_storage, std::int64_t offset, const std::vector<std::int64_t>& shape,
                          const std::vector<std::int64_t>& strides) {
  return cat(global("torch._utils", "_rebuild_tensor_v2"), mark, of_storage, long_number(offset), numbers(shape),
             numbers(strides), "\x89", global("collections", "OrderedDict"), ")", reduce, tuple, reduce);
}
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string all = cat("}", mark);
  for (const auto& [key, value] : items) all += cat(text(key), value);
  return cat(all, "u");
}

/// What a function of Python's makes of arguments, or what an object is made of.
inline std::string made(const std::string& module, const std::string& name, const std::string& arguments) {
  return cat(global(module, name), mark, arguments, tuple, reduce);
}

/// A checkpoint whose one storage, "0", holds the floats 0, 1 … 5.
inline std::string checkpoint(const std::string& pickle, std::vector<Member> more = {}) {
  std::string data;
  for (int i = 0; i < 6; ++i) data += little(static_cast<float>(i));
  std::vector<Member> members = {{.name = "a/data.pkl", .data = cat(proto, pickle, stop)},
                                 {.name = "a/data/0", .data = data}};
  members.insert(members.end(), more.begin(), more.end());
  return zip(members);
}

inline const std::string whole = tensor(storage("0", 6), 0, {2, 3}, {3, 1});

inline StateDict parse(const std::string& file) { return parse_torch_checkpoint(bytes_of(file), "f.pt").state; }

inline void check_refused(const std::string& file, const std::string& expected) {
  const std::string message = message_of<Error>([&] { (void)parse(file); });
  INFO(message);
  CHECK(message.starts_with("f.pt: "));
  CHECK(message.find(expected) != std::string::npos);
  CHECK(message.find('\n') == std::string::npos);
}

}  // namespace nepenthe::tests
