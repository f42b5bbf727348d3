#include "unlearning/study/report/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <variant>

#include "unlearning/study/report/claims.h"
#include "unlearning/study/report/figures.h"
#include "unlearning/study/report/style.h"
#include "unlearning/study/report/tables.h"
#include "unlearning/study/report/view.h"

namespace nepenthe {
namespace {

/// The report's parts in their order; each form writes them its own way.
struct Section {
  std::string id, title;
  std::vector<std::variant<std::string, Table, Figure>> blocks;  // a text is a paragraph
};

constexpr const char* title = "Machine unlearning of image classifiers";

/// How many files an unlearned run shares with the one retrained without F, byte for byte; empty where there are not
/// both.
std::string same_bytes(const StudyView& view) {
  std::size_t same = 0, files = 0;
  for (const char* run : {"sisa", "transfer"}) {
    const Group* unlearned = view.find(fmt::format("{}-unlearned", run));
    const Group* retrained = view.find(fmt::format("{}-retrained", run));
    if (unlearned == nullptr || retrained == nullptr) continue;
    for (const Record* record : unlearned->records) {
      const auto other = std::ranges::find(retrained->records, record->seeds, &Record::seeds);
      if (other == retrained->records.end()) continue;
      for (const auto& [file, digest] : record->digests) {
        const auto its = (*other)->digests.find(file);
        ++files;
        same += its != (*other)->digests.end() && its->second == digest ? 1 : 0;
      }
    }
  }
  if (files == 0) return "";
  return fmt::format(
      " {} of {} files of the run that SISA unlearned have the very bytes of the run retrained without F.", same,
      files);
}

/// What unlearning left, in one sentence out of the records: of the best run that unlearned, beside fine-tuning.
std::string finding(const StudyView& view) {
  const auto first_of = [&](std::initializer_list<std::pair<const char*, const char*>> pairs) {
    for (const auto& [after, before] : pairs) {
      if (view.find(after) != nullptr) return std::pair(view.find(after), view.find(before));
    }
    return std::pair<const Group*, const Group*>();
  };
  const auto left = [&](const Group& group, const Group* before) {
    std::string text = fmt::format("{} top-1 on the test set", percent(mean(&group, top1("test"))));
    if (before != nullptr) text += fmt::format(" ({} before)", percent(mean(before, top1("test"))));
    if (const auto attack = mean(&group, mia())) {
      text += fmt::format(" and an attack of {:.3f}", *attack);
      if (const auto ceiling = mean(view.ceiling(group), mia())) text += fmt::format(" ({:.3f} without F)", *ceiling);
    }
    return text;
  };
  const auto [run, run_before] = first_of({{"transfer-unlearned", "transfer"}, {"sisa-unlearned", "sisa"}});
  const auto [tuned, tuned_before] = first_of({{"finetuned", "baseline"}, {"finetuned-resnet56", "weights-resnet56"}});
  if (run == nullptr && tuned == nullptr) return "Nothing was unlearned in this study.";
  std::string text;
  if (run != nullptr) {
    text = fmt::format("Unlearning by {} leaves {}", run->name() == "sisa-unlearned" ? "SISA" : "SISA with transfer",
                       left(*run, run_before));
  }
  if (tuned != nullptr) {
    text += fmt::format("{} leaves {}", run != nullptr ? "; fine-tuning" : "Unlearning by fine-tuning",
                        left(*tuned, tuned_before));
  }
  return fmt::format("{}.{}", text, same_bytes(view));
}

std::string what_was_done(const StudyRecord& study) {
  std::int64_t forgotten = 0;
  for (const Record& record : study.records) forgotten = std::max(forgotten, record.forgotten);
  return fmt::format(
      "Preset {}: {} rows on {} ({} training and {} test pictures of {} classes), by Nepenthe {} on {} in {}. "
      "Classifiers "
      "are made to forget a set F of up to {} of their training samples, by fine-tuning on the rest R and by SISA "
      "(sharded, isolated, sliced and aggregated training), and are attacked: can one tell from a sample's loss "
      "whether "
      "it was trained on?",
      study.preset, study.records.size(), study.data_name, grouped(study.samples), grouped(study.test_samples),
      study.classes, study.version, study.device, study.precision, grouped(forgotten));
}

constexpr const char* about_accuracy =
    "Accuracy is measured in evaluation mode on four sets: test; train, all of it; the forget set F; the retain set R. "
    "Every attack stands beside its ceiling, the same attack on a training that never saw F.";

constexpr const char* about_attack =
    "Membership inference by loss, the simple attack of the NeurIPS 2023 machine unlearning challenge's starting kit. "
    "Members are F, non-members the test set, both cut to the same number by a seeded shuffle. The one feature is a "
    "sample's cross-entropy loss, in evaluation mode and without augmentation. A logistic regression (L2 penalty, C = "
    "1, intercept unpenalised, in double precision, fitted to convergence) is scored under ten stratified shuffle "
    "splits that hold out a tenth; MIA is the mean of the ten accuracies, and 0.5 means that F cannot be told from "
    "pictures never seen. Its standard error is s/√10. The seed of the splits alone moves it by about 0.003.";

constexpr const char* beside_attack =
    "Beside it: the area under the ROC curve with score = −loss and ties counted half, with a 95 % percentile "
    "bootstrap over the samples; and the true positive rate at a false positive rate of at most 0.1 % and 1 %, which "
    "shows the few samples that are recognised with confidence where averages do not.";

constexpr const char* about_sisa =
    "A shard's network is trained in stages, each on one more slice. To forget, it goes back to the checkpoint before "
    "the first slice that holds a forgotten sample, and makes the stages behind it again without those samples: "
    "exactly the network of a training that never saw them.";

constexpr const char* about_costs =
    "Shards and slices decide how much of the training a request makes again; measured by the plan that unlearning "
    "carries out, and by the formulas of the SISA paper (Bourtoule et al., 2021).";

std::vector<Section> sections(const StudyView& view) {
  return {{"methods",
           "Methods side by side",
           {about_accuracy, accuracy_table(view), attack_table(view), attack_figure(view), cost_table(view)}},
          {"attack", "The attack", {about_attack, beside_attack, losses_figure(view), roc_figure(view)}},
          {"fine-tuning",
           "Unlearning by fine-tuning",
           {"The network is trained on, with R alone, in the hope that it forgets F. Nothing pushes F out.",
            published_fine_tuning_table(view)}},
          {"sharding", "What sharding costs", {sharding_table(view), sharding_figure(view)}},
          {"transfer",
           "Transfer",
           {"Each shard's network starts from weights trained on other data, which hold nothing of F.",
            transfer_figure(view), published_transfer_table(view)}},
          {"sisa",
           "SISA: shards, ensemble and request",
           {about_sisa, aggregation_table(view), shards_attack_table(view), own_attack_table(view),
            request_figure(view), exposure_figure(view)}},
          {"shapes", "Shapes of the forget set", {shapes_table(view)}},
          {"costs",
           "What requests cost",
           {about_costs, sweep_table(view), cost_figure(view), formulas_table(view), planner_table(view)}}};
}

const char* css_class(Verdict verdict) {
  switch (verdict) {
    case Verdict::holds: return "holds";
    case Verdict::in_part: return "in-part";
    case Verdict::does_not_hold: return "does-not-hold";
    case Verdict::not_tested: return "not-tested";
  }
  return "";
}

std::string claims_html(const std::vector<Claim>& claims) {
  std::string html;
  for (const Claim& claim : claims) {
    html += fmt::format(
        "<article class=\"claim\" id=\"claim-{}\">\n<h3>({}) <span class=\"verdict {}\">{}</span></h3>\n<p>{} <span "
        "class=\"note\">({})</span></p>\n<ul class=\"parts\">\n",
        claim.letter, claim.letter, css_class(claim.verdict()), name(claim.verdict()), html_escaped(claim.claim),
        html_escaped(claim.section));
    for (const ClaimPart& part : claim.parts) {
      html += fmt::format("<li class=\"{}\">{}: <span class=\"figures\">{}</span></li>\n",
                          !part.holds   ? "open"
                          : *part.holds ? "yes"
                                        : "no",
                          html_escaped(part.statement), html_escaped(part.figures));
    }
    html += "</ul>\n";
    if (!claim.difference.empty()) html += fmt::format("<p>{}</p>\n", html_escaped(claim.difference));
    html += "</article>\n";
  }
  return html;
}

std::vector<std::pair<std::string, std::string>> configuration(const StudyRecord& study) {
  std::vector<std::pair<std::string, std::string>> entries{
      {"Preset", study.preset},
      {"Command", study.command},
      {"Version", study.version},
      {"Device", fmt::format("{}, {}", study.device, study.precision)},
      {"Libraries", study.libraries},
      {"Data", study.data_name},
      {"SHA-256 of the training data", study.train_digest},
      {"SHA-256 of the test data", study.test_digest}};
  if (study.samples_per_second > 0) {
    entries.emplace_back("Rate of training",
                         fmt::format("{:.0f} samples/s, {}", study.samples_per_second, study.rate_model));
  }
  return entries;
}

std::string details_html(const StudyRecord& study) {
  std::string html;
  for (const Record& record : study.records) {
    html += fmt::format("<details>\n<summary>{} <code>{}</code></summary>\n", html_escaped(record.experiment.title),
                        html_escaped(record.row));
    if (!record.experiment.remark.empty()) html += fmt::format("<p>{}</p>\n", html_escaped(record.experiment.remark));
    html +=
        fmt::format("<p>Seeds: training {}, unlearning {}, evaluation {}. Key <code class=\"digest\">{}</code></p>\n",
                    record.seeds.training, record.seeds.unlearning, record.seeds.evaluation, html_escaped(record.key));
    if (!record.commands.empty()) {
      html += fmt::format("<div class=\"scroll\" tabindex=\"0\"><pre>{}</pre></div>\n",
                          html_escaped(fmt::format("{}", fmt::join(record.commands, "\n"))));
    }
    if (!record.digests.empty()) {
      std::string lines;
      for (const auto& [file, digest] : record.digests) lines += fmt::format("{}  {}\n", digest, file);
      html +=
          fmt::format("<p>SHA-256 of what was made:</p>\n<div class=\"scroll\" tabindex=\"0\"><pre>{}</pre></div>\n",
                      html_escaped(lines));
    }
    html += "</details>\n";
  }
  return html;
}

std::string page(const StudyView& view, const std::vector<Section>& sections, const std::vector<Claim>& claims) {
  const StudyRecord& study = view.study();
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" "
      "content=\"width=device-width, "
      "initial-scale=1\"/>\n<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{}</h1>\n",
      title, page_style, title);
  html += fmt::format("<p class=\"lead\">{}</p>\n<p>{}</p>\n</header>\n", html_escaped(finding(view)),
                      html_escaped(what_was_done(study)));
  html += "<nav aria-label=\"Contents\">\n<ol>\n";
  for (const Section& section : sections)
    html += fmt::format("<li><a href=\"#{}\">{}</a></li>\n", section.id, html_escaped(section.title));
  html +=
      "<li><a href=\"#claims\">The source report's claims</a></li>\n<li><a "
      "href=\"#configuration\">Configuration</a></li>\n<li><a href=\"#rows\">Rows</a></li>\n</ol>\n</nav>\n";
  for (const Section& section : sections) {
    html += fmt::format("<section id=\"{}\">\n<h2>{}</h2>\n", section.id, html_escaped(section.title));
    for (const auto& block : section.blocks) {
      if (const auto* text = std::get_if<std::string>(&block)) html += fmt::format("<p>{}</p>\n", html_escaped(*text));
      if (const auto* table = std::get_if<Table>(&block)) html += table->html();
      if (const auto* figure = std::get_if<Figure>(&block)) html += figure->html();
    }
    html += "</section>\n";
  }
  html += fmt::format(
      "<section id=\"claims\">\n<h2>The source report&#39;s claims</h2>\n<p>Leung &amp; Wang, “Machine Unlearning of "
      "Pre-trained Model on CIFAR-100”, in our words. Each is cut into statements that a rule decides; the claim holds "
      "where all of them are tested and hold.</p>\n{}</section>\n",
      claims_html(claims));
  html += "<section id=\"configuration\">\n<h2>Configuration</h2>\n<dl>\n";
  for (const auto& [what, value] : configuration(study)) {
    if (!value.empty()) html += fmt::format("<dt>{}</dt><dd>{}</dd>\n", html_escaped(what), html_escaped(value));
  }
  html += fmt::format(
      "</dl>\n{}</section>\n<section id=\"rows\">\n<h2>Rows</h2>\n<p>What makes and examines each of them by hand, in "
      "order.</p>\n{}</section>\n",
      rows_table(view).html(), details_html(study));
  html +=
      "</main>\n<script>addEventListener('beforeprint', () => document.querySelectorAll('details').forEach(d => d.open "
      "= true));</script>\n</body>\n</html>\n";
  return html;
}

std::string markdown(const StudyView& view, const std::vector<Section>& sections, const std::vector<Claim>& claims) {
  const StudyRecord& study = view.study();
  std::string text =
      fmt::format("# {}\n\n{}\n\n{}\n", title, markdown_escaped(finding(view)), markdown_escaped(what_was_done(study)));
  for (const Section& section : sections) {
    text += fmt::format("\n## {}\n", section.title);
    for (const auto& block : section.blocks) {
      if (const auto* paragraph = std::get_if<std::string>(&block))
        text += fmt::format("\n{}\n", markdown_escaped(*paragraph));
      if (const auto* table = std::get_if<Table>(&block))
        text += fmt::format("\n### {}\n\n{}", markdown_escaped(table->title), table->markdown());
      if (const auto* figure = std::get_if<Figure>(&block)) {
        text += fmt::format("\n{}\n", figure->rows.empty()
                                          ? fmt::format("{}: {}", figure->title, figure->missing)
                                          : fmt::format("[{}](report.html#figure-{})", figure->title, figure->name));
      }
    }
  }
  text += "\n## The source report's claims\n";
  for (const Claim& claim : claims) {
    text += fmt::format("\n### ({}) {}\n\n{} ({})\n\n", claim.letter, name(claim.verdict()),
                        markdown_escaped(claim.claim), claim.section);
    for (const ClaimPart& part : claim.parts) {
      text += fmt::format("- {}: {} ({})\n", markdown_escaped(part.statement), markdown_escaped(part.figures),
                          !part.holds   ? "not tested"
                          : *part.holds ? "yes"
                                        : "no");
    }
    if (!claim.difference.empty()) text += fmt::format("\n{}\n", markdown_escaped(claim.difference));
  }
  text += "\n## Configuration\n\n";
  for (const auto& [what, value] : configuration(study)) {
    if (!value.empty()) text += fmt::format("- {}: {}\n", what, markdown_escaped(value));
  }
  text += fmt::format("\n## Rows\n\n{}", rows_table(view).markdown());
  for (const Record& record : study.records) {
    if (!record.commands.empty())
      text += fmt::format("\n`{}`\n\n```sh\n{}\n```\n", record.row, fmt::join(record.commands, "\n"));
  }
  return text;
}

}  // namespace

std::vector<ReportFile> study_report(const StudyRecord& study) {
  const StudyView view(study);
  const std::vector<Section> parts = sections(view);
  const std::vector<Claim> decided = claims(view);
  std::vector<ReportFile> files{{"report.html", page(view, parts, decided)},
                                {"report.md", markdown(view, parts, decided)}};
  const auto add = [&](const Table& table) {
    files.push_back({fmt::format("tables/{}.csv", table.name), table.csv()});
  };
  for (const Section& section : parts) {
    for (const auto& block : section.blocks) {
      if (const auto* table = std::get_if<Table>(&block)) add(*table);
    }
  }
  add(claims_table(decided));
  add(records_table(view));
  return files;
}

std::string study_summary(const StudyRecord& study) {
  const StudyView view(study);
  const Table table = overview_table(view);
  std::string text = fmt::format("{}\n\n{}\nThe source report's claims\n\n", finding(view), table.text());
  for (const Claim& claim : claims(view))
    text += fmt::format("({}) {}: {}\n", claim.letter, name(claim.verdict()), claim.claim);
  return text;
}

}  // namespace nepenthe
