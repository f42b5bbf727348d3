// Weights from PyTorch's zip checkpoints to safetensors and back; a list of what a file holds; or a check of it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/formats/content_digest.h"
#include "engine/formats/torch_checkpoint.h"
#include "models/registry.h"
#include "models/weights.h"
#include "tools/common/output.h"
#include "tools/common/program.h"
#include "unlearning/provenance/origin.h"
#include "unlearning/study/table.h"

using namespace nepenthe;
using Json = nlohmann::ordered_json;

namespace {

/// Whether all its numbers are finite; says where not. The bytes go over as they are; no program takes such weights in.
bool is_finite(const Program& program, const std::string& tensor_name, const HostTensor& tensor) {
  if (!is_float(tensor.dtype)) return true;
  const std::vector<float> values = tensor.to_f32();
  const auto wrong = std::ranges::find_if(values, [](float value) { return !std::isfinite(value); });
  if (wrong == values.end()) return true;
  program.say(fmt::format("note: {} has {} at {}; no program takes such weights in", tensor_name, *wrong,
                          place(tensor.shape, static_cast<std::size_t>(wrong - values.begin()))));
  return false;
}

/// The beginning of its SHA-256 that a file's name carries, as model hubs have it: name-b627a593.pth; or else nothing.
std::string sha256_in_name(const std::filesystem::path& path) {
  const std::string file = path.filename().string();
  const std::size_t begin = file.rfind('-') + 1;  // 0 where there is no dash
  const std::string digits = file.substr(begin, std::min(file.find('.', begin), file.size()) - begin);
  const bool all = digits.find_first_not_of("0123456789abcdef") == std::string::npos;
  return begin > 0 && all && digits.size() >= 8 && digits.size() <= 64 ? digits : "";
}

/// What a file is and holds, into the result and as rows for people. Throws Error where its name is not right about it;
/// reading has verified the rest.
void check(Program& program, const std::filesystem::path& in, const WeightsFile& file, bool finite) {
  const Json weights = describe_weights(in);
  const auto sha256 = weights.at("sha256").get<std::string>();
  const std::string named = sha256_in_name(in);
  if (!sha256.starts_with(named)) {
    throw Error(
        fmt::format("{}: its SHA-256 begins with {}, and its name says {}: it is damaged or another file; "
                    "fetching it again, or a name without the digits, would be right",
                    in.string(), sha256.substr(0, named.size()), named));
  }
  const bool torch = file.format == WeightsFormat::torch;
  const bool digest = file.state.metadata.contains(digest_key);
  const auto row = [](std::string_view what, std::string_view value) { print("{:<12} {}\n", what, value); };
  row("format", torch ? "PyTorch zip checkpoint, the CRC-32 of every member right" : "safetensors");
  row("SHA-256", fmt::format("{}{}", sha256, named.empty() ? "" : ", as its name says"));
  if (!torch) row("contents", digest ? "fit their digest" : "carry no digest");
  if (!file.key.empty()) row("found under", file.key);
  if (!file.passed_over.empty()) row("passed over", file.passed_over);
  row("numbers", finite ? "all finite" : "not all finite");

  Json fits = Json::array();
  for (const Fit& fit : fitting_architectures(file.state)) {
    row("fits", fmt::format("{} with {} classes{}", fit.architecture, fit.classes,
                            fit.prefix.empty() ? "" : fmt::format(", names without \"{}\"", printable(fit.prefix))));
    fits.push_back({{"model", fit.architecture}, {"classes", fit.classes}, {"prefix", fit.prefix}});
  }
  if (fits.empty()) row("fits", fmt::format("none of {}", fmt::join(model_names(), ", ")));
  if (weights.contains(origin_key)) row("origin", weights_in_words(weights));
  for (const auto& [key, value] : file.state.metadata) {
    if (key != digest_key && key != origin_key)
      row("metadata", fmt::format("{}: {}", printable(key), printable(value)));
  }
  program.result()["check"] = {{"format", torch ? "torch" : "safetensors"},
                               {"sha256", sha256},
                               {"sha256_in_name", named.empty() ? Json() : Json(named)},
                               {"digest", digest},
                               {"key", file.key},
                               {"passed_over", file.passed_over},
                               {"finite", finite},
                               {"fits", fits},
                               {"origin", weights.contains(origin_key) ? weights.at(origin_key) : Json()},
                               {"metadata", file.state.metadata}};
}

/// PyTorch's norms count the batches they have seen; programs that compare names with theirs want the counters.
void add_batch_counters(StateDict& state) {
  const StateDict before = std::exchange(state, {.entries = {}, .metadata = state.metadata});
  for (const auto& entry : before.entries) {
    state.entries.push_back(entry);
    if (!entry.first.ends_with("running_var")) continue;
    const std::string counter = fmt::format(
        "{}num_batches_tracked", entry.first.substr(0, entry.first.size() - std::string("running_var").size()));
    constexpr std::array<std::int64_t, 1> zero{};
    if (before.find(counter) == nullptr) state.entries.emplace_back(counter, HostTensor::from({}, zero));
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program("convert_weights", "Converts weights between .pt/.pth and .safetensors, lists or checks them");
  std::filesystem::path in, out;
  bool list = false, checks = false, counters = false;
  CLI::App& app = program.app();
  app.add_option("in", in, "The file to read: .pt, .pth or .safetensors, recognised by content")->required();
  app.add_option("out", out, "The file to write; its ending says the format: .pt, .pth or .safetensors");
  app.add_flag("--list", list, "List the tensors' names, types and shapes");
  app.add_flag("--check", checks, "Verify digests and checksums, and say what the file is and which models it fits");
  app.add_flag("--num-batches-tracked", counters, "Write num_batches_tracked, 0, beside every running_var");

  return program.run(argc, argv, [&] {
    if (out.empty() && !list && !checks) throw UsageError("a file to write, --list or --check is needed");
    if (out.empty() && counters) throw UsageError("--num-batches-tracked: a file to write is needed");
    if (!out.empty()) (void)weights_format(out);
    program.places().reads(in, "input");
    program.places().writes(out, "output");
    if (!out.empty()) refuse_existing(out, "output");
    WeightsFile file = read_weights_file(in);
    if (!checks && !file.key.empty()) program.say(fmt::format("note: the weights are those under {}", file.key));
    if (!checks && !file.passed_over.empty()) program.say(fmt::format("note: passed over: {}", file.passed_over));
    bool finite = true;
    for (const auto& [tensor_name, tensor] : file.state.entries) finite &= is_finite(program, tensor_name, tensor);
    if (checks) check(program, in, file, finite);
    if (counters) add_batch_counters(file.state);

    auto& tensors = program.result()["tensors"] = Json::array();
    Table table({"tensor", "type", "shape"});
    std::int64_t elements = 0;
    for (const auto& [tensor_name, tensor] : file.state.entries) {
      table.add({tensor_name, std::string(name(tensor.dtype)), to_string(tensor.shape)});
      tensors.push_back({{"name", tensor_name}, {"dtype", name(tensor.dtype)}, {"shape", tensor.shape}});
      elements += tensor.count();
    }
    program.result()["elements"] = elements;
    if (list) print("{}\n", table.text());
    if (!out.empty()) write_weights(out, file.state);
    print("{} tensors, {} elements{}\n", file.state.entries.size(), grouped(elements),
          out.empty() ? "" : fmt::format(" written to {}", out.string()));
  });
}
