// Chunk plans: they keep to their budget, grow linearly with T, cover every row once, and
// round-trip through bytes.
#include "lib/kernels/workspace.h"

#include <gtest/gtest.h>

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
  EXPECT_EQ(backward_workspace_bytes(full_mta(1, 65, 100)), 0u);
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
      EXPECT_LE(chunk.rows.end - min_of(chunk.score_rows.begin, chunk.rows.begin), plan.ring)
          << tokens;
      EXPECT_LE(chunk.score_rows.size(), plan.rows + kSpareRows) << tokens;
      return true;
    });
    const int groups = ceil_div(p.batch, plan.batch_group);
    for (const std::vector<int>& seen : {rows, softmax, scores}) {
      for (const int n : seen) ASSERT_EQ(n, groups) << tokens;
    }
  }
}

TEST(KeyWindow, CoversTheBandOfEveryOutputInItsBlock) {
  for (int span = 1; span <= 32; ++span) {
    for (int left = 0; left < span; ++left) {
      const KeyWindow w = key_window(left, span);
      EXPECT_EQ(w.halo % kChunk, 0);
      EXPECT_GE(w.slack, 0);
      EXPECT_LE(w.slack + kChunk - 1 + span, kChunk * w.blocks);  // the last output's last tap
      EXPECT_LE(w.blocks, kMaxBlocks);
      const KeyWindow back = transposed(w);
      EXPECT_EQ(back.left, span - 1 - left);
      EXPECT_EQ(transposed(back).left, left);
    }
  }
}

}  // namespace
}  // namespace mta::kernels
