// The formulas of work, against counts by hand.
#include "lib/kernels/cost.h"

#include <gtest/gtest.h>

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

// "Passes" of the README: full MTA writes 5 maps and reads 5 forward, 10 and 15 backward.
TEST(Cost, MapBytesArePassesOfTwoBytesALogit) {
  const CostShape full{.logits = 1,
                       .head_dim = 64,
                       .taps_before = 66,
                       .taps_after = 66,
                       .group_before = 16,
                       .group_after = 16};
  EXPECT_EQ(map_bytes(full, Pass::Forward), 2 * (5 + 5));
  EXPECT_EQ(map_bytes(full, Pass::Backward), 2 * (10 + 15));
  CostShape fused = full;
  fused.fused_before = fused.fused_after = true;
  EXPECT_EQ(map_bytes(fused, Pass::Forward), 2 * (3 + 3));
  EXPECT_EQ(map_bytes(fused, Pass::Backward), 2 * (10 + 14));
  // S is written and read once.
  EXPECT_EQ(map_bytes({.logits = 1, .head_dim = 64}, Pass::Forward), 2 * 2);
  const CostShape alone{
      .logits = 1, .head_dim = 64, .taps_before = 66, .forward_in_one_pass = true};
  EXPECT_EQ(map_bytes(alone, Pass::Forward), 0);
  EXPECT_EQ(map_bytes(alone, Pass::Backward), 2 * (3 + 2 + 3 + 3 + 3));
}

}  // namespace
}  // namespace mta::kernels
