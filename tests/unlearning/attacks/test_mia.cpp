#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/formats/safetensors.h"
#include "unlearning/attacks/logistic_regression.h"
#include "unlearning/attacks/mia.h"
#include "unlearning/attacks/roc.h"

using namespace nepenthe;

namespace {

using Losses = std::vector<double>;

Losses exponential(int n, double mean, unsigned seed) {
  std::mt19937 draw(seed);
  std::exponential_distribution<double> distribution(1 / mean);
  Losses losses;
  for (int i = 0; i < n; ++i) losses.push_back(distribution(draw));
  return losses;
}

Losses log_normal(int n, double mean, double spread, unsigned seed) {
  std::mt19937 draw(seed);
  std::lognormal_distribution<double> distribution(mean, spread);
  Losses losses;
  for (int i = 0; i < n; ++i) losses.push_back(distribution(draw));
  return losses;
}

Losses rounded(Losses losses) {
  for (double& loss : losses) loss = std::round(loss * 4) / 4;
  return losses;
}

// Gradient of the objective, in long double.
double gradient_norm(const Losses& positives, const Losses& negatives, double w, double b) {
  long double gradient_w = w, gradient_b = 0;
  const auto add = [&](double x, int label) {
    const long double residual = 1 / (1 + std::exp(-(static_cast<long double>(w) * x + b))) - label;
    gradient_w += residual * x;
    gradient_b += residual;
  };
  for (const double x : positives) add(x, 1);
  for (const double x : negatives) add(x, 0);
  return static_cast<double>(std::max(std::abs(gradient_w), std::abs(gradient_b)));
}

double brute_auc(const Losses& members, const Losses& nonmembers) {
  double won = 0;
  for (const double m : members)
    for (const double u : nonmembers) won += m < u ? 1 : m == u ? 0.5 : 0;
  return won / static_cast<double>(members.size() * nonmembers.size());
}

double brute_tpr(const Losses& members, const Losses& nonmembers, double limit) {
  Losses thresholds = members;
  thresholds.insert(thresholds.end(), nonmembers.begin(), nonmembers.end());
  const auto rate = [](const Losses& losses, double threshold) {
    return static_cast<double>(std::ranges::count_if(losses, [=](double loss) { return loss <= threshold; })) /
           static_cast<double>(losses.size());
  };
  double best = 0;
  for (const double threshold : thresholds)
    if (rate(nonmembers, threshold) <= limit) best = std::max(best, rate(members, threshold));
  return best;
}

Mia attack(const Losses& members, const Losses& nonmembers, MiaSettings settings = {}) {
  MiaOutcome outcome = membership_inference(members, nonmembers, settings);
  REQUIRE(outcome.mia.has_value());
  CHECK(outcome.reason.empty());
  return *outcome.mia;
}

}  // namespace

TEST_CASE("logistic regression: converges on every kind of data") {
  struct Case {
    const char* name;
    Losses positives, negatives;
    double gradient = 1e-8;
  };
  const Losses constant(50, 1.25);
  const std::vector<Case> cases = {
      {"shifted", exponential(400, 0.5, 1), exponential(400, 1, 2)},
      {"identical", exponential(300, 1, 3), exponential(300, 1, 4)},
      {"unequal", exponential(30, 0.5, 5), exponential(900, 1, 6)},
      {"heavy tails", log_normal(400, -3, 3, 7), log_normal(400, -1, 4, 8)},
      {"very heavy tails", log_normal(400, -3, 8, 9), log_normal(400, -1, 8, 10), 1e-3},
      {"constant", constant, constant},
      {"constant zero", Losses(20, 0.0), Losses(20, 0.0)},
      {"separable", Losses(100, 0.0), Losses(100, 30.0)},
      {"separable, far", {0, 0.1, 0.2}, {1e6, 2e6, 3e6}},
      {"separable, reversed", Losses(10, 7.0), Losses(10, 1e-9)},
      {"one each", {1}, {2}},
      {"tiny values", {1e-30, 2e-30, 1e-300}, {3e-30, 4e-30}},
      {"one outlier", {0.1, 0.2, 0.15, 1e12}, {1, 1.1, 0.9, 1.2}, 1e-3},
      {"offset", {1000.1, 1000.2, 1000.3}, {1000.15, 1000.25, 1000.4}},
  };
  for (const Case& c : cases) {
    INFO(c.name);
    const LogisticModel model = fit_logistic(c.positives, c.negatives);
    INFO("w " << model.coefficient << " b " << model.intercept << " steps " << model.iterations);
    CHECK(std::isfinite(model.coefficient));
    CHECK(gradient_norm(c.positives, c.negatives, model.coefficient, model.intercept) <= c.gradient);
    CHECK(model.iterations < 200);
  }
  CHECK(fit_logistic(constant, constant).coefficient == 0);
  CHECK(fit_logistic(constant, constant).intercept == 0);
  CHECK_THROWS_AS(fit_logistic(Losses{}, constant), std::invalid_argument);
  CHECK_THROWS_AS(fit_logistic(Losses{std::nan("")}, constant), Error);
}

TEST_CASE("logistic regression: the optimum is one") {
  const Losses positives = exponential(60, 0.5, 21), negatives = exponential(80, 1, 22);
  for (const double c : {0.01, 1.0, 100.0}) {
    const LogisticModel model = fit_logistic(positives, negatives, c);
    const auto objective = [&](double w, double b) {
      double sum = 0;
      for (const double x : positives) sum += std::log1p(std::exp(-(w * x + b)));
      for (const double x : negatives) sum += std::log1p(std::exp(w * x + b));
      return c * sum + 0.5 * w * w;
    };
    const double least = objective(model.coefficient, model.intercept);
    for (const double dw : {-1e-3, 0.0, 1e-3})
      for (const double db : {-1e-3, 0.0, 1e-3})
        CHECK(objective(model.coefficient + dw, model.intercept + db) >= least - 1e-12);
  }
}

TEST_CASE("roc: against brute force, with and without ties") {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    Losses members = exponential(5 + static_cast<int>(seed % 60), 0.5, seed);
    Losses nonmembers = exponential(3 + static_cast<int>(seed * 7 % 90), 1, seed + 100);
    if (seed % 2) {
      members = rounded(members);
      nonmembers = rounded(nonmembers);
    }
    const RocOrder roc(members, nonmembers);
    CHECK(roc.auc() == doctest::Approx(brute_auc(members, nonmembers)).epsilon(1e-13));
    for (const double limit : {0.0, 0.001, 0.01, 0.05, 0.1, 0.5, 1.0})
      CHECK(roc.tpr_at_fpr(limit) == brute_tpr(members, nonmembers, limit));
    // The area below the curve, by trapezoids, is the AUC: ties are its slanted parts.
    const auto curve = roc.curve();
    double area = 0;
    for (std::size_t i = 1; i < curve.size(); ++i)
      area += (curve[i].fpr - curve[i - 1].fpr) * (curve[i].tpr + curve[i - 1].tpr) / 2;
    CHECK(area == doctest::Approx(roc.auc()).epsilon(1e-12));
    CHECK(curve.back().fpr == 1);
    CHECK(curve.back().tpr == 1);
  }
  CHECK(RocOrder(Losses{1, 2}, Losses{3, 4}).auc() == 1);
  CHECK(RocOrder(Losses{3, 4}, Losses{1, 2}).auc() == 0);
  CHECK(RocOrder(Losses{1, 1}, Losses{1}).auc() == 0.5);
  CHECK(RocOrder(Losses{1, 1}, Losses{1}).tpr_at_fpr(0.01) == 0);
  // A rate exactly at the limit counts: 1 of 100 and 1 of 1000.
  Losses ascending(1000);
  std::iota(ascending.begin(), ascending.end(), 0.0);
  CHECK(RocOrder(Losses{0.5}, ascending).tpr_at_fpr(0.001) == 1);
  CHECK(RocOrder(Losses{1.5}, ascending).tpr_at_fpr(0.001) == 0);
  CHECK(RocOrder(Losses{9.5}, ascending).tpr_at_fpr(0.01) == 1);
  CHECK(RocOrder(Losses{10.5}, ascending).tpr_at_fpr(0.01) == 0);
  CHECK_THROWS_AS(RocOrder(Losses{}, Losses{1}), std::invalid_argument);
  CHECK_THROWS_AS(RocOrder(Losses{1}, Losses{std::nan("")}), std::invalid_argument);
}

TEST_CASE("roc: the bootstrap interval") {
  const Losses members = exponential(300, 0.6, 31), nonmembers = exponential(300, 1, 32);
  const RocOrder roc(members, nonmembers);
  const auto interval = roc.bootstrap_interval(1, 1000);
  CHECK(interval == roc.bootstrap_interval(1, 1000));
  CHECK(interval != roc.bootstrap_interval(2, 1000));
  CHECK(interval[0] < roc.auc());
  CHECK(roc.auc() < interval[1]);
  // Its width is that of Hanley and McNeil's standard error (1982), within what 1000 resamples give.
  double q1 = 0, q2 = 0;  // placement values' second moments
  for (const double m : members) {
    double won = 0;
    for (const double u : nonmembers) won += m < u;
    q1 += std::pow(won / 300, 2) / 300;
  }
  for (const double u : nonmembers) {
    double won = 0;
    for (const double m : members) won += m < u;
    q2 += std::pow(won / 300, 2) / 300;
  }
  const double a = roc.auc();
  const double error = std::sqrt((a * (1 - a) + 299 * (q1 - a * a) + 299 * (q2 - a * a)) / (300.0 * 300.0));
  CHECK((interval[1] - interval[0]) / (2 * 1.96 * error) == doctest::Approx(1).epsilon(0.1));
  // Members and non-members are drawn apart: lining them up by index does not narrow it.
  Losses lined_up = members, beside = nonmembers;
  std::ranges::sort(lined_up);
  std::ranges::sort(beside);
  const auto same = RocOrder(lined_up, beside).bootstrap_interval(1, 1000);
  CHECK((same[1] - same[0]) / (interval[1] - interval[0]) == doctest::Approx(1).epsilon(0.1));
  // Equal losses leave nothing to vary; one resample is a point.
  const RocOrder constant(Losses(20, 1.0), Losses(20, 1.0));
  CHECK(constant.bootstrap_interval(1, 100) == std::array<double, 2>{0.5, 0.5});
  CHECK(roc.bootstrap_interval(1, 1)[0] == roc.bootstrap_interval(1, 1)[1]);
}

TEST_CASE("roc: the interval covers the true area about 95 times in 100") {
  // Exponential losses with means a and b: P(member < non-member) = b/(a+b).
  int covered = 0;
  const int rounds = 300;
  for (int round = 0; round < rounds; ++round) {
    const RocOrder roc(exponential(100, 0.6, 1000u + static_cast<unsigned>(round)),
                       exponential(100, 1, 5000u + static_cast<unsigned>(round)));
    const auto interval = roc.bootstrap_interval(static_cast<std::uint64_t>(round), 300);
    covered += interval[0] <= 1 / 1.6 && 1 / 1.6 <= interval[1];
  }
  CHECK(covered > 0.90 * rounds);
  CHECK(covered < 0.99 * rounds);
}

TEST_CASE("mia: splits have scikit-learn's numbers and are stratified") {
  for (const int n : {10, 11, 12, 13, 14, 15, 100, 137, 1001}) {
    const int test = static_cast<int>(std::ceil(0.1 * 2 * n));
    const auto folds = stratified_shuffle_splits(n, 10, 3);
    REQUIRE(folds.size() == 10);
    std::set<std::vector<std::int32_t>> different;
    int larger = 0;
    for (const MiaFold& fold : folds) {
      CHECK(fold.test.size() == static_cast<std::size_t>(test));
      std::vector<std::int32_t> all = fold.train;
      all.insert(all.end(), fold.test.begin(), fold.test.end());
      std::ranges::sort(all);
      for (int i = 0; i < 2 * n; ++i) REQUIRE(all[static_cast<std::size_t>(i)] == i);
      const auto members = std::ranges::count_if(fold.test, [=](std::int32_t i) { return i < n; });
      CHECK(std::abs(2 * members - test) == test % 2);
      larger += 2 * members > test;
      different.insert(fold.test);
    }
    if (n >= 100) CHECK(different.size() == 10);            // 2 of 20 may well come twice
    if (test % 2 == 1) CHECK((larger > 0 && larger < 10));  // one seed, checked to toss both sides
    CHECK(folds[3].test == stratified_shuffle_splits(n, 5, 3)[3].test);
    CHECK(folds[3].test != stratified_shuffle_splits(n, 5, 4)[3].test);
  }
}

TEST_CASE("mia: every sample is tested as often as any other") {
  const int n = 100, splits = 2000;
  std::vector<int> tested(2 * n, 0);
  for (const MiaFold& fold : stratified_shuffle_splits(n, splits, 1))
    for (const auto i : fold.test) ++tested[static_cast<std::size_t>(i)];
  // 200 expected, sd 13.4: 5 sd.
  CHECK(*std::ranges::min_element(tested) > 133);
  CHECK(*std::ranges::max_element(tested) < 267);
}

TEST_CASE("mia: what it says about known losses") {
  SUBCASE("the same distribution: no better than a coin") {
    const Mia mia = attack(exponential(3000, 1, 41), exponential(3000, 1, 42));
    CHECK(mia.mean == doctest::Approx(0.5).epsilon(0.04));
    CHECK(mia.interval[0] < 0.5);
    CHECK(mia.interval[1] > 0.5);
    CHECK(mia.tpr_at_fpr.at("0.01") < 0.03);
  }
  SUBCASE("apart: always right") {
    const Mia mia = attack(Losses(50, 0.001), Losses(50, 9.0));
    CHECK(mia.mean == 1);
    CHECK(mia.standard_error == 0);
    CHECK(mia.auc == 1);
    CHECK(mia.interval == std::array<double, 2>{1, 1});
    CHECK(mia.tpr_at_fpr.at("0.001") == 1);
  }
  SUBCASE("constant: exactly a half") {
    const Mia mia = attack(Losses(50, 1.25), Losses(50, 1.25));
    CHECK(mia.mean == 0.5);
    CHECK(mia.auc == 0.5);
    CHECK(mia.tpr_at_fpr.at("0.01") == 0);
  }
  SUBCASE("the summary is that of the scores") {
    const Mia mia = attack(exponential(200, 0.5, 43), exponential(200, 1, 44), {.seed = 8, .splits = 4});
    REQUIRE(mia.scores.size() == 4);
    double mean = 0, squares = 0;
    for (const double score : mia.scores) mean += score / 4;
    for (const double score : mia.scores) squares += (score - mean) * (score - mean);
    CHECK(mia.mean == doctest::Approx(mean).epsilon(1e-14));
    CHECK(mia.standard_error == doctest::Approx(std::sqrt(squares / 3) / 2).epsilon(1e-12));
    CHECK(mia.mean > 0.55);
  }
}

TEST_CASE("mia: both sides are cut to the same number, keyed") {
  const Losses members = exponential(60, 0.5, 51), nonmembers = exponential(300, 1, 52);
  const Mia mia = attack(members, nonmembers);
  CHECK(mia.members == 60);
  CHECK(mia.nonmembers == 60);
  CHECK(attack(nonmembers, members).members == 60);
  const Mia again = attack(members, nonmembers);
  CHECK(again.scores == mia.scores);
  CHECK(again.interval == mia.interval);
  CHECK(attack(members, nonmembers, {.seed = 2}).auc != mia.auc);
  // 60 of 300, not the first 60: over seeds the AUC of the cut swings about that of all.
  double sum = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed)
    sum += attack(members, nonmembers, {.seed = seed, .splits = 2, .resamples = 1}).auc;
  CHECK(sum / 40 == doctest::Approx(brute_auc(members, nonmembers)).epsilon(0.03));
  const std::vector<float> fewer(members.begin(), members.end()), more(nonmembers.begin(), nonmembers.end());
  const MiaOutcome single = membership_inference(fewer, more, MiaSettings{});
  REQUIRE(single.mia.has_value());
  CHECK(single.mia->scores == mia.scores);
}

TEST_CASE("mia: no attack, with the reason, and errors") {
  const Losses ten = exponential(10, 1, 61), nine = exponential(9, 1, 62), many = exponential(100, 1, 63);
  CHECK(attack(ten, many).members == 10);
  for (const auto& [members, nonmembers] : {std::pair{nine, many}, std::pair{many, nine}, std::pair{Losses{}, many}}) {
    const MiaOutcome outcome = membership_inference(members, nonmembers, MiaSettings{});
    CHECK(!outcome.mia.has_value());
    CHECK(outcome.reason.find("at least 10 of each") != std::string::npos);
  }
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    Losses broken = many;
    broken[7] = broken[90] = bad;
    try {
      membership_inference(ten, broken, MiaSettings{});
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(std::string(error.what()).find("2 of 100 losses of non-members are not finite, the first at index 7") !=
            std::string::npos);
    }
    CHECK_THROWS_AS(membership_inference(broken, ten, MiaSettings{}), Error);
    CHECK_THROWS_AS(membership_inference(Losses{bad}, many, MiaSettings{}), Error);  // before the reason
  }
  CHECK_THROWS_AS(membership_inference(ten, many, {.splits = 1}), UsageError);
  CHECK_THROWS_AS(membership_inference(ten, many, {.resamples = 0}), UsageError);
  const std::vector<MiaFold> outside = {{.train = {0, 10}, .test = {20}}}, untested = {{.train = {0, 10}, .test = {}}};
  CHECK_THROWS_AS(attack_folds(ten, ten, outside), std::invalid_argument);
  CHECK_THROWS_AS(attack_folds(ten, ten, untested), std::invalid_argument);
}

TEST_CASE("mia: scikit-learn's golden values, fold by fold") {
  const std::filesystem::path folder = NEPENTHE_GOLDEN_DIR;
  const StateDict golden = read_safetensors(folder / "mia.safetensors");
  const nlohmann::json about = nlohmann::json::parse(std::ifstream(folder / "mia.json"));
  for (const auto& entry : about.at("cases")) {
    const auto name = entry.get<std::string>();
    INFO(name);
    const auto tensor = [&](const std::string& of) -> const HostTensor& {
      const HostTensor* found = golden.find(name + "/" + of);
      REQUIRE(found != nullptr);
      return *found;
    };
    const auto doubles = [&](const std::string& of) {
      const HostTensor& found = tensor(of);
      REQUIRE(found.dtype == DType::f64);
      Losses values(found.bytes.size() / sizeof(double));
      std::memcpy(values.data(), found.bytes.data(), found.bytes.size());
      return values;
    };
    const Losses members = doubles("members"), nonmembers = doubles("nonmembers");
    const std::size_t count = members.size() + nonmembers.size();
    const std::span<const std::int64_t> test = tensor("test").i64();
    const std::size_t tested = test.size() / 10;
    std::vector<MiaFold> folds(10);
    for (std::size_t f = 0; f < 10; ++f) {
      std::vector<bool> in_test(count, false);
      for (const std::int64_t i : test.subspan(f * tested, tested)) in_test[static_cast<std::size_t>(i)] = true;
      for (std::size_t i = 0; i < count; ++i)
        (in_test[i] ? folds[f].test : folds[f].train).push_back(static_cast<std::int32_t>(i));
    }
    // Our own splits have the same numbers.
    if (members.size() == nonmembers.size()) {
      const auto own = stratified_shuffle_splits(static_cast<int>(members.size()), 1, 1);
      CHECK(own[0].test.size() == tested);
    }
    const std::vector<MiaFoldFit> fits = attack_folds(members, nonmembers, folds);
    const Losses accuracy = doubles("accuracy"), coefficient = doubles("coefficient"), intercept = doubles("intercept");
    for (std::size_t f = 0; f < 10; ++f) {
      INFO("fold " << f);
      CHECK(std::abs(fits[f].accuracy - accuracy[f]) <= 1.0 / static_cast<double>(tested) + 1e-12);
      CHECK(std::abs(fits[f].coefficient - coefficient[f]) <= 1e-6 * (1 + std::abs(coefficient[f])));
      CHECK(std::abs(fits[f].intercept - intercept[f]) <= 1e-6 * (1 + std::abs(intercept[f])));
    }
    const RocOrder roc(members, nonmembers);
    CHECK(std::abs(roc.auc() - doubles("auc")[0]) <= 1e-6);
    const Losses tpr = doubles("tpr");
    CHECK(roc.tpr_at_fpr(0.001) == doctest::Approx(tpr[0]).epsilon(1e-12));
    CHECK(roc.tpr_at_fpr(0.01) == doctest::Approx(tpr[1]).epsilon(1e-12));
  }
}
