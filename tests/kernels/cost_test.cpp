// The formulas of work, against counts by hand.
#include "lib/kernels/cost.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace mta::kernels {
namespace {

TEST(Cost, CountsCausalLogitsOnly) {
  EXPECT_EQ(causal_logits(1, 1, 3), 6);  // rows of 1, 2 and 3
  EXPECT_EQ(causal_logits(2, 3, 4), 60);
}

TEST(Cost, OperationsAreTwiceTheMultiplyAdds) {
  const CostShape shape{.logits = 10, .head_dim = 64, .taps_before = 66, .group_after = 4};
  // Q K^T and A V; one convolution; one mixing.
  EXPECT_EQ(operations(shape, Pass::Forward), 10 * 2 * (64 + 64 + 66 + 4));
  EXPECT_EQ(operations(shape, Pass::Backward), 10 * 2 * (5 * 64 + 3 * 66 + 3 * 4));
}

// "Passes" of the README: full MTA writes 5 maps and reads 5 forward, 10 and 14 backward.
TEST(Cost, MapBytesArePassesOfTwoBytesALogit) {
  const CostShape full{.logits = 1,
                       .head_dim = 64,
                       .taps_before = 66,
                       .taps_after = 66,
                       .group_before = 16,
                       .group_after = 16};
  EXPECT_EQ(map_bytes(full, Pass::Forward), 2 * (5 + 5));
  EXPECT_EQ(map_bytes(full, Pass::Backward), 2 * (10 + 14));
  CostShape fused = full;
  fused.fused_before = fused.fused_after = true;
  EXPECT_EQ(map_bytes(fused, Pass::Forward), 2 * (3 + 3));
  EXPECT_EQ(map_bytes(fused, Pass::Backward), 2 * (9 + 12));
  // S is written and read once.
  EXPECT_EQ(map_bytes({.logits = 1, .head_dim = 64}, Pass::Forward), 2 * 2);
  const CostShape alone{
      .logits = 1, .head_dim = 64, .taps_before = 66, .forward_in_one_pass = true};
  EXPECT_EQ(map_bytes(alone, Pass::Forward), 0);
  EXPECT_EQ(map_bytes(alone, Pass::Backward), 2 * (3 + 2 + 3 + 3 + 3));
  const CostShape both{
      .logits = 1, .head_dim = 64, .taps_before = 66, .backward_in_one_pass = true};
  EXPECT_EQ(map_bytes(both, Pass::Backward), 2 * (2 + 2));
}

TEST(Cost, StagesHaveNamesOfTheirOwnAndTheWorkOfTheChain) {
  const CostShape full{.logits = 10,
                       .rows = 4,
                       .head_dim = 64,
                       .taps_before = 66,
                       .taps_after = 18,
                       .group_before = 16,
                       .group_after = 2};
  std::set<std::string> names;
  for (const Pass pass : {Pass::Forward, Pass::Backward}) {
    for (const StageCost& stage : stage_costs(full, pass)) {
      EXPECT_TRUE(names.insert(stage.name).second) << stage.name;
      EXPECT_GE(stage.bytes, stage.map_bytes) << stage.name;
      EXPECT_GT(stage.operations, 0) << stage.name;
    }
  }
  EXPECT_EQ(names.size(), 6U + 11U);
  CostShape fused = full;
  fused.fused_before = fused.fused_after = true;
  ASSERT_EQ(stage_costs(fused, Pass::Forward).size(), 4U);
  EXPECT_STREQ(stage_costs(fused, Pass::Forward)[1].name, "convolution and mixing before softmax");
  EXPECT_EQ(stage_costs(fused, Pass::Backward).size(), 9U);
  for (const Pass pass : {Pass::Forward, Pass::Backward}) {
    EXPECT_EQ(operations(fused, pass), operations(full, pass)) << "the method's, however computed";
  }
  const StageCost scores = stage_costs(full, Pass::Forward).front();
  EXPECT_STREQ(scores.name, "scores");
  EXPECT_EQ(scores.map_bytes, 2 * 10);
  EXPECT_EQ(scores.bytes, 2 * 10 + 2 * 4 * 64 * 2) << "S, q and k";
  EXPECT_EQ(scores.operations, 2 * 10 * 64);
}

TEST(Cost, ForwardInOnePassIsOneStageThatReadsAndWritesTokens) {
  const std::vector<StageCost> stages = stage_costs(
      {.logits = 10, .rows = 4, .head_dim = 64, .taps_before = 66, .forward_in_one_pass = true},
      Pass::Forward);
  ASSERT_EQ(stages.size(), 1U);
  EXPECT_EQ(stages[0].bytes, 2 * 4 * 64 * 4);
  EXPECT_EQ(stages[0].operations, 2 * 10 * (2 * 64 + 66));
}

TEST(Cost, BackwardInOnePassComputesWhatTheChainDoes) {
  CostShape shape{.logits = 10, .rows = 4, .head_dim = 64, .taps_before = 66};
  const double chain = operations(shape, Pass::Backward);
  shape.backward_in_one_pass = true;
  EXPECT_EQ(operations(shape, Pass::Backward), chain);
  const std::vector<StageCost> stages = stage_costs(shape, Pass::Backward);
  ASSERT_EQ(stages.size(), 2U);
  EXPECT_EQ(stages[0].bytes, 2 * 10 * 2 + 2 * 4 * 64 * 6) << "P, dS, q, k, v, o, dO, dQ";
}

TEST(Cost, AStreamedSoftmaxSavesTwoPassesAndAStage) {
  CostShape shape{.logits = 10, .rows = 4, .head_dim = 64, .taps_before = 66, .taps_after = 66};
  const double computed = operations(shape, Pass::Backward),
               moved = map_bytes(shape, Pass::Backward);
  const std::size_t stages = stage_costs(shape, Pass::Backward).size();
  shape.softmax_streams = true;
  EXPECT_EQ(operations(shape, Pass::Backward), computed);
  EXPECT_EQ(map_bytes(shape, Pass::Backward), moved - 20 * 2) << "dM is not written and read";
  EXPECT_EQ(stage_costs(shape, Pass::Backward).size(), stages - 1);
}

TEST(Cost, HeadMixingAloneMovesFewerMapsAndComputesTheSame) {
  CostShape shape{.logits = 10, .rows = 4, .head_dim = 64, .group_before = 16, .group_after = 8};
  const double forward = operations(shape, Pass::Forward),
               backward = operations(shape, Pass::Backward);
  EXPECT_EQ(map_bytes(shape, Pass::Forward), 20 * (3 + 3));
  EXPECT_EQ(map_bytes(shape, Pass::Backward), 20 * (6 + 8));
  shape.mixing_alone = true;
  EXPECT_EQ(operations(shape, Pass::Forward), forward);
  EXPECT_EQ(operations(shape, Pass::Backward), backward);
  EXPECT_EQ(map_bytes(shape, Pass::Forward), 20 * (2 + 3));
  EXPECT_EQ(map_bytes(shape, Pass::Backward), 20 * (4 + 7));
  shape.group_before = 0;
  EXPECT_EQ(map_bytes(shape, Pass::Forward), 20 * (2 + 2));
}

TEST(Cost, ShapesAreThoseOfTheProblemAsItRuns) {
  constexpr float kThere[1] = {};
  constexpr std::size_t kBytes = std::size_t{512} << 20;
  constexpr int kHopper = 227 << 10, kAda = 99 << 10;  // shared memory of a block
  Problem p{.batch = 2, .heads = 16, .tokens = 100, .head_dim = 64};
  p.conv_before = {.kernel = kThere, .query_span = 6, .key_span = 11, .pad_left = 5};
  const CostShape alone = cost_shape(p, Direction::Forward, kBytes, kHopper);
  EXPECT_TRUE(alone.forward_in_one_pass);
  EXPECT_TRUE(alone.backward_in_one_pass);
  EXPECT_EQ(alone.logits, 2 * 16 * 5050);
  EXPECT_EQ(alone.rows, 2 * 16 * 100);
  EXPECT_EQ(alone.taps_before, 66);
  EXPECT_EQ(alone.taps_after + alone.group_before + alone.group_after, 0);
  EXPECT_TRUE(cost_shape(p, Direction::Backward, kBytes, kAda).softmax_streams);
  p.mix_before = {.weight = kThere, .group = 16};
  EXPECT_FALSE(cost_shape(p, Direction::Backward, kBytes, kAda).softmax_streams);
  EXPECT_TRUE(cost_shape(p, Direction::Backward, kBytes, kHopper).fused_before);
  EXPECT_FALSE(cost_shape(p, Direction::Backward, kBytes, kAda).fused_before);
  EXPECT_FALSE(cost_shape(p, Direction::Forward, kBytes, kHopper).forward_in_one_pass);
  p.mix_after = p.mix_before;
  EXPECT_FALSE(cost_shape(p, Direction::Forward, kBytes, kHopper).mixing_alone);
  p.conv_before = {};
  EXPECT_TRUE(cost_shape(p, Direction::Forward, kBytes, kHopper).mixing_alone);
}

TEST(Cost, TheFloorIsTheLongerOfMovingAndComputing) {
  const StageCost stage{.name = "", .map_bytes = 0, .bytes = 30, .operations = 100};
  EXPECT_EQ(floor_seconds(stage, 10, 1000), 3);
  EXPECT_EQ(floor_seconds(stage, 1000, 10), 10);
}

}  // namespace
}  // namespace mta::kernels
