// Which dict of a PyTorch checkpoint is taken for the weights, and what is said where none is.
#include "engine/formats/pickled_weights.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "formats/made_checkpoint.h"

using namespace nepenthe;
using namespace nepenthe::tests;

TEST_CASE("pickled weights: the dict of tensors is found under any key, and its key is said") {
  const auto key_of = [](const std::string& pickle) {
    const WeightsFile file = parse_torch_checkpoint(bytes_of(checkpoint(pickle)), "f.pt");
    CHECK(file.format == WeightsFormat::torch);
    // Only the right ones have this name.
    CHECK(file.state.find("w") != nullptr);
    return file.key;
  };
  const std::string w = dict({{"w", whole}, {"b", whole}}), other = dict({{"v", whole}, {"b", whole}});
  const std::string scalar = tensor(storage("0", 6), 5, {}, {});
  const std::string adam =
      dict({{"state", cat("}", number(0), dict({{"exp_avg", whole}, {"step", scalar}}), "s")}, {"param_groups", "]"}});
  CHECK(key_of(w).empty());
  for (const std::string key : {"net", "model_state", "state_dict_ema", "x.y"}) {
    CHECK(key_of(dict({{"acc", number(9)}, {key, w}, {"epoch", number(3)}})) == fmt::format("['{}']", key));
  }
  CHECK(key_of(dict({{"checkpoint", dict({{"model", w}, {"epoch", number(1)}})}})) == "['checkpoint']['model']");
  CHECK(key_of(cat("}", number(7), w, "s")) == "[7]");
  CHECK(key_of(dict({{"a", dict({{"b", dict({{"c", dict({{"d", w}})}})}})}})) == "['a']['b']['c']['d']");

  // Known names win, outer before inner, in their order.
  CHECK(key_of(dict({{"ema", other}, {"model", w}})) == "['model']");
  CHECK(key_of(dict({{"model", other}, {"model_state_dict", w}})) == "['model_state_dict']");
  CHECK(key_of(dict({{"model", other}, {"model_state_dict", other}, {"state_dict", w}})) == "['state_dict']");
  CHECK(key_of(dict({{"ema", other}, {"net", dict({{"state_dict", w}})}})) == "['net']['state_dict']");
  CHECK(key_of(dict({{"teacher", dict({{"state_dict", other}})}, {"model", w}})) == "['model']");
  CHECK(key_of(dict({{"model", dict({{"ema", other}, {"state_dict", w}})}})) == "['model']['state_dict']");

  // What looks like weights and is none: an optimiser's state, random states, losses, means.
  const std::string bytes = tensor(storage("1", 24, "ByteStorage"), 0, {24}, {1});
  const Member random = {.name = "a/data/1", .data = std::string(24, '\1')};
  CHECK(key_of(dict({{"net", w}, {"solver", adam}, {"optim", dict({{"momentum", dict({{"w", whole}})}})}})) ==
        "['net']");
  CHECK(key_of(dict({{"loss", scalar}, {"net", w}, {"meters", dict({{"loss", scalar}})}})) == "['net']");
  CHECK(key_of(dict({{"mean", whole}, {"net", w}})) == "['net']");
  CHECK(parse_torch_checkpoint(
            bytes_of(checkpoint(dict({{"rng", bytes}, {"all", dict({{"cpu", bytes}})}, {"net", w}}), {random})), "f.pt")
            .key == "['net']");
  check_refused(checkpoint(adam), "holds a dict with 'state' (a dict), 'param_groups' (a list); a dict of tensors is");
  check_refused(checkpoint(dict({{"opt", adam}})), "holds a dict with 'opt' (a dict); a dict of tensors is expected");

  // One left to guess is none.
  check_refused(checkpoint(dict({{"ema", w}, {"net", other}, {"epoch", number(1)}})),
                "f.pt: holds 2 dicts of tensors: ['ema'], ['net']; save the right one on its own: torch.save(");
  check_refused(checkpoint(dict({{"w", whole}, {"v", whole}, {"ema", w}})),
                "dicts of tensors: its top level, ['ema'];");
  check_refused(checkpoint(dict({{"model", dict({{"body", w}, {"head", other}})}, {"ema", w}})),
                "dicts of tensors: ['model']['body'], ['model']['head'];");
}

TEST_CASE("pickled weights: numbers and texts among the tensors are passed over, and said") {
  const WeightsFile file = parse_torch_checkpoint(
      bytes_of(checkpoint(dict({{"epoch", number(1)}, {"w", whole}, {"args", made("argparse", "Namespace", "")}}))),
      "f.pt");
  CHECK(file.state.entries.size() == 1);
  CHECK(file.key.empty());
  CHECK(file.passed_over == "'epoch' (a number), 'args' (an object of argparse.Namespace)");
  CHECK(parse_torch_checkpoint(bytes_of(checkpoint(dict({{"w", whole}}))), "f.pt").passed_over.empty());
}

TEST_CASE("pickled weights: containers that hold no weights say what they hold") {
  check_refused(checkpoint(number(1)), "holds a number; a dict of tensors is expected");
  check_refused(checkpoint(whole), "holds a tensor; a dict of tensors is expected");
  check_refused(checkpoint("}"), "holds a dict with no entries");
  check_refused(checkpoint(dict({{"epoch", number(1)}, {"net", made("a", "ResNet", "")}})),
                "holds a dict with 'epoch' (a number), 'net' (an object of a.ResNet); a dict of");
  check_refused(checkpoint(dict({{"state_dict", dict({{"a", "N"}})}})), "holds a dict with 'state_dict' (a dict);");
  std::vector<std::pair<std::string, std::string>> many;
  for (int i = 0; i < 7; ++i) many.emplace_back(std::to_string(i), "N");
  check_refused(checkpoint(dict(many)), "'3' (None), '4' (None) and 2 more; a dict of");
  check_refused(checkpoint(dict({{"w", whole}, {"w", whole}})), "has tensor 'w' twice");
  // A dict that holds itself is no danger, nor are dicts each of which holds the next 200 times.
  check_refused(checkpoint(cat("}q\1", text("state_dict"), "h\1s")), "holds a dict with 'state_dict'");
  std::string dense = "}q\1";
  for (int level = 0; level < 8; ++level) {
    dense += "0}";
    for (int i = 0; i < 200; ++i) dense += cat(number(i), "h\1s");
    dense += "q\1";
  }
  check_refused(checkpoint(dense), "holds a dict with 0 (a dict), 1 (a dict)");
  // Nor is one in another, again and again.
  std::string deep = dict({{"w", whole}});
  for (int i = 0; i < 8; ++i) deep = cat("}", text("a"), deep, "s");
  CHECK(parse(checkpoint(deep)).find("w") != nullptr);
  check_refused(checkpoint(cat("}", text("a"), deep, "s")), "holds a dict with 'a' (a dict)");
}
