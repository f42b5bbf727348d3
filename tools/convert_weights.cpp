// Weights from PyTorch's zip checkpoints to safetensors and back; or a list of what a file holds.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/formats/torch_checkpoint.h"
#include "tools/common/output.h"
#include "tools/common/program.h"
#include "tools/common/report.h"

using namespace nepenthe;

namespace {

/// The bytes go over as they are; no program takes such weights in.
void tell_of_not_finite(const Program& program, const std::string& tensor_name, const HostTensor& tensor) {
  const bool numbers = tensor.dtype == DType::f32 || tensor.dtype == DType::f64 || tensor.dtype == DType::f16 ||
                       tensor.dtype == DType::bf16;
  if (!numbers) return;
  const std::vector<float> values = tensor.to_f32();
  const auto wrong = std::ranges::find_if(values, [](float value) { return !std::isfinite(value); });
  if (wrong == values.end()) return;
  program.say(fmt::format("note: {} has {} at {}; no program takes such weights in", tensor_name, *wrong,
                          place(tensor.shape, static_cast<std::size_t>(wrong - values.begin()))));
}

}  // namespace

int main(int argc, char** argv) {
  Program program("convert_weights", "Converts weights between .pt/.pth and .safetensors, or lists them");
  std::filesystem::path in, out;
  bool list = false;
  CLI::App& app = program.app();
  app.add_option("in", in, "The file to read: .pt, .pth or .safetensors, recognised by content")->required();
  app.add_option("out", out, "The file to write; its ending says the format: .pt, .pth or .safetensors");
  app.add_flag("--list", list, "List the tensors' names, types and shapes");

  return program.run(argc, argv, [&] {
    if (out.empty() && !list) throw UsageError("either a file to write or --list is needed");
    if (!out.empty()) (void)weights_format(out);
    program.places().reads(in, "input");
    program.places().writes(out, "output");
    if (!out.empty()) refuse_existing(out, "output");
    const StateDict state = read_weights(in);
    auto& tensors = program.result()["tensors"] = nlohmann::ordered_json::array();
    Table table({"tensor", "type", "shape"});
    std::int64_t elements = 0;
    for (const auto& [tensor_name, tensor] : state.entries) {
      table.add({tensor_name, std::string(name(tensor.dtype)), to_string(tensor.shape)});
      tensors.push_back({{"name", tensor_name}, {"dtype", name(tensor.dtype)}, {"shape", tensor.shape}});
      elements += tensor.count();
      tell_of_not_finite(program, tensor_name, tensor);
    }
    if (list) print("{}\n", table.text());
    if (!out.empty()) write_weights(out, state);
    print("{} tensors, {} elements{}\n", state.entries.size(), grouped(elements),
          out.empty() ? "" : " written to " + out.string());
  });
}
