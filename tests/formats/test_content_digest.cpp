// Digests of contents: equal for equal content, and any flipped bit of a file is found.
#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/content_digest.h"
#include "engine/formats/safetensors.h"

using namespace nepenthe;

TEST_CASE("content digest: order does not matter, everything else does") {
  const std::array<float, 4> values{1, 2, 3, 4};
  StateDict a;
  a.add("x", HostTensor::from({2, 2}, values));
  a.add("y", HostTensor::from({4}, values));
  a.metadata = {{"model", "m"}};
  StateDict b;
  b.add("y", HostTensor::from({4}, values));
  b.add("x", HostTensor::from({2, 2}, values));
  b.metadata = {{"model", "m"}, {"digest", "any"}};
  CHECK(content_digest(a) == content_digest(b));
  StateDict c = a;
  c.entries[0].second.shape = {4};
  CHECK(content_digest(a) != content_digest(c));
  c = a;
  c.metadata["model"] = "n";
  CHECK(content_digest(a) != content_digest(c));
  c = a;
  c.entries[0].first = "z";
  CHECK(content_digest(a) != content_digest(c));
}

TEST_CASE("content digest: no bit of a file can flip unseen") {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("nepenthe-digest-" + std::to_string(getpid()));
  const std::array<float, 3> values{1, 2, 3};
  StateDict state;
  state.add("weight", HostTensor::from({3}, values));
  state.metadata = {{"lineage", "from here"}};
  write_with_digest(path, state);
  CHECK(read_with_digest(path).find("weight")->bytes == state.entries[0].second.bytes);
  CHECK(read_safetensors_metadata(path).at("lineage") == "from here");
  const std::vector<std::byte> whole = read_file(path);
  for (std::size_t at = 0; at < whole.size() * 8; ++at) {
    std::vector<std::byte> flipped = whole;
    flipped[at / 8] ^= std::byte{1} << (at % 8);
    std::ofstream(path, std::ios::binary) << as_text(flipped);
    CAPTURE(at);
    CHECK_THROWS_AS(read_with_digest(path), Error);
  }
  write_safetensors(path, state);
  CHECK_THROWS_WITH_AS(read_with_digest(path), doctest::Contains("missing"), Error);
  CHECK(read_with_digest(path, true).metadata.at("lineage") == "from here");
  write_file_atomically(path, std::span(whole).first(whole.size() - 1));
  CHECK_THROWS_AS(read_safetensors_metadata(path), Error);
  std::filesystem::remove(path);
}
