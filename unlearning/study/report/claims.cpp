#include "unlearning/study/report/claims.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "unlearning/study/report/published.h"

namespace nepenthe {
namespace {

using namespace claim_rules;

std::string points(double difference) {
  return fmt::format("{}{:.1f} points", difference < 0 ? "−" : "+", 100 * std::abs(difference));
}

ClaimPart not_tested(std::string statement, std::string why) {
  return {.statement = std::move(statement), .figures = std::move(why), .holds = {}};
}

/// What a part needs; empty where all is there.
std::string needs(std::initializer_list<std::pair<const char*, bool>> conditions) {
  std::vector<std::string_view> gone;
  for (const auto& [name, there] : conditions) {
    if (!there) gone.emplace_back(name);
  }
  return gone.empty() ? std::string() : fmt::format("needs {}", fmt::join(gone, ", "));
}

/// An attack's mean with what it is uncertain by: over seeds half of the interval over two, of one attack its standard
/// error over the splits.
struct Attack {
  double mean = 0, standard_error = 0;
};
std::optional<Attack> attack_on(const Group* group) {
  const auto result = estimate(group, mia());
  if (!result) return std::nullopt;
  if (result->half_width) return Attack{result->mean, *result->half_width / 2};
  const auto error = mean(group, [](const Record& record) {
    return record.whole.attack.mia ? std::optional(record.whole.attack.mia->standard_error) : std::nullopt;
  });
  return Attack{result->mean, error.value_or(0)};
}

bool apart(const Attack& a, const Attack& b) {
  return std::abs(a.mean - b.mean) > std::max(attacks_apart, 2 * std::hypot(a.standard_error, b.standard_error));
}

/// The one network that accuracies are measured by: trained on everything here, else the published weights.
const Group* reference(const StudyView& view) {
  const Group* baseline = view.find("baseline");
  return baseline != nullptr ? baseline : view.find("weights-resnet56");
}

/// A fine-tuned network and what it was before: of one trained here, else of the published weights.
std::pair<const Group*, const Group*> fine_tuned(const StudyView& view) {
  for (const auto& [after, before] :
       {std::pair{"finetuned", "baseline"}, std::pair{"finetuned-resnet56", "weights-resnet56"}}) {
    if (view.find(after) != nullptr && view.find(before) != nullptr) return {view.find(after), view.find(before)};
  }
  return {nullptr, nullptr};
}

/// Whether the attack on a group is its ceiling's; where there is none, 0.5 stands in for it.
ClaimPart unlearns(const StudyView& view, const Group* group, std::string statement, bool well, const char* name) {
  const auto attack = attack_on(group);
  if (!attack) return not_tested(std::move(statement), needs({{name, false}}));
  const auto ceiling = attack_on(view.ceiling(*group));
  const Attack against = ceiling.value_or(Attack{0.5, 0});
  const bool left = attack->mean > against.mean && apart(*attack, against);
  return {.statement = std::move(statement),
          .figures = fmt::format("MIA {:.3f}, {} {:.3f}", attack->mean, ceiling ? "retrained without F" : "ideal",
                                 against.mean),
          .holds = left != well};
}

ClaimPart accuracy_against(const Group* group, const Group* other, std::string statement, const char* name,
                           const char* other_name, bool (*rule)(double difference)) {
  const auto ours = mean(group, top1("test")), theirs = mean(other, top1("test"));
  if (!ours || !theirs)
    return not_tested(std::move(statement), needs({{name, ours.has_value()}, {other_name, theirs.has_value()}}));
  return {.statement = std::move(statement),
          .figures = fmt::format("test top-1 {}, {} {}: {}", percent(*ours), other->label(), percent(*theirs),
                                 points(*ours - *theirs)),
          .holds = rule(*ours - *theirs)};
}

bool any_fails(const std::vector<ClaimPart>& parts) {
  return std::ranges::any_of(parts, [](const ClaimPart& part) { return part.holds == false; });
}

Claim who_unlearns(const StudyView& view) {
  const auto [tuned, before] = fine_tuned(view);
  Claim claim{.letter = 'a',
              .claim =
                  "Fine-tuning keeps accuracy and unlearns poorly, SISA the reverse; SISA with transfer does very well "
                  "in both.",
              .section = "§2"};
  claim.parts = {
      accuracy_against(tuned, before, "Fine-tuning keeps test accuracy", "finetuned", "baseline",
                       [](double difference) { return difference >= -performs_within; }),
      unlearns(view, tuned, "Fine-tuning leaves F open to the attack", false, "finetuned"),
      accuracy_against(view.find("sisa-unlearned"), reference(view), "SISA costs accuracy", "sisa-unlearned",
                       "baseline", [](double difference) { return difference <= -poor_below; }),
      unlearns(view, view.find("sisa-unlearned"), "SISA unlearns F", true, "sisa-unlearned"),
      accuracy_against(view.find("transfer-unlearned"), reference(view),
                       "SISA with transfer is as accurate as one network", "transfer-unlearned", "baseline",
                       [](double difference) { return difference >= -restores_within; }),
      unlearns(view, view.find("transfer-unlearned"), "SISA with transfer unlearns F", true, "transfer-unlearned")};
  if (any_fails(claim.parts)) {
    claim.difference =
        "The source measures unlearning by the distance of the attack from 0.5; here it is measured by the same attack "
        "on a training without F. A network that learned little by heart is near 0.5 before it forgets anything, so "
        "there is little for fine-tuning to leave open.";
  }
  return claim;
}

Claim accuracy_rises(const StudyView& view) {
  Claim claim{.letter = 'b', .claim = "Fine-tuning raises test accuracy by about 10 points.", .section = "§6.2"};
  for (const auto& [after, before] :
       {std::pair{"finetuned-resnet56", "weights-resnet56"}, std::pair{"finetuned", "baseline"}}) {
    claim.parts.push_back(accuracy_against(
        view.find(after), view.find(before),
        fmt::format("It does for “{}”", view.find(before) != nullptr ? view.find(before)->label() : before), after,
        before, [](double difference) { return difference >= rise_at_least; }));
  }
  if (any_fails(claim.parts)) {
    claim.difference = fmt::format(
        "The source's baselines, {} and {}, are some 15 points below what the networks' authors publish ({} and {}): "
        "its fine-tuning regains what they had lost. Ours start where there is little to regain.",
        percent(published::fine_tuning[0].test_top1), percent(published::fine_tuning[2].test_top1),
        percent(published::resnet32_top1), percent(published::resnet56_top1));
  }
  return claim;
}

/// The mean of a curve's field over epochs [first, last], over the seeds; none where a record's curve does not hold
/// them.
std::optional<double> curve_mean(const Group* group, double CurvePoint::*field, int first, int last) {
  return mean(group, [=](const Record& record) -> std::optional<double> {
    double sum = 0;
    int count = 0;
    for (const CurvePoint& point : record.curve) {
      if (point.epoch >= first && point.epoch <= last) {
        sum += point.*field;
        ++count;
      }
    }
    return count == last - first + 1 ? std::optional(sum / count) : std::nullopt;
  });
}

int epochs_of(const Group* group) {
  return group == nullptr || group->records.front()->curve.empty() ? 0 : group->records.front()->curve.back().epoch;
}

std::optional<double> last_five(const Group* group, double CurvePoint::*field) {
  const int last = epochs_of(group);
  return last >= 5 ? curve_mean(group, field, last - 4, last) : std::nullopt;
}

Claim shards_saturate(const StudyView& view) {
  Claim claim{
      .letter = 'c',
      .claim =
          "With 10 shards a shard's test accuracy saturates after 20 to 30 epochs while its train accuracy goes on to "
          "100 % by epoch 60; fewer shards do better, and 100 more epochs with cosine annealing bring one of 4 to "
          "about 50 %.",
      .section = "§6.3.1"};
  const Group* ten = view.find("shards-10");
  {
    const std::string statement = "Test accuracy of one of 10 has saturated by epoch 30";
    const auto early = curve_mean(ten, &CurvePoint::test_top1, 26, 30), late = last_five(ten, &CurvePoint::test_top1);
    if (!early || !late || epochs_of(ten) < 40) {
      claim.parts.push_back(not_tested(statement, ten == nullptr
                                                      ? "needs shards-10"
                                                      : fmt::format("needs 40 epochs; there are {}", epochs_of(ten))));
    } else {
      claim.parts.push_back({.statement = statement,
                             .figures = fmt::format("test top-1 {} in epochs 26–30, {} in the last five of {}",
                                                    percent(*early), percent(*late), epochs_of(ten)),
                             .holds = *late - *early <= saturated_within});
    }
  }
  {
    const std::string statement = "Its train accuracy reaches 100 % by epoch 60";
    const int last = std::min(epochs_of(ten), 60);
    const auto train = last > 0 ? curve_mean(ten, &CurvePoint::train_top1, last, last) : std::nullopt;
    if (!train || (last < 60 && *train < all_of_it)) {
      claim.parts.push_back(
          not_tested(statement, ten == nullptr || !train
                                    ? "needs shards-10"
                                    : fmt::format("{} after {} epochs, where the curve ends", percent(*train), last)));
    } else {
      claim.parts.push_back({.statement = statement,
                             .figures = fmt::format("train top-1 {} after {} epochs", percent(*train), last),
                             .holds = *train >= all_of_it});
    }
  }
  {
    const std::string statement = "The fewer the shards, the higher the test accuracy";
    const auto two = last_five(view.find("shards-2"), &CurvePoint::test_top1),
               four = last_five(view.find("shards-4"), &CurvePoint::test_top1),
               many = last_five(ten, &CurvePoint::test_top1);
    if (!two || !four || !many) {
      claim.parts.push_back(not_tested(
          statement,
          needs({{"shards-2", two.has_value()}, {"shards-4", four.has_value()}, {"shards-10", many.has_value()}})));
    } else {
      claim.parts.push_back(
          {.statement = statement,
           .figures = fmt::format("test top-1, mean of the last five epochs: {} for 2, {} for 4, {} for 10 shards",
                                  percent(*two), percent(*four), percent(*many)),
           .holds = *two > *four && *four > *many});
    }
  }
  {
    const std::string statement = "100 more epochs bring one of 4 to about 50 %";
    const Group* more = view.find("shards-4-more");
    const auto reached = mean(more, [](const Record& record) {
      return record.curve.empty() ? std::nullopt : std::optional(record.curve.back().test_top1);
    });
    if (!reached) {
      claim.parts.push_back(not_tested(statement, "needs shards-4-more"));
    } else {
      claim.parts.push_back({.statement = statement,
                             .figures = fmt::format("test top-1 {} after {} more epochs", percent(*reached),
                                                    more->records.front()->curve.size()),
                             .holds = std::abs(*reached - published::shard_top1_after_more) <= about});
    }
  }
  if (any_fails(claim.parts)) {
    claim.difference =
        "At a constant learning rate of 0.1 train and test accuracy jump from epoch to epoch, and weight decay and "
        "augmentation hold the train accuracy down until the rate falls; where this preset trains less or on other "
        "data, the rows' remarks say so.";
  }
  return claim;
}

Claim small_network_forgets(const StudyView& view) {
  Claim claim{
      .letter = 'd',
      .claim = "On CIFAR-10 a smaller network's accuracy on F drops by about 10 points from 100 % under fine-tuning.",
      .section = "§6.2"};
  const std::string statement = "It does";
  const auto [tuned, before] = fine_tuned(view);
  const auto from = mean(before, top1("forget")), to = mean(tuned, top1("forget"));
  if (view.study().classes != 10) {
    std::string figures = fmt::format("needs CIFAR-10; this is {}", view.study().data_name);
    if (from && to) figures += fmt::format(" (here F falls from {} to {})", percent(*from), percent(*to));
    claim.parts.push_back(not_tested(statement, figures));
  } else if (!from || !to) {
    claim.parts.push_back(
        not_tested(statement, needs({{"baseline", from.has_value()}, {"finetuned", to.has_value()}})));
  } else {
    claim.parts.push_back({.statement = statement,
                           .figures = fmt::format("top-1 on F {} before, {} after: {}", percent(*from), percent(*to),
                                                  points(*to - *from)),
                           .holds = *from >= learnt_by_heart && *from - *to >= drop_least && *from - *to <= drop_most});
    if (any_fails(claim.parts)) {
      claim.difference =
          "The source names neither the network nor its recipe. How far F falls depends on how well it was learned by "
          "heart.";
    }
  }
  return claim;
}

Claim times(const StudyView& view) {
  Claim claim{.letter = 'e',
              .claim = "Unlearning a SISA run takes less time than fine-tuning, and fine-tuning less than retraining.",
              .section = "§5.3"};
  const Group* sisa = view.find("sisa-unlearned");
  const Group* tuned = fine_tuned(view).first;
  const Group* golden = view.find("golden");
  // Seconds where all three were timed as a whole, else the work that they stand for.
  const bool timed = std::ranges::all_of(std::array{sisa, tuned, golden}, [](const Group* group) {
    return group == nullptr || mean(group, train_seconds()).has_value();
  });
  const Quantity quantity = timed ? train_seconds() : multiply_adds();
  const auto said = [&](double value) { return timed ? duration(value) : fmt::format("{:.3g} MACs", value); };
  const auto s = mean(sisa, quantity), f = mean(tuned, quantity), g = mean(golden, quantity);
  std::string all_at_once;
  if (s && sisa->records.front()->map) {
    const auto passes = passes_by_shard(*sisa->records.front()->map, sisa->experiment().config.epochs);
    std::int64_t sum = 0, longest = 0;
    for (const std::int64_t of_shard : passes) {
      sum += of_shard;
      longest = std::max(longest, of_shard);
    }
    if (sum > 0) {
      all_at_once =
          fmt::format(" (all shards at once: {})", said(*s * static_cast<double>(longest) / static_cast<double>(sum)));
    }
  }
  const std::string first = "SISA, its shards one after another, takes less than fine-tuning",
                    second = "Fine-tuning takes less than retraining";
  if (s && f) {
    claim.parts.push_back({.statement = first,
                           .figures = fmt::format("{}{}; fine-tuning {}", said(*s), all_at_once, said(*f)),
                           .holds = *s < *f});
  } else {
    claim.parts.push_back(not_tested(first, needs({{"sisa-unlearned", s.has_value()}, {"finetuned", f.has_value()}})));
  }
  if (f && g) {
    claim.parts.push_back(
        {.statement = second, .figures = fmt::format("{}; retraining {}", said(*f), said(*g)), .holds = *f < *g});
  } else {
    claim.parts.push_back(not_tested(second, needs({{"finetuned", f.has_value()}, {"golden", g.has_value()}})));
  }
  if (any_fails(claim.parts)) {
    claim.difference =
        "Time is epochs times samples: what this preset gives each method decides, and the rows' remarks say where "
        "that is not the source's.";
  }
  return claim;
}

Claim transfer_restores(const StudyView& view) {
  Claim claim{.letter = 'f',
              .claim =
                  "Transfer restores the accuracy that sharding costs, and lowers the attack even before anything is "
                  "unlearned.",
              .section = "§6.3.2, §6.4.1"};
  const Group* transfer = view.find("transfer");
  const Group* sisa = view.find("sisa");
  claim.parts.push_back(accuracy_against(transfer, reference(view), "SISA with transfer is as accurate as one network",
                                         "transfer", "baseline",
                                         [](double difference) { return difference >= -restores_within; }));
  const auto lower = [&](std::string statement, const Quantity& quantity, const char* what) {
    const auto with = estimate(transfer, quantity), without = estimate(sisa, quantity);
    if (!with || !without) {
      claim.parts.push_back(
          not_tested(std::move(statement), needs({{"transfer", with.has_value()}, {"sisa", without.has_value()}})));
      return;
    }
    claim.parts.push_back(
        {.statement = std::move(statement),
         .figures = fmt::format("MIA on {}, mean of the shards: {:.3f} with transfer, {:.3f} from scratch", what,
                                with->mean, without->mean),
         .holds = without->mean - with->mean > attacks_apart});
  };
  lower("Transfer lowers the attack on the whole of F", shards_mia(), "F");
  lower("Transfer lowers the attack on what a shard has seen of F", shards_own_mia(), "F ∩ shard");
  if (any_fails(claim.parts)) {
    claim.difference =
        "The attack follows how much a network has learned by heart in its epochs, not where its weights came from: a "
        "network from scratch that is still far from its data gives an attack nothing to see. On the whole of F most "
        "of the samples are new to any one shard, which draws the mean towards 0.5; F ∩ shard is the sharper view.";
  }
  return claim;
}

}  // namespace

std::string name(Verdict verdict) {
  switch (verdict) {
    case Verdict::holds: return "holds";
    case Verdict::in_part: return "holds in part";
    case Verdict::does_not_hold: return "does not hold here";
    case Verdict::not_tested: return "not tested by this preset";
  }
  return "";
}

Verdict Claim::verdict() const {
  const auto count = [&](std::optional<bool> holds) { return std::ranges::count(parts, holds, &ClaimPart::holds); };
  const auto all = static_cast<std::ptrdiff_t>(parts.size());
  if (count(std::nullopt) == all) return Verdict::not_tested;
  if (count(true) == all) return Verdict::holds;
  return count(true) == 0 ? Verdict::does_not_hold : Verdict::in_part;
}

std::vector<Claim> claims(const StudyView& view) {
  return {who_unlearns(view),          accuracy_rises(view), shards_saturate(view),
          small_network_forgets(view), times(view),          transfer_restores(view)};
}

Table claims_table(const std::vector<Claim>& claims) {
  Table table({{"", "", {"claim"}},
               {"", "verdict", {"verdict"}},
               {"", "part", {"part"}},
               {"", "", {"part_verdict"}},
               {"", "our figures", {"figures"}}});
  table.name = "claims";
  table.title = "The source report's claims";
  for (const Claim& claim : claims) {
    bool first = true;
    for (const ClaimPart& part : claim.parts) {
      const char* decided = !part.holds ? "not tested" : *part.holds ? "yes" : "no";
      const std::string letter = fmt::format("({})", claim.letter);
      table.add({Cell(first ? letter : "", {letter}), Cell(first ? name(claim.verdict()) : "", {name(claim.verdict())}),
                 part.statement, decided, part.figures});
      first = false;
    }
  }
  return table;
}

}  // namespace nepenthe
