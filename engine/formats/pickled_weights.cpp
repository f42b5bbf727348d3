#include "engine/formats/pickled_weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <optional>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/file.h"

namespace nepenthe {
namespace {

using Kind = PickleValue::Kind;
using Dict = std::vector<std::pair<PickleValue, PickleValue>>;

constexpr std::array<std::string_view, 3> known_keys = {"state_dict", "model_state_dict", "model"};
constexpr std::size_t deepest = 8;  // keys to a dict: no checkpoint has more

class Search {
 public:
  Search(const Pickle& pickle, std::string_view source) : pickle_(pickle), source_(source) {}

  PickledWeights run() {
    constexpr std::string_view expected =
        "a dict of tensors is expected, as of model.state_dict(), on its own or within other dicts";
    const PickleValue root = pickle_.root;
    if (root.kind != Kind::dict)
      throw Error(fmt::format("{}: holds {}; {}", source_, pickle_.describe(root), expected));
    const Dict& top = pickle_.dicts[root.index()];
    if (!top.empty() && std::ranges::all_of(top, is_tensor))
      return {.dict = root.index(), .key = "", .passed_over = ""};
    visit_all();
    std::vector<const Node*> best = best_candidates();
    if (best.empty()) {
      throw Error(
          fmt::format("{}: holds a dict with {}; {}", source_, top.empty() ? "no entries" : describe(top), expected));
    }
    if (best.size() > 1) {
      const auto where = [&](const Node* node) { return node->parent ? path(*node) : "its top level"; };
      throw Error(fmt::format(
          "{}: holds {} dicts of tensors: {}; save the right one on its own: torch.save(torch.load(FILE)[KEY], NEW)",
          source_, best.size(), list(best, where)));
    }
    const Dict& found = pickle_.dicts[best.front()->dict];
    Dict others;
    std::ranges::remove_copy_if(found, std::back_inserter(others), is_tensor);
    return {.dict = best.front()->dict, .key = path(*best.front()), .passed_over = describe(others)};
  }

 private:
  /// A dict, and how it is reached. `rank` has for every key the place among the known ones, or one behind them.
  struct Node {
    std::size_t dict;
    std::optional<std::size_t> parent;  // in nodes_
    PickleValue key;
    std::array<std::uint8_t, deepest> rank;
    std::size_t depth = 0;
    std::ptrdiff_t weights = 0;
    bool wraps = false;  // a dict of more
  };

  static bool is_tensor(const std::pair<PickleValue, PickleValue>& entry) {
    return entry.first.kind == Kind::text && entry.second.kind == Kind::tensor;
  }
  bool is_weight(const std::pair<PickleValue, PickleValue>& entry) const {
    if (!is_tensor(entry)) return false;
    const PickledTensor& tensor = pickle_.tensors[entry.second.index()];
    return !tensor.shape.empty() && is_float(pickle_.storages[tensor.storage].dtype);
  }
  std::string_view text_of(PickleValue key) const {
    return key.kind == Kind::text ? pickle_.texts[key.index()] : std::string_view();
  }
  bool has(const Dict& dict, std::string_view key) const {
    return std::ranges::any_of(dict, [&](const auto& entry) { return text_of(entry.first) == key; });
  }
  /// What torch.optim's state_dict() gives, under any key, or whatever else is called so.
  bool is_optimizer(PickleValue key, const Dict& dict) const {
    return text_of(key).starts_with("optim") || (has(dict, "state") && has(dict, "param_groups"));
  }

  /// Level by level, each dict once: one may be under several keys, and within itself.
  void visit_all() {
    std::vector<bool> seen(pickle_.dicts.size());
    visit(pickle_.root, {}, std::nullopt, seen);
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i].depth == deepest) break;
      for (const auto& [key, value] : pickle_.dicts[nodes_[i].dict]) {
        if (value.kind == Kind::dict) visit(value, key, i, seen);
      }
    }
    for (const Node& node : nodes_) {
      for (auto above = node.parent; above; above = nodes_[*above].parent) {
        nodes_[*above].wraps |= nodes_[*above].weights < node.weights;
      }
    }
  }
  void visit(PickleValue value, PickleValue key, std::optional<std::size_t> parent, std::vector<bool>& seen) {
    const Dict& dict = pickle_.dicts[value.index()];
    if (seen[value.index()]) return;
    seen[value.index()] = true;
    if (is_optimizer(key, dict)) return;
    Node node{.dict = value.index(), .parent = parent, .key = key, .rank = {}};
    node.rank.fill(known_keys.size());
    if (parent) {
      node.rank = nodes_[*parent].rank;
      node.depth = nodes_[*parent].depth + 1;
      const auto* known = std::ranges::find(known_keys, text_of(key));
      node.rank[node.depth - 1] = static_cast<std::uint8_t>(known - known_keys.begin());
    }
    node.weights = std::ranges::count_if(dict, [&](const auto& entry) { return is_weight(entry); });
    nodes_.push_back(node);
  }

  std::vector<const Node*> best_candidates() const {
    std::vector<const Node*> best;
    for (const Node& node : nodes_) {
      if (node.weights == 0 || node.wraps) continue;
      if (!best.empty() && node.rank < best.front()->rank) best.clear();
      if (best.empty() || node.rank == best.front()->rank) best.push_back(&node);
    }
    return best;
  }

  std::string describe_key(PickleValue key) const {
    switch (key.kind) {
      case Kind::text: return fmt::format("'{}'", printable(text_of(key)));
      case Kind::integer: return std::to_string(key.integer);
      default: return pickle_.describe(key);
    }
  }
  /// The first few of `items` in words; how many more there are.
  template <class Items, class InWords>
  static std::string list(const Items& items, InWords in_words) {
    constexpr std::size_t shown = 5;
    std::vector<std::string> words;
    for (std::size_t i = 0; i < std::min(shown, items.size()); ++i) words.push_back(in_words(items[i]));
    const std::string more = items.size() > shown ? fmt::format(" and {} more", items.size() - shown) : "";
    return fmt::format("{}{}", fmt::join(words, ", "), more);
  }
  std::string describe(const Dict& entries) const {
    return list(entries, [&](const auto& entry) {
      return fmt::format("{} ({})", describe_key(entry.first), pickle_.describe(entry.second));
    });
  }
  std::string path(const Node& node) const {
    if (!node.parent) return "";
    return fmt::format("{}[{}]", path(nodes_[*node.parent]), describe_key(node.key));
  }

  const Pickle& pickle_;
  std::string_view source_;
  std::vector<Node> nodes_;
};

}  // namespace

PickledWeights find_weights(const Pickle& pickle, std::string_view source) { return Search(pickle, source).run(); }

}  // namespace nepenthe
