#include "unlearning/study/report/figures.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "unlearning/study/report/plot.h"
#include "unlearning/study/table.h"

namespace nepenthe {
namespace {

constexpr double width = 400;

/// A curve's field over epochs or sample passes; a band where there are several seeds.
PlotSeries curve_series(const Group& group, double CurvePoint::*field, bool over_passes) {
  PlotSeries series;
  for (const CurvePoint& point : group.records.front()->curve) {
    const auto at = estimate(&group, [&](const Record& record) -> std::optional<double> {
      const auto found = std::ranges::find(record.curve, point.epoch, &CurvePoint::epoch);
      return found == record.curve.end() ? std::nullopt : std::optional((*found).*field);
    });
    if (!at) continue;
    series.x.push_back(over_passes ? static_cast<double>(point.sample_passes) : point.epoch);
    series.y.push_back(at->mean);
    if (at->half_width) {
      series.low.push_back(at->mean - *at->half_width);
      series.high.push_back(at->mean + *at->half_width);
    }
  }
  if (series.low.size() != series.y.size()) series.low.clear(), series.high.clear();
  return series;
}

/// The families whose members are laid side by side: before, unlearned, retrained without F.
struct Family {
  const char* title;
  std::vector<std::pair<const char*, const char*>> members;  // experiment, what it is called in the plot
};
const std::vector<Family>& families() {
  static const std::vector<Family> all{
      {"Published ResNet56", {{"weights-resnet56", "before"}, {"finetuned-resnet56", "fine-tuned"}}},
      {"One network", {{"baseline", "before"}, {"finetuned", "fine-tuned"}, {"golden", "without F"}}},
      {"SISA", {{"sisa", "before"}, {"sisa-unlearned", "unlearned"}, {"sisa-retrained", "without F"}}},
      {"SISA with transfer",
       {{"transfer", "before"}, {"transfer-unlearned", "unlearned"}, {"transfer-retrained", "without F"}}}};
  return all;
}

/// "Not in this preset: …", of those experiments whose record lacks it; empty where none does.
std::string missing_in(const StudyView& view, std::initializer_list<const char*> names,
                       bool (*has)(const Record& record)) {
  std::vector<const char*> gone;
  for (const char* name : names) {
    const Group* group = view.find(name);
    if (group == nullptr || !has(*group->records.front())) gone.push_back(name);
  }
  return gone.empty() ? std::string() : fmt::format("Not in this preset: {}.", fmt::join(gone, ", "));
}

bool has_curve(const Record& record) { return !record.curve.empty(); }

/// Sample passes on an axis, in the unit that fits the largest.
PlotAxis passes_axis(double most) {
  const bool millions = most >= 2e6;
  return {.title = millions ? "sample passes (millions)" : "sample passes (thousands)",
          .low = 0,
          .unit = millions ? 1e6 : 1e3};
}

PlotAxis percent_axis(const char* title) { return {.title = title, .low = 0, .unit = 0.01}; }
PlotAxis whole_axis(const char* title, std::optional<double> low) {
  return {.title = title, .low = low, .whole = true};
}
PlotAxis log_axis(const char* title, std::optional<double> low, std::optional<double> high) {
  return {.title = title, .log = true, .low = low, .high = high};
}

Plot new_plot(std::string title, PlotAxis x, PlotAxis y) {
  Plot plot;
  plot.title = std::move(title);
  plot.x = std::move(x);
  plot.y = std::move(y);
  return plot;
}

}  // namespace

std::string Figure::html() const {
  std::string html =
      fmt::format("<figure class=\"plot\" id=\"figure-{}\">\n<figcaption>{}</figcaption>\n", name, html_escaped(title));
  std::size_t widest = 0;
  for (const auto& row : rows) widest = std::max(widest, row.size());
  for (const auto& row : rows) {
    html += fmt::format("<div class=\"panels{}\">\n", widest == 1 ? " single" : widest == 3 ? " three" : "");
    for (const std::string& panel : row) html += fmt::format("<div class=\"panel\">{}</div>\n", panel);
    html += "</div>\n";
  }
  if (!rows.empty()) html += fmt::format("<p class=\"note\">{}</p>\n", html_escaped(caption));
  if (!missing.empty()) html += fmt::format("<p class=\"note\">{}</p>\n", html_escaped(missing));
  return html + "</figure>\n";
}

Figure attack_figure(const StudyView& view) {
  Figure figure{
      .name = "attack",
      .title = "How far each method is from its ceiling",
      .caption =
          "Filled: the attack's accuracy with its 95 % interval (two standard errors over the splits; over several "
          "seeds, Student's t). Hollow: its ceiling, the same attack on a training without F."};
  struct Line {
    std::string label;
    double mean = 0, half = 0;
    std::optional<double> ceiling;
  };
  std::vector<Line> lines;
  double low = 0.49, high = 0.52;
  for (const Group& group : view.groups()) {
    const auto attack = estimate(&group, mia());
    if (!is_method(group) || !attack) continue;
    double half = attack->half_width.value_or(0);
    if (!attack->half_width) {
      const auto found = std::ranges::find_if(
          group.records, [](const Record* record) { return record->whole.attack.mia.has_value(); });
      half = 2 * (*found)->whole.attack.mia->standard_error;
    }
    lines.push_back({group.label(), attack->mean, half, mean(view.ceiling(group), mia())});
    for (const double value : {attack->mean - half, attack->mean + half, lines.back().ceiling.value_or(0.5)}) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  if (lines.empty()) {
    figure.missing = "Not in this preset: any attack.";
    return figure;
  }
  const double margin = 0.03 * (high - low);
  low -= margin;
  high += margin;
  constexpr double left = 12, right = 16, top = 26, row = 32;
  const double bottom = top + row * static_cast<double>(lines.size()) + 4;
  const auto at = [&](double value) { return left + (width - left - right) * (value - low) / (high - low); };
  std::vector<std::string> said;
  said.reserve(lines.size());
  for (const Line& line : lines) said.push_back(fmt::format("{} {:.3f}", line.label, line.mean));
  Svg svg(width, bottom + 44, "The attack on F", fmt::format("Accuracy of the attack: {}.", fmt::join(said, "; ")));
  svg.text(left, 15, "The attack's accuracy on F", "start", "title");
  for (double value : linear_ticks(low, high, 5)) {
    svg.line(at(value), top, at(value), bottom, "grid");
    svg.line(at(value), bottom, at(value), bottom + 4, "axis");
    svg.text(at(value), bottom + 17, fmt::format("{:.2f}", value), "middle", "tick");
  }
  svg.line(at(0.5), top, at(0.5), bottom, "reference");
  svg.line(left, bottom, width - right, bottom, "axis");
  svg.text((left + width - right) / 2, bottom + 35, "MIA (0.5: cannot be told)", "middle", "label");
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Line& line = lines[i];
    const double y = top + row * (static_cast<double>(i) + 0.72);
    svg.text(left, y - 9, line.label, "start", "key halo");
    svg.line(at(line.mean - line.half), y, at(line.mean + line.half), y, "line s0");
    if (line.ceiling) svg.circle(at(*line.ceiling), y, 4.5, "hollow s1");
    svg.circle(at(line.mean), y, 3.5, "mark s0");
  }
  figure.rows.push_back({svg.finish()});
  return figure;
}

Figure sharding_figure(const StudyView& view) {
  Figure figure{.name = "sharding",
                .title = "Figures 2 and 3: one network on shard 0 of S shards",
                .caption =
                    "Top-1 in evaluation mode after each epoch: train is the shard's own samples. Bands: 95 % interval "
                    "over seeds, where there are several.",
                .missing = missing_in(view, {"shards-2", "shards-4", "shards-10", "shards-4-more"}, has_curve)};
  std::vector<std::string> row;
  for (const auto& [title, field] :
       {std::pair{"Train accuracy", &CurvePoint::train_top1}, std::pair{"Test accuracy", &CurvePoint::test_top1}}) {
    Plot plot = new_plot(title, whole_axis("epoch", 0), percent_axis("top-1 (%)"));
    std::vector<std::string> said;
    int style = 0;
    for (const char* name : {"shards-2", "shards-4", "shards-10"}) {
      const Group* group = view.find(name);
      if (group != nullptr && !group->records.front()->curve.empty()) {
        PlotSeries series = curve_series(*group, field, false);
        series.label = fmt::format("S = {}", group->experiment().config.shards);
        series.style = style;
        said.push_back(fmt::format("{} ends at {}", series.label, percent(series.y.back())));
        plot.series.push_back(std::move(series));
      }
      ++style;
    }
    if (plot.series.empty()) continue;
    plot.description = fmt::format("{} over epochs: {}.", title, fmt::join(said, ", "));
    row.push_back(plot.svg());
  }
  if (!row.empty()) figure.rows.push_back(row);
  const Group* more = view.find("shards-4-more");
  if (more != nullptr && !more->records.front()->curve.empty()) {
    Plot plot = new_plot("S = 4: 100 more epochs, cosine", whole_axis("epoch", {}), percent_axis("top-1 (%)"));
    PlotSeries train = curve_series(*more, &CurvePoint::train_top1, false),
               test = curve_series(*more, &CurvePoint::test_top1, false);
    train.label = "train", test.label = "test";
    train.style = 3, test.style = 1;
    plot.description =
        fmt::format("Train accuracy ends at {}, test accuracy at {}.", percent(train.y.back()), percent(test.y.back()));
    plot.series = {train, test};
    figure.rows.push_back({plot.svg()});
  }
  return figure;
}

Figure transfer_figure(const StudyView& view) {
  Figure figure{.name = "transfer",
                .title = "Figure 4: shard 0 from scratch and with transfer",
                .caption = "Test top-1 of shard 0's network after each of its stages.",
                .missing = missing_in(view, {"sisa", "transfer"}, has_curve)};
  Plot plot = new_plot("Shard 0 after each stage", {}, percent_axis("test top-1 (%)"));
  double most = 0;
  std::vector<std::string> said;
  int style = 0;
  for (const auto& [name, label] : {std::pair{"transfer", "transfer"}, std::pair{"sisa", "scratch"}}) {
    const Group* group = view.find(name);
    if (group != nullptr && !group->records.front()->curve.empty()) {
      PlotSeries series = curve_series(*group, &CurvePoint::test_top1, true);
      series.label = label;
      series.style = style;
      series.drawn = PlotSeries::Drawn::line_and_markers;
      most = std::max(most, series.x.back());
      said.push_back(fmt::format("{} ends at {}", label, percent(series.y.back())));
      plot.series.push_back(std::move(series));
    }
    ++style;
  }
  if (plot.series.empty()) return figure;
  plot.x = passes_axis(most);
  plot.description = fmt::format("Test accuracy over sample passes: {}.", fmt::join(said, ", "));
  figure.rows.push_back({plot.svg()});
  return figure;
}

namespace {

std::string request_panel(const Group& group, const RequestMap& map) {
  std::size_t slices = 0;
  for (const RequestMap::Shard& shard : map.shards) slices = std::max(slices, shard.samples.size());
  if (slices == 0) return {};
  constexpr double left = 62, top = 62, row = 42;
  const double column = (width - left - 10) / static_cast<double>(slices),
               bar = std::min(std::max(column - 14, 0.4 * column), 54.0);
  const double bottom = top + row * static_cast<double>(map.shards.size());
  int trained = 0, skipped = 0, touched = 0;
  for (const RequestMap::Shard& shard : map.shards) {
    trained += static_cast<int>(shard.trained.size());
    skipped += static_cast<int>(shard.skipped.size());
    touched += shard.first_stage > 0;
  }
  Svg svg(width, bottom + 46, fmt::format("What the request touched: {}", group.label()),
          fmt::format("{} of {} shards hold forgotten samples; {} stages were made again, {} skipped.", touched,
                      map.shards.size(), trained, skipped));
  svg.text(10, 15, group.label(), "start", "title");
  svg.text(left, 36, "slice", "start", "tick");
  for (std::size_t slice = 0; slice < slices; ++slice) {
    svg.text(left + column * static_cast<double>(slice) + bar / 2, 54, std::to_string(slice + 1), "middle", "tick");
  }
  for (std::size_t i = 0; i < map.shards.size(); ++i) {
    const RequestMap::Shard& shard = map.shards[i];
    const double y = top + row * static_cast<double>(i), height = row - 14;
    svg.text(10, y + height / 2 + 4, fmt::format("shard {}", i), "start", "tick");
    for (std::size_t slice = 0; slice < shard.samples.size(); ++slice) {
      const double x = left + column * static_cast<double>(slice);
      const double share =
          shard.samples[slice] > 0 ? static_cast<double>(shard.forgotten[slice]) / shard.samples[slice] : 0;
      svg.rectangle(x, y, bar, height, "cell");
      if (share > 0) {
        // Of a slice with little forgotten a sliver stays visible.
        const double filled = std::max(share * height, 1.5);
        svg.rectangle(x, y + height - filled, bar, filled, "forgotten");
      }
      const int stage = static_cast<int>(slice) + 1;
      const double at = x + bar + (column - bar) / 2, middle = y + height / 2;
      if (std::ranges::find(shard.trained, stage) != shard.trained.end()) {
        svg.marker(3, at, middle, "s0");
      } else if (std::ranges::find(shard.skipped, stage) != shard.skipped.end()) {
        svg.marker(4, at, middle, "s1");
      } else {
        svg.circle(at, middle, 3.2, "hollow neutral");
      }
    }
  }
  const double y = bottom + 8;
  svg.rectangle(10, y, 12, 12, "cell");
  svg.rectangle(10, y + 5, 12, 7, "forgotten");
  svg.text(28, y + 10, "forgotten share of a slice", "start", "key");
  svg.text(10, y + 32, "checkpoint:", "start", "key");
  svg.circle(94, y + 28, 3.2, "hollow neutral");
  svg.text(103, y + 32, "kept", "start", "key");
  svg.marker(3, 150, y + 28, "s0");
  svg.text(160, y + 32, "made again", "start", "key");
  svg.marker(4, 248, y + 28, "s1");
  svg.text(258, y + 32, "skipped", "start", "key");
  return svg.finish();
}

}  // namespace

Figure request_figure(const StudyView& view) {
  Figure figure{.name = "request",
                .title = "Figure 1: what a request touched",
                .caption =
                    "Each slice with its forgotten share; behind it the checkpoint after its stage. From the first "
                    "stage that had seen a forgotten sample on, a shard's stages are made again; one whose newest "
                    "slice is wholly forgotten adds nothing and is skipped."};
  std::vector<std::string> row;
  for (const Group& group : view.groups()) {
    const auto& map = group.records.front()->map;
    if (!map || !(group.name() == "sisa-unlearned" || group.name() == "transfer-unlearned" ||
                  group.name().starts_with("shape-")))
      continue;
    // The transfer run is asked the same: one of the two says it.
    if (group.name() == "transfer-unlearned" && view.find("sisa-unlearned") != nullptr) continue;
    if (std::string panel = request_panel(group, *map); !panel.empty()) row.push_back(std::move(panel));
  }
  if (row.empty()) {
    figure.missing = "Not in this preset: an unlearned SISA run.";
  } else {
    figure.rows.push_back(row);
  }
  return figure;
}

Figure losses_figure(const StudyView& view) {
  Figure figure{
      .name = "losses",
      .title = "Losses of F and of the test set",
      .caption =
          "Share of the samples in each bin of the cross-entropy loss; one scale for all. The attack separates the two "
          "distributions where they differ; the outermost bins take all beyond. Of several seeds: the first."};
  const auto shares = [](const std::vector<std::int64_t>& counts) {
    double sum = 0;
    for (const std::int64_t count : counts) sum += static_cast<double>(count);
    std::vector<double> result;
    result.reserve(counts.size());
    for (const std::int64_t count : counts) result.push_back(sum > 0 ? static_cast<double>(count) / sum : 0);
    return result;
  };
  std::vector<std::vector<std::pair<std::string, const Record*>>> records;  // with their titles
  std::vector<std::string> missing;
  double most = 0, low = 1, high = 1;
  for (const Family& family : families()) {
    auto& row = records.emplace_back();
    for (const auto& [name, label] : family.members) {
      const Group* group = view.find(name);
      if (group == nullptr || group->records.front()->losses.edges.size() < 2) {
        missing.emplace_back(name);
        continue;
      }
      row.emplace_back(fmt::format("{}: {}", family.title, label), group->records.front());
      const LossView& losses = row.back().second->losses;
      for (const auto* counts : {&losses.forget, &losses.test}) {
        for (const double share : shares(*counts)) most = std::max(most, share);
      }
      low = std::min(low, losses.edges.front());
      high = std::max(high, losses.edges.back());
    }
  }
  for (const auto& members : records) {
    std::vector<std::string> row;
    for (const auto& [title, record] : members) {
      const LossView& losses = record->losses;
      Plot plot = new_plot(title, log_axis("loss (nats)", low, high), percent_axis("samples (%)"));
      plot.description = fmt::format("Histograms of the loss of F and of the test set: {}.", title);
      plot.y.high = most;
      plot.legend = true;
      plot.width = 300;
      plot.height = 210;
      plot.series.push_back({.label = "F", .style = 0, .x = losses.edges, .y = shares(losses.forget)});
      plot.series.back().drawn = PlotSeries::Drawn::filled_steps;
      plot.series.push_back({.label = "test", .style = 1, .x = losses.edges, .y = shares(losses.test)});
      plot.series.back().drawn = PlotSeries::Drawn::steps;
      row.push_back(plot.svg());
    }
    if (!row.empty()) figure.rows.push_back(row);
  }
  if (figure.rows.empty()) {
    figure.missing = "Not in this preset: losses.";
  } else if (!missing.empty()) {
    figure.missing = fmt::format("Not in this preset: {}.", fmt::join(missing, ", "));
  }
  return figure;
}

Figure roc_figure(const StudyView& view) {
  Figure figure{
      .name = "roc",
      .title = "ROC of the attack",
      .caption =
          "A sample counts as a member where its loss is below a threshold. Dotted in grey: chance. The left end shows "
          "how many members are recognised when next to no other picture is taken for one. Of several seeds: the "
          "first."};
  std::vector<std::string> missing, row;
  double low = 1;
  for (const Family& family : families()) {
    for (const auto& [name, label] : family.members) {
      if (const Group* group = view.find(name); group != nullptr) {
        for (const double fpr : group->records.front()->losses.fpr) {
          if (fpr > 0) low = std::min(low, fpr);
        }
      }
    }
  }
  low = std::clamp(std::pow(10, std::floor(std::log10(low) + 1e-9)), 1e-5, 0.1);
  for (const Family& family : families()) {
    Plot plot = new_plot(family.title, log_axis("false positive rate", low, 1), log_axis("true positive rate", low, 1));
    plot.description = fmt::format("ROC curves of the attack, {}.", family.title);
    plot.chance = true;
    plot.legend = true;
    plot.height = 300;
    int style = 0;
    for (const auto& [name, label] : family.members) {
      const Group* group = view.find(name);
      if (group == nullptr || group->records.front()->losses.fpr.empty()) {
        missing.emplace_back(name);
      } else {
        const LossView& losses = group->records.front()->losses;
        const auto area = auc()(*group->records.front());
        plot.series.push_back({.label = area ? fmt::format("{}, AUC {:.3f}", label, *area) : std::string(label),
                               .style = style,
                               .x = losses.fpr,
                               .y = losses.tpr});
      }
      ++style;
    }
    if (!plot.series.empty()) row.push_back(plot.svg());
  }
  if (!row.empty()) figure.rows.push_back(row);
  if (row.empty()) {
    figure.missing = "Not in this preset: losses.";
  } else if (!missing.empty()) {
    figure.missing = fmt::format("Not in this preset: {}.", fmt::join(missing, ", "));
  }
  return figure;
}

Figure exposure_figure(const StudyView& view) {
  Figure figure{.name = "exposure",
                .title = "Accuracy by exposure",
                .caption =
                    "Top-1 on slice t of every shard, by that shard's own network: slice 1 is trained on in every "
                    "stage, the last in one alone. Dotted: the shards' mean test accuracy, the level of what was never "
                    "seen.",
                .missing = {}};
  std::vector<std::string> missing, row;
  for (std::size_t i = 2; i < families().size(); ++i) {
    const Family& family = families()[i];
    Plot plot = new_plot(family.title, whole_axis("slice", {}), percent_axis("top-1 (%)"));
    std::vector<std::string> said;
    for (std::size_t m = 0; m < 2; ++m) {
      const auto& [name, label] = family.members[m];
      const Group* group = view.find(name);
      if (group == nullptr || group->records.front()->slices.empty()) {
        missing.emplace_back(name);
        continue;
      }
      PlotSeries series{.label = label, .style = static_cast<int>(m), .drawn = PlotSeries::Drawn::line_and_markers};
      for (std::size_t slice = 0; slice < group->records.front()->slices.size(); ++slice) {
        const auto at = estimate(group, [&](const Record& record) {
          return slice < record.slices.size() ? std::optional(record.slices[slice].top1) : std::nullopt;
        });
        if (!at) continue;
        series.x.push_back(static_cast<double>(slice + 1));
        series.y.push_back(at->mean);
        if (at->half_width) {
          series.low.push_back(at->mean - *at->half_width);
          series.high.push_back(at->mean + *at->half_width);
        }
      }
      if (series.low.size() != series.y.size()) series.low.clear(), series.high.clear();
      if (series.y.empty()) continue;
      said.push_back(fmt::format("{} from {} to {}", label, percent(series.y.front()), percent(series.y.back())));
      plot.series.push_back(std::move(series));
      if (const auto test = mean(group, shards_top1())) {
        plot.references.push_back({fmt::format("test, {}", label), *test, static_cast<int>(m)});
      }
    }
    if (plot.series.empty()) continue;
    plot.description = fmt::format("Top-1 by slice: {}.", fmt::join(said, ", "));
    row.push_back(plot.svg());
  }
  if (!row.empty()) figure.rows.push_back(row);
  if (!missing.empty()) figure.missing = fmt::format("Not in this preset: {}.", fmt::join(missing, ", "));
  return figure;
}

Figure cost_figure(const StudyView& view) {
  Figure figure{.name = "cost",
                .title = "Cost of requests by the plan, and by formula",
                .caption =
                    "Markers: mean over random requests of the plan that unlearning carries out. Lines: the formulas, "
                    "(1/R)·Σ_m Σ_(t≥m) e_t·n_t sample passes for one sample, and S·(1 − (1 − 1/S)^K) shards touched by "
                    "K."};
  const std::vector<CostEstimate>& costs = view.study().costs;
  if (costs.empty()) {
    figure.missing = "Not in this preset: costs by the plan.";
    return figure;
  }
  std::set<int> shards;
  for (const CostEstimate& cost : costs) shards.insert(cost.shards);
  Plot slices_plot =
      new_plot("One sample forgotten", whole_axis("slices R", 0), percent_axis("of the training's passes (%)"));
  slices_plot.description =
      "Sample passes of a request for one sample, as a share of training, over slices, for each number of shards.";
  Plot shards_plot = new_plot("Shards touched by K samples in one request", log_axis("samples K", {}, {}),
                              percent_axis("of the shards (%)"));
  shards_plot.description = "Share of the shards touched over the number of samples, for each number of shards.";
  shards_plot.y.high = 1;
  shards_plot.legend = true;
  int style = 0;
  for (const int s : shards) {
    if (style > 5) break;
    PlotSeries measured{.style = style, .drawn = PlotSeries::Drawn::markers};
    PlotSeries formula{.label = fmt::format("S = {}", s), .style = style};
    std::map<int, const CostEstimate*> by_slices, by_requests;
    for (const CostEstimate& cost : costs) {
      if (cost.shards != s || cost.training_passes == 0) continue;
      if (cost.requests == 1) by_slices[cost.slices] = &cost;
      by_requests[cost.requests] = &cost;
    }
    for (const auto& [slices, cost] : by_slices) {
      const auto training = static_cast<double>(cost->training_passes);
      measured.x.push_back(slices);
      measured.y.push_back(cost->request_passes / training);
      if (cost->formula_passes) {
        formula.x.push_back(slices);
        formula.y.push_back(*cost->formula_passes / training);
      }
    }
    if (!measured.y.empty()) {
      slices_plot.series.push_back(formula);
      slices_plot.series.push_back(measured);
    }
    if (s > 1 && by_requests.size() > 1) {
      PlotSeries points{.style = style, .drawn = PlotSeries::Drawn::markers};
      PlotSeries curve{.label = fmt::format("S = {}", s), .style = style};
      for (const auto& [requests, cost] : by_requests) {
        points.x.push_back(requests);
        points.y.push_back(cost->shards_touched / s);
      }
      const double last = by_requests.rbegin()->first;
      constexpr int steps = 60;
      for (int i = 0; i <= steps; ++i) {
        const double k = std::pow(last, static_cast<double>(i) / steps);
        curve.x.push_back(k);
        curve.y.push_back(1 - std::pow(1 - 1.0 / s, k));
      }
      shards_plot.series.push_back(curve);
      shards_plot.series.push_back(points);
    }
    ++style;
  }
  std::vector<std::string> row;
  for (const Plot* plot : {&slices_plot, &shards_plot}) {
    if (!plot->series.empty()) row.push_back(plot->svg());
  }
  if (!row.empty()) figure.rows.push_back(row);
  return figure;
}

}  // namespace nepenthe
