// Learning rates against values worked out by hand.
#include "lib/train/schedule.h"

#include <gtest/gtest.h>

namespace mta {
namespace {

TrainConfig config_of(Schedule schedule) {
  TrainConfig config;
  config.steps = 10;
  config.lr = 8;
  config.schedule = schedule;
  return config;
}

std::vector<double> rates(const TrainConfig& config) {
  std::vector<double> all;
  for (std::int64_t step = 1; step <= config.steps; ++step) {
    all.push_back(learning_rate(config, step));
  }
  return all;
}

void expect_near(const std::vector<double>& found, const std::vector<double>& wanted) {
  ASSERT_EQ(found.size(), wanted.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i], wanted[i], 1e-12) << "step " << i + 1;
  }
}

TEST(Schedule, Constant) {
  expect_near(rates(config_of(Schedule::Constant)), {8, 8, 8, 8, 8, 8, 8, 8, 8, 8});
}

TEST(Schedule, WarmupRisesToTheFullRate) {
  TrainConfig config = config_of(Schedule::Constant);
  config.warmup = 4;
  expect_near(rates(config), {2, 4, 6, 8, 8, 8, 8, 8, 8, 8});
}

TEST(Schedule, LinearFallsOverTheStepsAfterTheWarmup) {
  TrainConfig config = config_of(Schedule::Linear);
  expect_near(rates(config), {8, 7.2, 6.4, 5.6, 4.8, 4, 3.2, 2.4, 1.6, 0.8});
  config.warmup = 2;
  config.final_lr_fraction = 0.5;
  expect_near(rates(config), {4, 8, 8, 7.5, 7, 6.5, 6, 5.5, 5, 4.5});
}

TEST(Schedule, CosineIsHalfWayDownInTheMiddle) {
  TrainConfig config = config_of(Schedule::Cosine);
  EXPECT_DOUBLE_EQ(learning_rate(config, 1), 8);
  EXPECT_NEAR(learning_rate(config, 6), 4, 1e-12);
  // (1 - cos(pi / 10)) / 2 * 8
  EXPECT_NEAR(learning_rate(config, 10), 0.19577393481938588, 1e-12);
}

TEST(Schedule, WarmupStableDecayFallsOverTheLastFifth) {
  TrainConfig config = config_of(Schedule::WarmupStableDecay);
  expect_near(rates(config), {8, 8, 8, 8, 8, 8, 8, 8, 8, 4});
  config.decay_fraction = 0.4;
  expect_near(rates(config), {8, 8, 8, 8, 8, 8, 8, 6, 4, 2});
  config.final_lr_fraction = 0.25;
  expect_near(rates(config), {8, 8, 8, 8, 8, 8, 8, 6.5, 5, 3.5});
}

TEST(Schedule, DecayNeverReachesIntoTheWarmup) {
  TrainConfig config = config_of(Schedule::WarmupStableDecay);
  config.warmup = 8;
  config.decay_fraction = 1;
  expect_near(rates(config), {1, 2, 3, 4, 5, 6, 7, 8, 8, 4});
}

}  // namespace
}  // namespace mta
