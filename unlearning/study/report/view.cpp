#include "unlearning/study/report/view.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace nepenthe {
namespace {

std::optional<double> finite(double value) { return std::isfinite(value) ? std::optional(value) : std::nullopt; }

Quantity of_set(std::string set, double Metrics::*field) {
  return [set = std::move(set), field](const Record& record) -> std::optional<double> {
    const auto found = record.whole.sets.find(set);
    return found == record.whole.sets.end() ? std::nullopt : finite(found->second.*field);
  };
}

Quantity of_vote(double Metrics::*field) {
  return [field](const Record& record) -> std::optional<double> {
    if (!record.vote) return std::nullopt;
    const auto found = record.vote->sets.find("test");
    return found == record.vote->sets.end() ? std::nullopt : finite(found->second.*field);
  };
}

Quantity of_attack(double Mia::*field) {
  return [field](const Record& record) -> std::optional<double> {
    return record.whole.attack.mia ? std::optional((*record.whole.attack.mia).*field) : std::nullopt;
  };
}

/// The mean over the shards that have it.
Quantity of_shards(std::function<std::optional<double>(const Examined&)> of_shard) {
  return [of_shard = std::move(of_shard)](const Record& record) -> std::optional<double> {
    double sum = 0;
    int count = 0;
    for (const Examined& shard : record.shards) {
      if (const auto value = of_shard(shard)) {
        sum += *value;
        ++count;
      }
    }
    return count > 0 ? std::optional(sum / count) : std::nullopt;
  };
}

std::optional<double> mean_of(const MiaOutcome& outcome) {
  return outcome.mia ? std::optional(outcome.mia->mean) : std::nullopt;
}

std::optional<double> test_top1(const Examined& examined) {
  const auto found = examined.sets.find("test");
  return found == examined.sets.end() ? std::nullopt : finite(found->second.top1);
}

/// Of the shard with this number.
Quantity of_shard(int shard, std::function<std::optional<double>(const Examined&)> quantity) {
  return [who = fmt::format("shard {}", shard), quantity = std::move(quantity)](const Record& record) {
    const auto found = std::ranges::find(record.shards, who, &Examined::who);
    return found == record.shards.end() ? std::nullopt : quantity(*found);
  };
}

}  // namespace

std::string Group::label() const {
  const std::string& title = experiment().title.empty() ? name() : experiment().title;
  return records.size() > 1 ? fmt::format("{} ({} seeds)", title, records.size()) : title;
}

std::optional<Estimate> estimate(const Group* group, const Quantity& quantity) {
  std::vector<double> values;
  if (group != nullptr) {
    for (const Record* record : group->records) {
      if (const auto value = quantity(*record)) values.push_back(*value);
    }
  }
  return estimate(values);
}

std::optional<double> mean(const Group* group, const Quantity& quantity) {
  const auto result = estimate(group, quantity);
  return result ? std::optional(result->mean) : std::nullopt;
}

StudyView::StudyView(const StudyRecord& study) : study_(&study) {
  for (const Record& record : study.records) {
    const auto found = std::ranges::find(groups_, record.experiment.name, &Group::name);
    if (found == groups_.end()) {
      groups_.push_back({.records = {&record}});
    } else {
      found->records.push_back(&record);
    }
  }
}

const Group* StudyView::find(std::string_view name) const {
  const auto found = std::ranges::find(groups_, name, &Group::name);
  return found == groups_.end() ? nullptr : &*found;
}

const Group* StudyView::ceiling(const Group& group) const { return find(group.experiment().ceiling); }

std::string StudyView::missing(std::initializer_list<std::string_view> names) const {
  std::vector<std::string_view> gone;
  std::ranges::copy_if(names, std::back_inserter(gone),
                       [this](std::string_view name) { return find(name) == nullptr; });
  return gone.empty() ? std::string() : fmt::format("Not in this preset: {}.", fmt::join(gone, ", "));
}

bool is_method(const Group& group) {
  return !group.name().starts_with("shards-") && !group.name().starts_with("shape-") &&
         !group.name().starts_with("sweep-");
}

Quantity top1(std::string set) { return of_set(std::move(set), &Metrics::top1); }
Quantity top5(std::string set) { return of_set(std::move(set), &Metrics::top5); }
Quantity vote_top1() { return of_vote(&Metrics::top1); }
Quantity vote_top5() { return of_vote(&Metrics::top5); }
Quantity mia() { return of_attack(&Mia::mean); }
Quantity auc() { return of_attack(&Mia::auc); }

Quantity tpr(std::string fpr) {
  return [fpr = std::move(fpr)](const Record& record) -> std::optional<double> {
    if (!record.whole.attack.mia) return std::nullopt;
    const auto found = record.whole.attack.mia->tpr_at_fpr.find(fpr);
    return found == record.whole.attack.mia->tpr_at_fpr.end() ? std::nullopt : std::optional(found->second);
  };
}

Quantity sample_passes() {
  return [](const Record& record) { return std::optional(static_cast<double>(record.cost.sample_passes)); };
}
Quantity multiply_adds() {
  return [](const Record& record) { return std::optional(static_cast<double>(record.cost.multiply_adds)); };
}
Quantity train_seconds() {
  return [](const Record& record) { return record.cost.train_seconds; };
}
Quantity eval_seconds() {
  return [](const Record& record) { return std::optional(record.cost.eval_seconds); };
}
Quantity attack_seconds() {
  return [](const Record& record) { return std::optional(record.cost.attack_seconds); };
}

Quantity shards_mia() {
  return of_shards([](const Examined& shard) { return mean_of(shard.attack); });
}
Quantity shards_own_mia() {
  return of_shards([](const Examined& shard) { return mean_of(shard.own); });
}
Quantity shards_top1() { return of_shards(test_top1); }

Quantity shard_mia(int shard) {
  return of_shard(shard, [](const Examined& examined) { return mean_of(examined.attack); });
}
Quantity shard_own_mia(int shard) {
  return of_shard(shard, [](const Examined& examined) { return mean_of(examined.own); });
}
Quantity shard_top1(int shard) { return of_shard(shard, test_top1); }

std::vector<std::int64_t> passes_by_shard(const RequestMap& map, const std::vector<int>& epochs) {
  std::vector<std::int64_t> passes;
  for (const RequestMap::Shard& shard : map.shards) {
    std::int64_t left = 0, sum = 0;
    for (std::size_t slice = 0; slice < shard.samples.size() && slice < epochs.size(); ++slice) {
      left += shard.samples[slice] - shard.forgotten[slice];
      if (std::ranges::find(shard.trained, static_cast<int>(slice) + 1) != shard.trained.end()) {
        sum += left * epochs[slice];
      }
    }
    passes.push_back(sum);
  }
  return passes;
}

}  // namespace nepenthe
