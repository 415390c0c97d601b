// Chunk plans: they keep to their budget, grow linearly with T, cover every row once, and
// round-trip through bytes.
#include "lib/kernels/workspace.h"

#include "lib/kernels/support.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace mta::kernels {
namespace {

const float kWeights[1] = {};

Problem full_mta(int batch, int heads, int tokens) {
  Problem p = {.batch = batch, .heads = heads, .tokens = tokens, .head_dim = 64, .scale = 0.125f};
  p.conv_before =
      p.conv_after = {.kernel = kWeights, .query_span = 6, .key_span = 11, .pad_left = 5};
  p.mix_before = p.mix_after = {.weight = kWeights, .group = heads};
  return p;
}

TEST(WorkspacePlan, KeepsToItsBudgetAndIsFoundAgainFromItsBytes) {
  for (const Direction direction : {Direction::Forward, Direction::Backward}) {
    for (const int tokens : {1, 63, 320, 2048, 16384}) {
      const Problem p = full_mta(4, 16, tokens);
      const WorkspacePlan plan = workspace_plan(p, direction, kDefaultWorkspaceBytes);
      EXPECT_LE(plan.bytes, kDefaultWorkspaceBytes) << tokens;
      const WorkspacePlan again = workspace_plan(p, direction, plan.bytes);
      EXPECT_EQ(again.bytes, plan.bytes) << tokens;
      EXPECT_EQ(again.rows, plan.rows) << tokens;
      EXPECT_EQ(again.batch_group, plan.batch_group) << tokens;
      EXPECT_EQ(again.head_group, plan.head_group) << tokens;
    }
  }
}

TEST(WorkspacePlan, LongChunksHaveLongStripsUnlessTheLaunchPlanSays) {
  Problem p = full_mta(4, 16, 2048);
  const auto launch = [&](std::size_t budget) {
    return workspace_plan(p, Direction::Backward, budget).launch;
  };
  EXPECT_EQ(launch(kDefaultWorkspaceBytes / 2).convolution_keys, 256);
  EXPECT_EQ(launch(kDefaultWorkspaceBytes / 2).mixing_rows, 8);
  EXPECT_EQ(launch(std::size_t{4} << 30).convolution_keys, 512);
  EXPECT_EQ(launch(std::size_t{4} << 30).mixing_rows, 16);
  p.launch = {.convolution_keys = 128, .mixing_rows = 4};
  EXPECT_EQ(launch(std::size_t{4} << 30).convolution_keys, 128);
  EXPECT_EQ(launch(std::size_t{4} << 30).mixing_rows, 4);
}

TEST(WorkspacePlan, FewRowsOfManyKeysAreSummedUpInParts) {
  const auto plan = [](int tokens, std::size_t mib) {
    return workspace_plan(full_mta(1, 16, tokens), Direction::Backward, mib << 20);
  };
  const WorkspacePlan long_rows = plan(16384, 512);
  EXPECT_EQ(long_rows.launch.sum_parts, 16);
  EXPECT_GE(long_rows.bytes - long_rows.sum_partials,
            sizeof(float) * 16 * 16 * 64 * static_cast<std::size_t>(long_rows.rows + kSpareRows));
  EXPECT_EQ(plan(2048, 1600).launch.sum_parts, 1) << "256 blocks of rows";
  EXPECT_EQ(plan(2048, 1600).sum_partials, WorkspacePlan::kNone);
}

TEST(WorkspacePlan, SumsHaveASlotForEveryBlock) {
  Problem p = full_mta(1, 16, 1000);
  p.launch = {.chunk_rows = 128, .convolution_keys = 192, .mixing_keys = 320, .mixing_rows = 12};
  const WorkspacePlan plan = workspace_plan(p, Direction::Backward, std::size_t{1} << 30);
  EXPECT_EQ(plan.rows, 128);
  EXPECT_EQ(convolution_sum_slots(plan), 3 * 6);  // 160 rows in tiles of 64, 1,024 keys in strips
  EXPECT_EQ(plan.blocks_before.slots, 3 * 8);     // streamed: 64 rows by 128 keys
  EXPECT_EQ(mixing_sum_slots(plan), 4 * 16);      // fused, 128 rows by 32; alone only 14 * 4
  EXPECT_GE(plan.sums_end - plan.sums_begin, 2 * sizeof(float) * (16 * 24 * 66 + 64 * 256));
  p.causality = Causality::Exact;
  EXPECT_EQ(workspace_plan(p, Direction::Backward, std::size_t{1} << 30).blocks_after.slots, 18);
}

TEST(WorkspacePlan, GradientsStreamThroughAWarpWhereRegistersHoldThem) {
  Problem p = full_mta(4, 16, 2048);
  const auto with = [&](int query_span, int key_span, int pad_left) {
    return gradients_stream(
        p,
        {.kernel = kWeights, .query_span = query_span, .key_span = key_span, .pad_left = pad_left});
  };
  EXPECT_TRUE(with(6, 11, 5));
  EXPECT_TRUE(with(1, 1, 0));
  EXPECT_TRUE(with(6, 17, 8));
  EXPECT_FALSE(with(7, 11, 5));
  EXPECT_FALSE(with(6, 18, 8)) << "a window of four blocks";
  p.causality = Causality::Exact;
  EXPECT_FALSE(with(6, 11, 5)) << "masks that differ from offset to offset";
}

TEST(WorkspacePlan, StripsMatterWhereAConvolutionWorksByTiles) {
  Problem p = full_mta(4, 16, 2048);
  const auto by_tiles = [&](Direction direction) { return convolves_by_tiles(p, direction); };
  EXPECT_FALSE(by_tiles(Direction::Forward));
  EXPECT_FALSE(by_tiles(Direction::Backward));
  p.causality = Causality::Exact;
  EXPECT_TRUE(by_tiles(Direction::Forward)) << "before the softmax";
  p.conv_before = {};
  EXPECT_FALSE(by_tiles(Direction::Forward));
  EXPECT_TRUE(by_tiles(Direction::Backward));
  p.causality = Causality::Double;
  p.conv_after.query_span = 7;
  EXPECT_TRUE(by_tiles(Direction::Forward));
}

TEST(LaunchPlan, StreamedSegmentsAreLongWhereTheCardIsFull) {
  EXPECT_EQ(streamed_rows(2048, 64 * 16), 256);
  EXPECT_EQ(streamed_rows(1024, 64 * 8), 64);
  EXPECT_EQ(streamed_rows(512, 64 * 4), 64);
  EXPECT_EQ(streamed_rows(64, 1), 64);
}

TEST(LaunchPlan, WalkedSegmentsGiveTheCardWarpsForItsEnd) {
  EXPECT_EQ(walked_rows(4096, 64 * 32), 256);
  EXPECT_EQ(walked_rows(2048, 64 * 16), 128);
  EXPECT_EQ(walked_rows(512, 64 * 4), 32);
  EXPECT_EQ(walked_rows(64, 1), 32);
}

TEST(WorkspacePlan, IsFoundAgainAcrossTheStepToLongStrips) {
  for (const int heads : {1, 2, 16}) {
    Problem p = full_mta(1, heads, 4096);
    p.conv_before.query_span = p.conv_after.query_span = 16;
    p.conv_before.key_span = p.conv_after.key_span = 32;
    p.launch.convolution_keys = 0;
    for (int rows = 896; rows <= 1152; rows += 64) {
      p.launch.chunk_rows = rows;
      const std::size_t budget = workspace_plan(p, Direction::Backward, std::size_t{8} << 30).bytes;
      p.launch.chunk_rows = 0;
      const WorkspacePlan plan = workspace_plan(p, Direction::Backward, budget);
      EXPECT_GE(plan.rows, rows) << heads;
      EXPECT_EQ(workspace_plan(p, Direction::Backward, plan.bytes).rows, plan.rows) << heads;
    }
  }
}

/// Long texts in the usual workspace: where heads are not mixed, some at a time make chunks longer.
TEST(WorkspacePlan, TakesSomeHeadsAtATimeWhereThatMakesChunksLonger) {
  Problem p = full_mta(1, 16, 16384);
  const auto plan = [&] { return workspace_plan(p, Direction::Backward, kDefaultWorkspaceBytes); };
  EXPECT_EQ(plan().head_group, 16) << "all heads are mixed";
  EXPECT_EQ(plan().rows, 64);
  p.mix_before.group = 2, p.mix_after.group = 4;
  EXPECT_EQ(plan().head_group, 8) << "half empty mixing blocks, but chunks of 64 rows cost more";
  EXPECT_GE(plan().rows, 256);
  p.mix_before = p.mix_after = {};
  EXPECT_GE(plan().rows, 256);
  EXPECT_LT(plan().head_group, 16);
  p.tokens = 2048;
  EXPECT_EQ(plan().head_group, 16) << "chunks are long enough";
  p.tokens = 1 << 17;
  EXPECT_EQ(plan().head_group, 1);
  EXPECT_LE(plan().bytes, kDefaultWorkspaceBytes);
}

/// As many chunks either way: of whole batch elements, which repeat nothing, if they fill the card.
TEST(WorkspacePlan, TakesWholeBatchElementsWhereThatMakesNoMoreChunks) {
  Problem p = full_mta(4, 16, 2048);
  p.head_dim = 64;
  const auto expect_whole = [&](int mebibytes, int batch_group) {
    const WorkspacePlan plan =
        workspace_plan(p, Direction::Backward, static_cast<std::size_t>(mebibytes) << 20);
    EXPECT_EQ(plan.batch_group, batch_group) << mebibytes;
    EXPECT_EQ(plan.rows, p.tokens) << mebibytes;
    EXPECT_EQ(plan.shape.growth, 1) << mebibytes;
    EXPECT_EQ(plan.d_k_sum, WorkspacePlan::kNone) << mebibytes;
    EXPECT_EQ(workspace_plan(p, Direction::Backward, plan.bytes).batch_group, batch_group);
  };
  expect_whole(1600, 4);
  expect_whole(1000, 2);
  expect_whole(512, 1);
  p.tokens = 4096;
  expect_whole(1600, 1);
  p.tokens = 1024;
  const WorkspacePlan small = workspace_plan(p, Direction::Backward, std::size_t{256} << 20);
  EXPECT_EQ(small.batch_group, 2) << "one element is too small for the card";
}

TEST(WorkspacePlan, HeadsInFlightAreWholeGroupsAndWholeUnits) {
  for (const int heads : {1, 6, 12, 16, 20, 32, 48, 60, 64}) {
    for (int before = 1; before <= heads; ++before) {
      for (int after = 1; after <= heads; ++after) {
        if (heads % before != 0 || heads % after != 0) continue;
        Problem p = full_mta(1, heads, 16384);
        p.mix_before.group = before, p.mix_after.group = after;
        for (const int mebibytes : {0, 128, 256, 512, 1024}) {
          const WorkspacePlan plan =
              workspace_plan(p, Direction::Backward, static_cast<std::size_t>(mebibytes) << 20);
          for (const Mixing& mix : {p.mix_before, p.mix_after}) {
            const MixingPlan all = mixing_plan(mix, heads, plan.head_group);
            int units = 0;
            for (int head = 0; head < heads; head += plan.head_group) {
              const int taken = min_of(plan.head_group, heads - head);
              EXPECT_EQ(taken % mix.group, 0);
              EXPECT_EQ(unit_of_head(all, head), units) << heads << " " << before << " " << after;
              units += mixing_plan(mix, taken, plan.head_group).units;
            }
            EXPECT_EQ(units, all.units) << heads << " " << before << " " << after;
          }
        }
      }
    }
  }
}

TEST(WorkspacePlan, SmallestChunkGrowsLinearlyWithTokens) {
  const auto bytes = [](int tokens) {
    return workspace_plan(full_mta(1, 16, tokens), Direction::Backward, 0).bytes;
  };
  EXPECT_LT(bytes(16384), 2.1 * static_cast<double>(bytes(8192)));
  EXPECT_LT(bytes(8192), std::size_t{512} << 20);
}

TEST(WorkspacePlan, ZeroForWhatIsNotSupported) {
  EXPECT_EQ(forward_workspace_bytes(full_mta(1, 65, 100)), 0u);
  for (const bool with_output : {false, true}) {
    EXPECT_EQ(backward_workspace_bytes(full_mta(1, 65, 100), kDefaultWorkspaceBytes, with_output),
              0u);
  }
}

TEST(WorkspacePlan, AForwardInOnePassTakesTablesOnly) {
  Problem p = full_mta(4, 16, 2048);
  EXPECT_FALSE(forward_in_one_pass(p));
  p.conv_after = {};
  EXPECT_FALSE(forward_in_one_pass(p));
  p.mix_before = p.mix_after = {};
  EXPECT_TRUE(forward_in_one_pass(p));
  EXPECT_LT(forward_workspace_bytes(p), std::size_t{1} << 16);
  EXPECT_EQ(one_pass_plan(p).batch_group, 4);
  p.dropout.rate = 0.1f;
  EXPECT_TRUE(forward_in_one_pass(p));
  p.conv_before.key_span = 32;
  EXPECT_FALSE(forward_in_one_pass(p));
}

Problem convolution_alone(int batch, int heads, int tokens) {
  Problem p = full_mta(batch, heads, tokens);
  p.conv_after = {};
  p.mix_before = p.mix_after = {};
  return p;
}

TEST(WorkspacePlan, ABackwardInOnePassNeedsNarrowWindowsOnBothSides) {
  Problem p = convolution_alone(4, 16, 2048);
  const auto with = [&](int query_span, int key_span, int pad_left) {
    p.conv_before.query_span = query_span;
    p.conv_before.key_span = key_span;
    p.conv_before.pad_left = pad_left;
    return backward_in_one_pass(p);
  };
  EXPECT_TRUE(with(6, 11, 5));
  EXPECT_TRUE(with(2, 9, 4));
  EXPECT_TRUE(with(1, 3, 1));
  EXPECT_TRUE(with(6, 17, 8));
  EXPECT_FALSE(with(7, 11, 5));
  EXPECT_FALSE(with(6, 11, 10)) << "no key on the right";
  EXPECT_FALSE(with(6, 11, 0));
  EXPECT_FALSE(with(6, 11, 9));
  EXPECT_FALSE(with(6, 11, 1)) << "nine keys on the right";
  ASSERT_TRUE(with(6, 11, 5));
  p.causality = Causality::Exact;
  EXPECT_FALSE(backward_in_one_pass(p));
  p.causality = Causality::Double;
  p.mix_before = {.weight = kWeights, .group = 2};
  EXPECT_FALSE(backward_in_one_pass(p));
  p.mix_before = {};
  p.dropout.rate = 0.1f;
  EXPECT_TRUE(backward_in_one_pass(p));
}

TEST(WorkspacePlan, TheSoftmaxStreamsWhereItsDotsAreThereAndNothingIsMixedBeforeIt) {
  Problem p = full_mta(4, 16, 2048);
  const auto streams = [&](std::size_t budget) {
    return softmax_streams(p, workspace_plan(p, Direction::Backward, budget));
  };
  constexpr std::size_t kAmple = std::size_t{8} << 30;
  EXPECT_FALSE(streams(kAmple)) << "heads are mixed before it";
  p.mix_before = {};
  EXPECT_TRUE(streams(kAmple));
  EXPECT_FALSE(streams(0)) << "rows below a chunk have no dots yet";
  p.conv_before.query_span = 7;
  EXPECT_FALSE(streams(kAmple));
  p.conv_before = {};
  EXPECT_FALSE(streams(kAmple));
}

/// Without o the chain runs, and needs what it always did.
TEST(WorkspacePlan, ABackwardInOnePassKeepsTwoMapsInLongerChunks) {
  const Problem p = convolution_alone(4, 16, 2048);
  EXPECT_EQ(backward_workspace_bytes(p, kDefaultWorkspaceBytes, false),
            workspace_plan(p, Direction::Backward, kDefaultWorkspaceBytes).bytes);
  for (const std::size_t budget : {std::size_t{0}, kDefaultWorkspaceBytes, std::size_t{2} << 30}) {
    const WorkspacePlan plan = one_pass_backward_plan(p, budget);
    EXPECT_EQ(backward_workspace_bytes(p, budget, true), plan.bytes);
    EXPECT_EQ(one_pass_backward_plan(p, plan.bytes).rows, plan.rows);
    EXPECT_EQ(plan.scores, WorkspacePlan::kNone);
    EXPECT_EQ(convolution_sum_slots(plan), ceil_div(plan.rows + kSpareRows, kTileRows));
  }
  EXPECT_EQ(one_pass_backward_plan(p, 0).rows, kTileRows);
  constexpr std::size_t kSmall = kDefaultWorkspaceBytes / 4;
  const auto rows_of_heads = [](const WorkspacePlan& plan) {
    return plan.rows * plan.batch_group * plan.head_group;
  };
  EXPECT_GE(4 * rows_of_heads(one_pass_backward_plan(p, kSmall)),
            5 * rows_of_heads(workspace_plan(p, Direction::Backward, kSmall)));
  EXPECT_EQ(one_pass_backward_plan(p, std::size_t{2} << 30).rows, 2048);
  EXPECT_EQ(one_pass_backward_plan(p, std::size_t{2} << 30).d_k_sum, WorkspacePlan::kNone);
}

/// Without convolutions M lives in registers only, where a block holds whole groups of both
/// mixings.
TEST(WorkspacePlan, HeadMixingAloneKeepsTwoMapsBackward) {
  Problem p = full_mta(1, 16, 512);
  EXPECT_FALSE(mixing_alone(p));
  p.conv_before = p.conv_after = {};
  const auto maps = [&] {
    const WorkspacePlan plan = workspace_plan(p, Direction::Backward, std::size_t{1} << 40);
    return plan.bytes / plan.map_bytes;
  };
  EXPECT_TRUE(mixing_alone(p));
  EXPECT_EQ(maps(), 2u);
  p.mix_before = {};
  EXPECT_TRUE(mixing_alone(p));
  std::swap(p.mix_before, p.mix_after);
  EXPECT_FALSE(mixing_alone(p)) << "A is not stored at all";
  p.dropout.rate = 0.1f;
  EXPECT_TRUE(mixing_alone(p));
  p.heads = 24;
  p.mix_before.group = 3, p.mix_after = {.weight = kWeights, .group = 4};
  EXPECT_FALSE(mixing_alone(p)) << "blocks of 15 and of 16 heads";
  p.heads = 12;
  EXPECT_TRUE(mixing_alone(p));
  p.heads = p.mix_after.group = 32;
  p.mix_before.group = 16;
  EXPECT_FALSE(mixing_alone(p)) << "a group of two blocks";
}

/// Blocks that read one tile of S together must not find dS in it.
TEST(WorkspacePlan, ScoreGradientsOverwriteOnlyWhatOneBlockReads) {
  Problem p = full_mta(1, 16, 512);
  const auto plan = [&] { return workspace_plan(p, Direction::Backward, 0); };
  EXPECT_EQ(plan().d_scores, plan().scores);
  p.conv_before.query_span = 7;
  EXPECT_EQ(plan().d_scores, plan().mixed);
  p.conv_before.query_span = 4;
  p.conv_before.key_span = 32;
  EXPECT_EQ(plan().d_scores, plan().scores);
  p.conv_before.query_span = 5;
  EXPECT_EQ(plan().d_scores, plan().mixed);
}

TEST(Chunks, EveryStageSeesEveryRowOnceAndItsRowsStayInTheRing) {
  for (const int tokens : {1, 64, 65, 100, 192, 200, 511}) {
    const Problem p = full_mta(3, 2, tokens);
    const WorkspacePlan plan = workspace_plan(p, Direction::Backward, 0);
    std::vector<int> rows(static_cast<std::size_t>(tokens)), softmax = rows, scores = rows;
    const auto count = [](std::vector<int>& seen, RowRange range) {
      for (int i = range.begin; i < range.end; ++i) ++seen[static_cast<std::size_t>(i)];
    };
    for_each_chunk(p, plan, [&](const Chunk& chunk) {
      count(rows, chunk.rows);
      count(softmax, chunk.softmax_rows);
      count(scores, chunk.score_rows);
      EXPECT_LE(chunk.rows.end - min_of(chunk.score_rows.begin, chunk.rows.begin),
                plan.shape.ring())
          << tokens;
      EXPECT_LE(chunk.score_rows.size(), plan.rows + kSpareRows) << tokens;
      return true;
    });
    const int groups = ceil_div(p.batch, plan.batch_group) * ceil_div(p.heads, plan.head_group);
    for (const std::vector<int>& seen : {rows, softmax, scores}) {
      for (const int n : seen) ASSERT_EQ(n, groups) << tokens;
    }
  }
}

}  // namespace
}  // namespace mta::kernels
