#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sample_study.h"
#include "unlearning/study/report/claims.h"
#include "unlearning/study/report/estimate.h"
#include "unlearning/study/report/figures.h"
#include "unlearning/study/report/plot.h"
#include "unlearning/study/report/report.h"
#include "unlearning/study/report/tables.h"

using namespace nepenthe;

namespace {

/// RFC 4180, back into fields.
std::vector<std::vector<std::string>> parsed_csv(const std::string& text) {
  std::vector<std::vector<std::string>> lines{{""}};
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
      lines.back().back() += text[++i];
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && c == ',') {
      lines.back().emplace_back();
    } else if (!quoted && c == '\n') {
      lines.push_back({""});
    } else {
      lines.back().back() += c;
    }
  }
  lines.pop_back();
  return lines;
}

/// Lines by their first field, fields by the column's name.
std::map<std::string, std::map<std::string, std::string>> by_row(const Table& table) {
  const auto lines = parsed_csv(table.csv());
  std::map<std::string, std::map<std::string, std::string>> rows;
  for (std::size_t line = 1; line < lines.size(); ++line) {
    REQUIRE(lines[line].size() == lines[0].size());
    for (std::size_t i = 0; i < lines[0].size(); ++i) rows[lines[line][0]][lines[0][i]] = lines[line][i];
  }
  return rows;
}

/// What is wrong with an HTML text whose every element is closed, as ours are; empty where nothing is.
std::string wrong_markup(const std::string& html) {
  std::vector<std::string> open;
  std::map<std::string, int> ids;
  std::size_t at = 0;
  while ((at = html.find('<', at)) != std::string::npos) {
    if (html.compare(at, 9, "<!DOCTYPE") == 0) {
      at = html.find('>', at);
      continue;
    }
    std::size_t end = at + 1;
    for (bool quoted = false; end < html.size() && (quoted || html[end] != '>'); ++end) {
      if (html[end] == '"') quoted = !quoted;
      if (!quoted && html[end] == '<') return "< within " + html.substr(at, 60);
    }
    if (end >= html.size()) return "not ended: " + html.substr(at, 60);
    const std::string tag = html.substr(at + 1, end - at - 1);
    const std::string name = tag.substr(0, tag.find_first_of(" /\n", 1));
    if (const auto id = tag.find(" id=\""); id != std::string::npos) {
      if (++ids[tag.substr(id + 5, tag.find('"', id + 5) - id - 5)] > 1) return "twice: " + tag;
    }
    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return "closes what is not open: " + tag;
      open.pop_back();
    } else if (!tag.ends_with('/')) {
      open.push_back(name);
      if (name == "style" || name == "script") end = html.find(name == "style" ? "</style" : "</script", end) - 1;
    }
    at = end + 1;
  }
  return open.empty() ? std::string() : "left open: " + open.back();
}

std::string file_of(const std::vector<ReportFile>& files, const std::string& name) {
  const auto found = std::ranges::find(files, name, &ReportFile::name);
  REQUIRE_MESSAGE(found != files.end(), name);
  return found->content;
}

Record& record_of(StudyRecord& study, const std::string& row) {
  const auto found = std::ranges::find(study.records, row, &Record::row);
  REQUIRE_MESSAGE(found != study.records.end(), row);
  return *found;
}

std::vector<Table> all_tables(const StudyView& view) {
  return {overview_table(view),
          accuracy_table(view),
          attack_table(view),
          cost_table(view),
          published_fine_tuning_table(view),
          published_transfer_table(view),
          aggregation_table(view),
          shards_attack_table(view),
          own_attack_table(view),
          sharding_table(view),
          shapes_table(view),
          sweep_table(view),
          formulas_table(view),
          planner_table(view),
          rows_table(view),
          records_table(view),
          claims_table(claims(view))};
}

std::vector<Figure> all_figures(const StudyView& view) {
  return {attack_figure(view), sharding_figure(view), transfer_figure(view), request_figure(view),
          losses_figure(view), roc_figure(view),      exposure_figure(view), cost_figure(view)};
}

const ClaimPart& part_of(const std::vector<Claim>& decided, char letter, std::size_t part) {
  return decided.at(static_cast<std::size_t>(letter - 'a')).parts.at(part);
}

}  // namespace

TEST_CASE("a table as text, Markdown, HTML and CSV") {
  Table table({{"", "", {"method"}}, {"test", "top-1", {"top1", "half"}}, {"test", "top-5", {"top5"}}, "time"});
  table.name = "example";
  table.title = "a < b & \"c\"";
  Cell noted("one, \"first\"");
  noted.note = "smaller | faster";
  table.add({noted, Cell("72.63 ± 0.40", {"0.7263", "0.004"}), Cell("91.9", {"0.919"}), "–"});
  table.add_rule();
  table.add({"<two>", "–", Cell("1", {"0.01"}), "3 s"});
  table.notes = {"A note."};
  CHECK(table.text() ==
        "                  test top-1  test top-5  time\n"
        "──────────────  ────────────  ──────────  ────\n"
        "one, \"first\" ¹  72.63 ± 0.40        91.9     –\n"
        "──────────────  ────────────  ──────────  ────\n"
        "<two>                      –           1   3 s\n"
        "¹ smaller | faster\n"
        "A note.\n");
  CHECK(table.csv() ==
        "method,top1,half,top5,time,remark\n"
        "\"one, \"\"first\"\"\",0.7263,0.004,0.919,,smaller | faster\n"
        "<two>,,,0.01,3 s,\n");
  CHECK(table.markdown() ==
        "|  | test top-1 | test top-5 | time |\n"
        "| :--- | ---: | ---: | ---: |\n"
        "| one, \"first\" ¹ | 72.63 ± 0.40 | 91.9 | – |\n"
        "| \\<two> | – | 1 | 3 s |\n"
        "\n¹ smaller \\| faster\n"
        "\nA note.\n");
  CHECK(wrong_markup(table.html()) == "");
  CHECK(table.html().find("a &lt; b &amp; &quot;c&quot;") != std::string::npos);
  CHECK(table.html().find("<th scope=\"row\">&lt;two&gt;</th>") != std::string::npos);
  CHECK(table.html().find("colspan=\"2\"") != std::string::npos);
}

TEST_CASE("Student's t, and means over seeds") {
  CHECK(student_t_quantile(1) == doctest::Approx(12.706205).epsilon(1e-7));
  CHECK(std::abs(student_t_quantile(11) - 2.200985) < 1e-5);
  CHECK(std::abs(student_t_quantile(20) - 2.085963) < 1e-5);
  CHECK(std::abs(student_t_quantile(100) - 1.983972) < 1e-5);
  CHECK(!estimate(std::vector<double>{}));
  CHECK(!estimate(std::vector<double>{std::nan("")}));
  CHECK(!estimate(std::vector{0.5})->half_width);
  // scipy.stats.t.interval(0.95, 2, 0.6, scipy.stats.sem([0.5, 0.6, 0.7]))
  const auto three = estimate(std::vector{0.5, 0.6, 0.7});
  CHECK(three->n == 3);
  CHECK(three->mean == doctest::Approx(0.6));
  CHECK(*three->half_width == doctest::Approx(0.248413771).epsilon(1e-6));
}

TEST_CASE("ticks are round and within the axis") {
  CHECK(linear_ticks(0, 1, 5) == std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1});
  CHECK(linear_ticks(0, 40, 6) == std::vector<double>{0, 10, 20, 30, 40});
  CHECK(linear_ticks(-7, 8, 3) == std::vector<double>{-5, 0, 5});
  CHECK(linear_ticks(1, 5, 6, true) == std::vector<double>{1, 2, 3, 4, 5});
  CHECK(linear_ticks(2, 2, 5) == std::vector<double>{2});
  CHECK(power_of_ten(-3) == "10⁻³");
  CHECK(power_of_ten(0) == "1");
  CHECK(power_of_ten(12) == "10¹²");
}

TEST_CASE("a study's JSON reads back") {
  const StudyRecord study = test::sample_study();
  const auto json = to_json(study);
  CHECK(to_json(study_from_json(json)) == json);
}

TEST_CASE("tables hold the numbers of the records") {
  const StudyRecord study = study_from_json(to_json(test::sample_study()));
  const StudyView view(study);
  const auto records = by_row(records_table(view));
  CHECK(records.size() == study.records.size());
  for (const Record& record : study.records) {
    const auto& row = records.at(record.row);
    for (const char* set : {"test", "train", "forget", "retain"}) {
      CHECK(std::stod(row.at(std::string(set) + "_top1")) == record.whole.sets.at(set).top1);
      CHECK(std::stod(row.at(std::string(set) + "_top5")) == record.whole.sets.at(set).top5);
    }
    const Mia& mia = *record.whole.attack.mia;
    CHECK(std::stod(row.at("mia")) == mia.mean);
    CHECK(std::stod(row.at("mia_standard_error")) == mia.standard_error);
    CHECK(std::stod(row.at("auc_high")) == mia.interval[1]);
    CHECK(std::stod(row.at("tpr_at_0.001")) == mia.tpr_at_fpr.at("0.001"));
    CHECK(std::stod(row.at("sample_passes")) == static_cast<double>(record.cost.sample_passes));
    CHECK(row.at("train_seconds").empty() != record.cost.train_seconds.has_value());
    CHECK(row.at("remark") == record.experiment.remark);
  }

  // One seed: the record's own; several: mean and half of the interval.
  const auto accuracy = by_row(accuracy_table(view)), attack = by_row(attack_table(view)),
             cost = by_row(cost_table(view));
  const Record& single = *view.find("transfer-unlearned")->records.front();
  CHECK(std::stod(accuracy.at("transfer-unlearned").at("test_top1")) == single.whole.sets.at("test").top1);
  CHECK(accuracy.at("transfer-unlearned").at("test_top1_half_width").empty());
  CHECK(accuracy.at("transfer-unlearned").at("remark") == "Pictures of 64 px, not 224; one seed.");
  CHECK(std::stod(attack.at("transfer-unlearned").at("mia_standard_error")) == single.whole.attack.mia->standard_error);
  CHECK(std::stod(attack.at("transfer-unlearned").at("mia_ceiling")) ==
        view.find("transfer-retrained")->records.front()->whole.attack.mia->mean);
  CHECK(std::stod(cost.at("transfer-unlearned").at("macs")) == static_cast<double>(single.cost.multiply_adds));
  CHECK(attack.at("golden").at("mia_ceiling").empty());
  const Group& three = *view.find("sisa-unlearned");
  CHECK(three.records.size() == 3);
  const auto top1_of_three = estimate(&three, top1("test"));
  CHECK(accuracy.at("sisa-unlearned").at("seeds") == "3");
  CHECK(std::stod(accuracy.at("sisa-unlearned").at("test_top1")) == top1_of_three->mean);
  CHECK(std::stod(accuracy.at("sisa-unlearned").at("test_top1_half_width")) == *top1_of_three->half_width);
  CHECK(attack.at("sisa-unlearned").at("mia_standard_error").empty());

  const auto shards = by_row(shards_attack_table(view)), own = by_row(own_attack_table(view));
  CHECK(std::stod(shards.at("transfer").at("mia_shard2")) ==
        view.find("transfer")->records.front()->shards[2].attack.mia->mean);
  CHECK(std::stod(own.at("transfer").at("mia_own_shard1")) ==
        view.find("transfer")->records.front()->shards[1].own.mia->mean);
  CHECK(own.at("transfer").count("mia_own_shard0") == 0);

  const auto fine_tuning = by_row(published_fine_tuning_table(view));
  CHECK(fine_tuning.at("ResNet32 before: published").at("test_top1") == "0.548");
  CHECK(fine_tuning.at("ResNet56 after: published").at("mia") == "0.514");
  CHECK(std::stod(fine_tuning.at("weights-resnet56").at("test_top1")) ==
        view.find("weights-resnet56")->records.front()->whole.sets.at("test").top1);
  const auto transfer = by_row(published_transfer_table(view));
  CHECK(transfer.at("ResNet34 before: published").at("mia_shard2") == "0.584");
  CHECK(std::stod(transfer.at("transfer").at("vote_top1")) ==
        view.find("transfer")->records.front()->vote->sets.at("test").top1);

  const auto shapes = by_row(shapes_table(view));
  CHECK(shapes.at("shape-clustered").at("shards_touched") == "2");
  CHECK(shapes.at("shape-clustered").at("stages_trained") == "3");
  CHECK(shapes.at("shape-random").at("stages_trained") == "20");
  CHECK(std::stod(shapes.at("shape-clustered").at("share_of_training")) == doctest::Approx(0.0875));
  const auto sweep = by_row(sweep_table(view));
  CHECK(sweep.size() == 8);
  CHECK(std::stod(sweep.at("sweep-s4-r5").at("sample_passes_unlearned")) == 240000);

  const auto formulas = parsed_csv(formulas_table(view).csv()), planner = parsed_csv(planner_table(view).csv());
  REQUIRE(formulas.size() == 17);
  REQUIRE(planner.size() == 17);
  const auto at = [](const std::vector<std::vector<std::string>>& lines, std::size_t line, const std::string& name) {
    return std::stod(lines[line][static_cast<std::size_t>(std::ranges::find(lines[0], name) - lines[0].begin())]);
  };
  std::size_t line = 0;
  for (const CostEstimate& estimated : study.costs) {  // in the tables' order, and K = 1, 10, 100 in turn
    if (estimated.requests == 1) ++line;
    const std::string k = std::to_string(estimated.requests);
    CHECK(at(formulas, line, "shards") == estimated.shards);
    CHECK(at(formulas, line, "slices") == estimated.slices);
    CHECK(at(formulas, line, "shards_touched_k" + k) == estimated.shards_touched);
    CHECK(at(formulas, line, "formula_shards_k" + k) == estimated.formula_shards);
    if (estimated.requests == 1) CHECK(at(formulas, line, "request_passes") == estimated.request_passes);
    if (estimated.requests == 1) CHECK(at(formulas, line, "formula_passes") == *estimated.formula_passes);
    CHECK(at(planner, line, "passes_k" + k) == estimated.request_passes);
    CHECK(at(planner, line, "seconds_k" + k) == estimated.request_passes / study.samples_per_second);
    CHECK(at(planner, line, "training_passes") == static_cast<double>(estimated.training_passes));
  }
}

TEST_CASE("sample passes of each shard") {
  RequestMap map;
  map.shards = {{.samples = {10, 10}, .forgotten = {0, 0}},
                {.samples = {10, 10}, .forgotten = {0, 3}, .first_stage = 2, .trained = {2}},
                {.samples = {10, 10}, .forgotten = {10, 0}, .first_stage = 1, .trained = {2}, .skipped = {1}}};
  CHECK(passes_by_shard(map, {5, 4}) == std::vector<std::int64_t>{0, 4 * 17, 4 * 10});
}

TEST_CASE("claims are decided by their rules") {
  StudyRecord study = test::sample_study();
  const auto decided = claims(StudyView(study));
  REQUIRE(decided.size() == 6);
  for (std::size_t i = 0; i < decided.size(); ++i) CHECK(decided[i].letter == static_cast<char>('a' + i));
  CHECK(decided[0].verdict() == Verdict::holds);  // the sample is made so
  CHECK(decided[1].verdict() == Verdict::does_not_hold);
  CHECK(!decided[1].difference.empty());
  CHECK(part_of(decided, 'c', 1).holds == std::nullopt);  // 40 epochs, and not yet 99 %
  CHECK(part_of(decided, 'c', 2).holds == true);
  CHECK(part_of(decided, 'c', 3).holds == true);
  CHECK(decided[2].verdict() == Verdict::in_part);
  CHECK(decided[3].verdict() == Verdict::not_tested);  // CIFAR-100
  CHECK(decided[4].verdict() == Verdict::holds);
  CHECK(part_of(decided, 'e', 0).figures.find("all shards at once") != std::string::npos);

  SUBCASE("the other way round") {
    for (Record& record : study.records) {
      if (record.experiment.name == "sisa-unlearned")
        record.whole.attack.mia->mean = 0.7, record.cost.train_seconds = 1e6;
      if (record.experiment.name == "finetuned-resnet56" || record.experiment.name == "finetuned")
        record.whole.sets.at("test").top1 = 0.9;
      if (record.experiment.name == "transfer") {
        for (Examined& shard : record.shards) {
          shard.attack.mia->mean = 0.6;
          if (shard.own.mia) shard.own.mia->mean = 0.6;
        }
      }
      if (record.experiment.name == "sisa") {
        for (Examined& shard : record.shards) {
          shard.attack.mia->mean = 0.55;
          if (shard.own.mia) shard.own.mia->mean = 0.7;
        }
      }
    }
    const auto turned = claims(StudyView(study));
    CHECK(part_of(turned, 'a', 3).holds == false);
    CHECK(turned[0].verdict() == Verdict::in_part);
    CHECK(turned[1].verdict() == Verdict::holds);
    CHECK(turned[1].difference.empty());
    CHECK(part_of(turned, 'e', 0).holds == false);
    CHECK(part_of(turned, 'f', 1).holds == false);
    CHECK(part_of(turned, 'f', 2).holds == true);
  }
  SUBCASE("CIFAR-10") {
    study.classes = 10;
    for (Record& record : study.records) {
      if (record.experiment.name == "baseline") record.whole.sets.at("forget").top1 = 0.995;
      if (record.experiment.name == "finetuned") record.whole.sets.at("forget").top1 = 0.9;
    }
    CHECK(claims(StudyView(study))[3].verdict() == Verdict::holds);
  }
  SUBCASE("where seconds are missing the work decides") {
    for (Record& record : study.records) record.cost.train_seconds.reset();
    const auto by_work = claims(StudyView(study));
    CHECK(by_work[4].verdict() == Verdict::holds);
    CHECK(part_of(by_work, 'e', 0).figures.find("MACs") != std::string::npos);
  }
}

TEST_CASE("every figure is there, and well formed") {
  const StudyRecord study = test::sample_study();
  const StudyView view(study);
  const std::map<std::string, std::size_t> panels{{"attack", 1},  {"sharding", 3}, {"transfer", 1}, {"request", 5},
                                                  {"losses", 11}, {"roc", 4},      {"exposure", 2}, {"cost", 2}};
  for (const Figure& figure : all_figures(view)) {
    CAPTURE(figure.name);
    std::vector<std::string> drawn;
    for (const auto& row : figure.rows) drawn.insert(drawn.end(), row.begin(), row.end());
    CHECK(drawn.size() == panels.at(figure.name));
    CHECK(figure.missing == "");
    for (const std::string& panel : drawn) {
      CHECK(panel.find("role=\"img\"") != std::string::npos);
      CHECK(panel.find("<title>") != std::string::npos);
      CHECK(panel.find("<desc>") != std::string::npos);
      CHECK(panel.find("nan") == std::string::npos);
      CHECK(panel.find("inf") == std::string::npos);
    }
    CHECK(wrong_markup(figure.html()) == "");
  }
}

TEST_CASE("a report of everything, and of next to nothing") {
  StudyRecord study = test::sample_study();
  bool everything = false;
  SUBCASE("everything") { everything = true; }
  SUBCASE("one row") {
    study.records.resize(1);
    study.costs.clear();
    study.samples_per_second = 0;
  }
  SUBCASE("no attack, no parts") {
    for (Record& record : study.records) {
      record.whole.attack = {.mia = {}, .reason = "3 members after cutting, 10 are needed"};
      record.shards.clear();
      record.slices.clear();
      record.curve.clear();
      record.map.reset();
      record.vote.reset();
      record.losses = {};
      record.whole.sets.erase("train");
    }
  }
  SUBCASE("nothing") { study = {}; }
  const StudyView view(study);
  for (const Table& table : all_tables(view)) {
    CAPTURE(table.name);
    CHECK(wrong_markup(table.html()) == "");
    CHECK((!table.empty() || !table.notes.empty() || study.records.empty()));
    for (const auto& line : parsed_csv(table.csv())) CHECK(line.size() == parsed_csv(table.csv())[0].size());
  }
  for (const Figure& figure : all_figures(view)) CHECK((!figure.rows.empty() || !figure.missing.empty()));
  const std::vector<ReportFile> files = study_report(study);
  const std::string page = file_of(files, "report.html");
  CHECK(wrong_markup(page) == "");
  CHECK(page.size() < 2'000'000);
  for (const char* name : {"attack", "sharding", "transfer", "request", "losses", "roc", "exposure", "cost"}) {
    CHECK(page.find(std::string("id=\"figure-") + name + "\"") != std::string::npos);
  }
  for (const char* outside : {"http://", "https://", "@import", "url(", "src="}) {
    CAPTURE(outside);
    std::string own = page;
    for (std::size_t at; (at = own.find("http://www.w3.org/2000/svg")) != std::string::npos;) own.erase(at, 26);
    CHECK(own.find(outside) == std::string::npos);
  }
  CHECK(file_of(files, "report.md").find("## Methods side by side") != std::string::npos);
  CHECK(file_of(files, "tables/records.csv").starts_with("row,experiment,"));
  CHECK(study_summary(study).find("(f) ") != std::string::npos);
  // For tests/commands/report_page.
  if (const char* folder = std::getenv("NEPENTHE_REPORT_DIR"); folder != nullptr && everything) {
    for (const ReportFile& file : files) {
      const std::filesystem::path path = std::filesystem::path(folder) / file.name;
      std::filesystem::create_directories(path.parent_path());
      std::ofstream(path, std::ios::binary) << file.content;
    }
  }
}

TEST_CASE("text of a study is text on the page") {
  StudyRecord study = test::sample_study();
  const std::string evil = "<script>alert(\"1\")</script> & 'x' | `y`";
  study.device = study.data_name = study.command = study.libraries = evil;
  study.preset = study.version = study.rate_model = evil;
  for (Record& record : study.records) {
    record.experiment.title = record.experiment.remark = record.key = evil;
    record.commands = {evil};
    record.digests = {{evil, evil}};
  }
  record_of(study, "transfer").whole.attack = {.mia = {}, .reason = evil};
  const auto files = study_report(study);
  const std::string page = file_of(files, "report.html");
  CHECK(wrong_markup(page) == "");
  CHECK(page.find("<script>alert") == std::string::npos);
  CHECK(page.find("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#39;x&#39;") != std::string::npos);
  CHECK(file_of(files, "report.md").find("| <script>") == std::string::npos);
}
