// The search for a launch plan, over times that are made up.
#include "lib/bench/launch_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace mta {
namespace {

using kernels::Direction;
using kernels::LaunchPlan;
using kernels::Problem;

const float kWeights[1] = {};
constexpr std::size_t kBudget = std::size_t{2} << 30;

Problem full_mta() {
  Problem p = {.batch = 4, .heads = 16, .tokens = 2048, .head_dim = 64, .scale = 0.125f};
  p.conv_before =
      p.conv_after = {.kernel = kWeights, .query_span = 6, .key_span = 11, .pad_left = 5};
  p.mix_before = p.mix_after = {.weight = kWeights, .group = 16};
  return p;
}

/// Its rows are too many for a warp: they are convolved by tiles.
Problem with_a_wide_span() {
  Problem p = full_mta();
  p.conv_after.query_span = 8;
  return p;
}

Problem standard() {
  Problem p = full_mta();
  p.conv_before = p.conv_after = {};
  p.mix_before = p.mix_after = {};
  return p;
}

/// A timer whose candidate i takes ms(i) in turn t, plus or minus `noise` of it.
template <class Ms>
LaunchTimer timer_of(Ms ms, double noise, int& calls) {
  return [ms, noise, &calls](const std::vector<LaunchPlan>& candidates) {
    constexpr int kTurns = 8;
    ++calls;
    std::vector<TurnTimes> times;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      std::vector<double> all, ratios;
      for (int turn = 0; turn < kTurns; ++turn) {
        const int sign = i == 0 ? 0 : turn % 2 == 0 ? 1 : -1;
        const double time = ms(candidates[i]) * (1 + noise * sign), first = ms(candidates[0]);
        all.push_back(time), ratios.push_back(time / first);
      }
      times.push_back({.name = "", .ms = spread_of(all), .ratio = spread_of(ratios)});
    }
    return times;
  };
}

double distance(int value, int wanted) {
  return std::abs(std::log2(static_cast<double>(value) / wanted));
}

TEST(LaunchSearch, FindsTheFastestOfSeparateNumbers) {
  int calls = 0;
  const auto ms = [](const LaunchPlan& l) {
    return 10 + distance(l.score_keys, 1024) + distance(l.convolution_keys, 128) +
           distance(l.mixing_keys, 512) + distance(l.mixing_rows, 4) +
           (l.chunk_rows == 256 ? 0 : 1);
  };
  const LaunchSearch found =
      search_launch(with_a_wide_span(), Direction::Forward, kBudget, timer_of(ms, 0, calls));
  EXPECT_EQ(found.best.score_keys, 1024);
  EXPECT_EQ(found.best.convolution_keys, 128);
  EXPECT_EQ(found.best.mixing_keys, 512);
  EXPECT_EQ(found.best.mixing_rows, 4);
  EXPECT_EQ(found.best.chunk_rows, 256);
  EXPECT_EQ(found.rows, 2048);
  EXPECT_NEAR(found.gain, ms(found.by_default) / ms(found.best), 1e-12);
  EXPECT_EQ(calls, 2 * 5);
}

/// The best rows depend on the strip: the second round finds what the first could not.
TEST(LaunchSearch, GoesRoundAgainAfterAChange) {
  int calls = 0;
  const auto ms = [](const LaunchPlan& l) {
    return 10 + 3 * distance(l.mixing_rows, 32) +
           (l.mixing_rows == 32 ? distance(l.mixing_keys, 128) : distance(l.mixing_keys, 256));
  };
  const LaunchSearch found =
      search_launch(full_mta(), Direction::Backward, kBudget, timer_of(ms, 0, calls));
  EXPECT_EQ(found.best.mixing_rows, 32);
  EXPECT_EQ(found.best.mixing_keys, 128);
}

TEST(LaunchSearch, NoiseChangesNothing) {
  int calls = 0;
  const auto ms = [](const LaunchPlan& l) { return l.score_keys == 1024 ? 9.9 : 10.0; };
  const LaunchSearch found =
      search_launch(full_mta(), Direction::Forward, kBudget, timer_of(ms, 0.05, calls));
  EXPECT_EQ(found.best.score_keys, found.by_default.score_keys);
  EXPECT_EQ(found.gain, 1);
  EXPECT_EQ(calls, 4) << "one round: nothing changed";
}

TEST(LaunchSearch, TriesOnlyWhatTheProblemHas) {
  int calls = 0;
  const auto ms = [](const LaunchPlan&) { return 1.0; };
  const LaunchSearch plain =
      search_launch(standard(), Direction::Forward, kBudget, timer_of(ms, 0, calls));
  EXPECT_EQ(calls, 2) << "strips of scores, and rows";
  for (const LaunchTime& time : plain.times) {
    EXPECT_EQ(time.launch.mixing_rows, plain.by_default.mixing_rows);
    EXPECT_EQ(time.launch.convolution_keys, plain.by_default.convolution_keys);
  }
  const LaunchSearch streamed =
      search_launch(full_mta(), Direction::Backward, kBudget, timer_of(ms, 0, calls));
  for (const LaunchTime& time : streamed.times) {
    EXPECT_EQ(time.launch.convolution_keys, streamed.by_default.convolution_keys)
        << "no strips where rows stream";
  }
  Problem tiny = standard();
  tiny.tokens = 100;
  const LaunchSearch none =
      search_launch(tiny, Direction::Forward, kBudget, timer_of(ms, 0, calls));
  EXPECT_EQ(none.times.size(), 0u) << "one strip and one chunk, whatever the plan";
}

}  // namespace
}  // namespace mta
