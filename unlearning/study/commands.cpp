#include "unlearning/study/commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace nepenthe {

std::string shell_word(std::string_view word) {
  const auto plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("-_./:,@%+=").find(c) != std::string_view::npos;
  };
  if (!word.empty() && std::ranges::all_of(word, plain)) return std::string(word);
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return fmt::format("{}'", text);
}

std::string options_of(const TrainingConfig& config, const Recipe& standard) {
  const Recipe& recipe = config.recipe;
  std::string text;
  const auto add = [&](bool differs, const std::string& option) {
    if (differs) text += fmt::format(" {}", option);
  };
  const bool adam = recipe.optimizer == OptimizerKind::adam;
  add(recipe.batch != standard.batch, fmt::format("--batch {}", recipe.batch));
  add(adam, "--optimizer adam");
  // Adam's own defaults depend on whether training starts from weights.
  add(adam || recipe.lr != standard.lr, fmt::format("--lr {}", recipe.lr));
  if (recipe.fc_lr) add(true, fmt::format("--fc-lr {}", *recipe.fc_lr));
  add(!adam && recipe.momentum != standard.momentum, fmt::format("--momentum {}", recipe.momentum));
  add(!adam && recipe.nesterov != standard.nesterov, recipe.nesterov ? "--nesterov" : "--no-nesterov");
  add(!adam && recipe.dampening != standard.dampening, fmt::format("--dampening {}", recipe.dampening));
  add(recipe.weight_decay != (adam ? 0 : standard.weight_decay), fmt::format("--weight-decay {}", recipe.weight_decay));
  add(recipe.schedule != standard.schedule, fmt::format("--schedule {}", name(recipe.schedule)));
  add(!recipe.augment && !config.transfer.freeze_backbone, "--no-augment");
  add(config.transfer.image_size != 32, fmt::format("--image-size {}", config.transfer.image_size));
  if (config.transfer.normalization != NormalizationKind::own) {
    add(true, fmt::format("--normalization {}", name(config.transfer.normalization)));
  }
  add(config.transfer.freeze_backbone, "--freeze backbone");
  return text;
}

}  // namespace nepenthe
