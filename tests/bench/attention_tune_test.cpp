// What a tuned case adds to the table of launch plans; the tuning itself needs a GPU.
#include "lib/bench/attention_tune.h"

#include "lib/core/error.h"
#include "lib/kernels/support.h"

#include <gtest/gtest.h>

#include <vector>

namespace mta {
namespace {

using kernels::Direction;

TEST(AttentionTune, EveryBuiltInCaseHasAProblemOfItsStages) {
  for (const AttentionCase& one : usual_attention_cases()) {
    const kernels::Problem p = problem_of(one);
    EXPECT_EQ(kernels::check(p), kernels::Status::Ok) << one.name << ": " << kernels::last_error();
    EXPECT_EQ(p.conv_before.kernel != nullptr, one.attention.kq_before.has_value()) << one.name;
    EXPECT_EQ(p.conv_after.kernel != nullptr, one.attention.kq_after.has_value()) << one.name;
    EXPECT_EQ(p.mix_before.weight != nullptr, one.attention.heads_before.has_value()) << one.name;
    EXPECT_EQ(p.mix_after.weight != nullptr, one.attention.heads_after.has_value()) << one.name;
  }
}

TEST(AttentionTune, ReplacesItsOwnEntriesAndKeepsTheOthers) {
  const kernels::Problem p = problem_of(usual_attention_cases().at(0));
  const auto entry = [&](const char* card, Direction direction, int score_keys) {
    return ops::LaunchEntry{.card = card,
                            .shape = ops::launch_class(p, direction, 512),
                            .launch = {.score_keys = score_keys},
                            .measured = {{"case", "made up"}}};
  };
  const std::vector<TunedCase> tuned = {
      {"a", "", entry("Mine", Direction::Forward, 1024), 1.2},
      {"b", "left out", entry("Mine", Direction::Backward, 1024), 1.2},
      {"c", "", entry("Mine", Direction::Backward, 128), 1.2}};
  const std::vector<ops::LaunchEntry> table = merged(
      {entry("Other", Direction::Forward, 256), entry("Mine", Direction::Forward, 256)}, tuned);
  ASSERT_EQ(table.size(), 3u);
  EXPECT_EQ(table[0].launch.score_keys, 256);
  EXPECT_EQ(table[1].launch.score_keys, 1024);
  EXPECT_EQ(table[2].launch.score_keys, 128);
  EXPECT_EQ(ops::read_launch_plans(ops::to_json(table), "table").size(), 3u);
  const std::vector<ops::LaunchEntry> less =
      merged(table, {{"a", "", entry("Mine", Direction::Forward, 512), 1.001}});
  ASSERT_EQ(less.size(), 2u) << "the defaults are as good";
  EXPECT_EQ(less[0].card, "Other");
  EXPECT_EQ(less[1].launch.score_keys, 128);
}

TEST(AttentionTune, NeedsAGpu) {
  EXPECT_THROW(
      tune_attention({.cases = usual_attention_cases(), .device = "cpu", .command_line = {}}),
      UserError);
}

}  // namespace
}  // namespace mta
