#include "unlearning/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <span>

#include "engine/base/error.h"
#include "unlearning/forget_spec.h"

namespace nepenthe {
namespace {

std::vector<std::int32_t> all_ids(int count) {
  std::vector<std::int32_t> ids(count);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

/// The rows of `from` (over the sorted ids `from_ids`) for the sorted ids `ids`, each of which is among them.
Predictions select(const Predictions& from, const std::vector<std::int32_t>& from_ids,
                   const std::vector<std::int32_t>& ids) {
  if (ids.size() == from_ids.size()) return from;
  Predictions part{.classes = from.classes, .logits = {}, .losses = {}, .ranks = {}};
  part.logits.reserve(ids.size() * from.classes);
  for (const std::int32_t id : ids) {
    const auto row = std::ranges::lower_bound(from_ids, id) - from_ids.begin();
    const auto logits = std::span(from.logits).subspan(row * from.classes, from.classes);
    part.logits.insert(part.logits.end(), logits.begin(), logits.end());
    part.losses.push_back(from.losses[row]);
    part.ranks.push_back(from.ranks[row]);
  }
  return part;
}

}  // namespace

std::vector<EvaluationSet> evaluation_sets(const std::vector<std::string>& names, const Dataset& dataset,
                                           const std::vector<std::int32_t>& forgotten) {
  std::vector<EvaluationSet> sets;
  for (const std::string& set_name : names) {
    if ((set_name == "forget" || set_name == "retain") && forgotten.empty()) {
      throw UsageError(fmt::format("the set {} needs a forget set, and there is none", set_name));
    }
    if (set_name == "test") {
      sets.push_back({set_name, true, all_ids(dataset.test.count())});
    } else if (set_name == "train") {
      sets.push_back({set_name, false, all_ids(dataset.train.count())});
    } else if (set_name == "forget") {
      sets.push_back({set_name, false, forgotten});
    } else if (set_name == "retain") {
      require_something_retained(dataset.train.count(), forgotten);
      sets.push_back({set_name, false, retained_ids(dataset.train.count(), forgotten)});
    } else {
      throw UsageError(fmt::format("there is no set {}; test, train, forget and retain are known", set_name));
    }
  }
  return sets;
}

Evaluator::Evaluator(Device& device, const Dataset& dataset, const Preprocessing& preprocessing)
    : device_(device),
      dataset_(dataset),
      train_(device, dataset.train.pixels, dataset.train.labels, preprocessing),
      test_(device, dataset.test.pixels, dataset.test.labels, preprocessing) {}

std::map<std::string, Predictions> Evaluator::predict(ModelState& model, const std::vector<EvaluationSet>& sets,
                                                      const std::string& what, Observer& observer) const {
  const int batch = prediction_batch(test_.image_size());
  std::map<std::string, Predictions> results;
  std::vector<std::int32_t> needed;  // of the training data
  for (const EvaluationSet& set : sets) {
    if (set.test) {
      results[set.name] = nepenthe::predict(model, test_, set.ids, batch, what + " on the test set", observer);
    } else {
      std::vector<std::int32_t> both;
      std::ranges::set_union(needed, set.ids, std::back_inserter(both));
      needed = std::move(both);
    }
  }
  if (needed.empty()) return results;
  const Predictions train = nepenthe::predict(model, train_, needed, batch, what + " on the training set", observer);
  for (const EvaluationSet& set : sets) {
    if (!set.test) results[set.name] = select(train, needed, set.ids);
  }
  return results;
}

std::vector<std::int32_t> labels_of(const EvaluationSet& set, const Dataset& dataset) {
  const std::vector<std::int32_t>& labels = (set.test ? dataset.test : dataset.train).labels;
  std::vector<std::int32_t> selected;
  selected.reserve(set.ids.size());
  for (const std::int32_t id : set.ids) selected.push_back(labels[id]);
  return selected;
}

}  // namespace nepenthe
