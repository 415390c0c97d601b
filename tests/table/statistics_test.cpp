// Statistics against values worked out by hand.
#include "lib/table/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mta {
namespace {

using Values = std::vector<double>;

TEST(Statistics, MeanMedianAndDeviation) {
  const Values values = {2, 4, 9};
  EXPECT_DOUBLE_EQ(mean_of(values), 5);
  EXPECT_DOUBLE_EQ(median_of(values), 4);
  // Deviations -3, -1, 4: squares 9 + 1 + 16 = 26, over n - 1 = 2.
  EXPECT_DOUBLE_EQ(*deviation_of(values), std::sqrt(13.0));
  EXPECT_DOUBLE_EQ(median_of(Values{9, 1, 4, 2}), 3);
  EXPECT_FALSE(deviation_of(Values{7}).has_value());
}

TEST(Statistics, IntervalOfFewValuesReachesTheEnds) {
  // Each end is drawn every time with probability 1/4 (n 2) and 1/27 (n 3), more than 2.5 %.
  const auto two = bootstrap_interval(Values{0, 1});
  EXPECT_EQ(two->low, 0);
  EXPECT_EQ(two->high, 1);
  const auto three = bootstrap_interval(Values{6, 0, 3});
  EXPECT_EQ(three->low, 0);
  EXPECT_EQ(three->high, 6);
  EXPECT_FALSE(bootstrap_interval(Values{1}).has_value());
}

TEST(Statistics, IntervalFollowsTheBinomialLaw) {
  // A resample's mean is k / 5 with k ~ Binomial(5, 1/5): P(0) = 0.328, P(k >= 3) = 0.058 and
  // P(k >= 4) = 0.0067, so the 97.5 % point is 3 / 5.
  const auto interval = bootstrap_interval(Values{0, 0, 1, 0, 0});
  EXPECT_DOUBLE_EQ(interval->low, 0);
  EXPECT_DOUBLE_EQ(interval->high, 0.6);
}

TEST(Statistics, IntervalIsTheSameEveryTime) {
  const Values values = {0.951, 0.957, 0.546, 0.939, 0.859};
  const auto first = bootstrap_interval(values), second = bootstrap_interval(values);
  EXPECT_EQ(first->low, second->low);
  EXPECT_EQ(first->high, second->high);
  EXPECT_LT(first->low, mean_of(values));
  EXPECT_GT(first->high, mean_of(values));
}

void expect_median(const std::vector<StepsToSolve>& runs, double step, bool at_least,
                   std::size_t solved) {
  const SolvedMedian median = median_steps(runs);
  EXPECT_DOUBLE_EQ(median.step, step);
  EXPECT_EQ(median.at_least, at_least);
  EXPECT_EQ(median.solved, solved);
  EXPECT_EQ(median.runs, runs.size());
}

TEST(Statistics, UnsolvedRunsCountInTheMedian) {
  expect_median({{500, true}, {1000, true}, {400, true}}, 500, false, 3);
  // One unsolved run above the median does not touch it.
  expect_median({{500, true}, {400, true}, {1200, false}}, 500, false, 2);
  // Two of three: the median itself is beyond the end of a run.
  expect_median({{1200, false}, {400, true}, {1200, false}}, 1200, true, 1);
  expect_median({{1200, false}}, 1200, true, 0);
  // An even number: half way between 400 and something above 1200.
  expect_median({{1200, false}, {400, true}}, 800, true, 1);
  // A run that ended early below the median may belong above it: only a bound is known.
  expect_median({{100, false}, {4000, true}, {5000, true}}, 4000, true, 2);
  // Solved at the last step comes before unsolved at that step.
  expect_median({{1200, false}, {1200, true}, {400, true}}, 1200, false, 2);
}

}  // namespace
}  // namespace mta
