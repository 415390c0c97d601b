// Scores in JSON, the best evaluation, and the first below a threshold.
#include "lib/train/scores.h"

#include <gtest/gtest.h>

namespace mta {
namespace {

Evaluation at(std::int64_t step, double err_seq, double loss, const std::string& mode = "correct") {
  Evaluation e{.step = step, .mode = mode, .scores = {}};
  e.scores.err_seq = err_seq;
  e.scores.loss = loss;
  return e;
}

TEST(Scores, SurviveJson) {
  Evaluation evaluation = at(7, 0.125, 1.5);
  evaluation.scores.scored = 8;
  evaluation.scores.slices["depth"]["0.5"] = {.correct = 3, .count = 4};
  Json json = to_json(evaluation);
  EXPECT_EQ(json.at("err_tok"), nullptr);
  json["slices"] = to_json(evaluation.scores.slices);
  EXPECT_EQ(json.at("slices").at("depth").at("0.5").at("accuracy"), 0.75);
  EXPECT_EQ(json.at("slices").at("depth").at("0.5").at("interval").size(), 2u);

  const Evaluation back = evaluation_from_json(json);
  EXPECT_EQ(to_json(back), to_json(evaluation));
  EXPECT_EQ(to_json(back.scores.slices), to_json(evaluation.scores.slices));
}

TEST(Scores, IntervalsAreWilsons) {
  // Roots of |p - share| = 1.96 sqrt(p (1 - p) / n), found by bisection in Python.
  const auto expect = [](std::int64_t correct, std::int64_t count, double low, double high) {
    const auto interval = wilson_interval({.correct = correct, .count = count});
    EXPECT_NEAR(interval.first, low, 1e-6) << correct << " of " << count;
    EXPECT_NEAR(interval.second, high, 1e-6) << correct << " of " << count;
    const auto mirrored = wilson_interval({.correct = count - correct, .count = count});
    EXPECT_NEAR(mirrored.first, 1 - high, 1e-6);
  };
  expect(0, 10, 0, 0.277533);
  expect(1, 1, 0.206549, 1);
  expect(81, 263, 0.255289, 0.366210);
}

TEST(Scores, SlicesStandInTheOrderOfTheirNumbers) {
  SliceCounts slices;
  for (const char* value : {"10", "two", "nan", "9", "0.5"}) slices["depth"][value].count = 1;
  std::string order;
  const Json json = to_json(slices);
  for (const auto& [value, unused] : json.at("depth").items()) order += value + " ";
  EXPECT_EQ(order, "0.5 9 10 nan two ");
}

TEST(Scores, BestIsTheLowestErrorThenTheLowestLossThenTheEarliest) {
  EXPECT_EQ(best_step({}, "correct"), std::nullopt);
  EXPECT_EQ(best_step({at(1, 0.5, 1), at(2, 0.4, 2), at(3, 0.4, 1), at(4, 0.4, 1)}, "correct"), 3);
  EXPECT_EQ(best_step({at(1, 0.5, 1), at(2, 0.1, 1, "reference")}, "correct"), 1);
}

TEST(Scores, ThresholdsNeedALowerValue) {
  const std::vector<Evaluation> all = {at(10, 0.5, 1), at(20, 0.05, 1), at(30, 0.04, 1),
                                       at(40, 0.9, 1)};
  EXPECT_EQ(first_step_below(all, "correct", 0.5), 20);
  EXPECT_EQ(first_step_below(all, "correct", 0.05), 30);
  EXPECT_EQ(first_step_below(all, "correct", 0.01), std::nullopt);
  EXPECT_EQ(first_step_below(all, "reference", 0.5), std::nullopt);
}

}  // namespace
}  // namespace mta
