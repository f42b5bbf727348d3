#include <doctest/doctest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "unlearning/study/record.h"
#include "unlearning/study/table.h"

using namespace nepenthe;

TEST_CASE("columns line up, the first to the left, the others to the right") {
  Table table({"", "top-1", "é"});
  table.add({"test", "5.00 %", "1"});
  table.add({"–"});
  CHECK(table.text() ==
        "       top-1  é\n"
        "────  ──────  ─\n"
        "test  5.00 %  1\n"
        "–\n");
}

TEST_CASE("numbers with units") {
  CHECK(percent(0.72634) == "72.63 %");
  CHECK(percent(std::nullopt) == "–");
  CHECK(percent(std::numeric_limits<double>::quiet_NaN()) == "–");
  CHECK(decimals(0.51234, 3) == "0.512");
  CHECK(grouped(0) == "0");
  CHECK(grouped(999) == "999");
  CHECK(grouped(1000) == "1 000");
  CHECK(grouped(1234567) == "1 234 567");
  CHECK(grouped(-1234) == "-1 234");
  CHECK(duration(0.417) == "0.42 s");
  CHECK(duration(12.34) == "12.3 s");
  CHECK(duration(245) == "4 min 05 s");
  CHECK(duration(7380) == "2 h 03 min");
}

TEST_CASE("JSON as other programs expect it") {
  const auto metrics = to_json(Metrics{.count = 10, .top1 = 0.5, .top5 = 0.9, .loss = std::nullopt});
  CHECK(metrics.dump() == R"({"count":10,"top1":0.5,"top5":0.9,"loss":null})");
  CHECK(to_json(Metrics{.count = 0, .top1 = std::numeric_limits<double>::quiet_NaN()})["top1"].is_null());
  CHECK(to_json(MiaOutcome{.mia = {}, .reason = "too few"}).is_null());
  const Mia mia{.mean = 0.6, .scores = {0.5, 0.7}, .auc = 0.65, .tpr_at_fpr = {{"0.001", 0.1}, {"0.01", 0.2}}};
  const auto attack = to_json(MiaOutcome{.mia = mia, .reason = {}});
  for (const char* key :
       {"mean", "standard_error", "interval", "scores", "auc", "tpr_at_fpr", "members", "nonmembers"}) {
    CHECK(attack.contains(key));
  }
  CHECK(attack["tpr_at_fpr"]["0.01"] == 0.2);
}
