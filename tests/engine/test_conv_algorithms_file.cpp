// The record of cuDNN's algorithms: what is written is read, and any flipped bit that says something else is found.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/conv_algorithms_file.h"

using namespace nepenthe;

TEST_CASE("convolution algorithms: a record is read as it was written, or refused") {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("nepenthe-algorithms-" + std::to_string(getpid()));
  const kernels::ConvAlgorithms algorithms{{"forward fp32 n4", {.index = 3, .knobs = {{1, 2}, {5, -1}}}},
                                           {"backward fp32 n4", {.index = 12, .knobs = {}}}};
  write_conv_algorithms(path, algorithms, "a device");
  CHECK(read_conv_algorithms(path) == algorithms);
  const std::vector<std::byte> whole = read_file(path);
  int refused = 0;
  for (std::size_t at = 0; at < whole.size() * 8; ++at) {
    std::vector<std::byte> flipped = whole;
    flipped[at / 8] ^= std::byte{1} << (at % 8);
    std::ofstream(path, std::ios::binary) << as_text(flipped);
    CAPTURE(at);
    try {
      const kernels::ConvAlgorithms found = read_conv_algorithms(path);
      CHECK(found == algorithms);
    } catch (const Error&) {
      ++refused;
    }
  }
  CHECK(refused > static_cast<int>(whole.size()) * 7);
  // Those of earlier versions have no digest.
  write_file_atomically(path, R"({"device": "d", "convolutions": {"c": {"engine": 1, "knobs": {}}}})");
  CHECK(read_conv_algorithms(path).size() == 1);
  std::filesystem::remove(path);
}
