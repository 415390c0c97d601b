// How cores and GPUs are shared out.
#include "lib/sweep/machine.h"

#include <gtest/gtest.h>

namespace mta {
namespace {

TEST(Machine, SeesAtLeastOneCore) { EXPECT_GE(this_machine().cores, 1); }

TEST(Machine, ReadsTheQuotaOfAControlGroup) {
  EXPECT_EQ(quota_of("max 100000"), std::nullopt);
  EXPECT_EQ(quota_of("200000 100000"), 2);
  EXPECT_EQ(quota_of("150000 100000"), 2);
  EXPECT_EQ(quota_of(""), std::nullopt);
}

TEST(Shares, NeverLendMoreThreadsThanCores) {
  Shares shares({.cores = 8, .gpus = {}}, 3);
  EXPECT_EQ(shares.usual_threads(), 2);
  const auto first = shares.take({}), second = shares.take(5);
  EXPECT_EQ(first->threads, 2);
  EXPECT_EQ(second->threads, 5);
  EXPECT_FALSE(shares.take({}).has_value());  // 2 + 5 + 2 > 8
  EXPECT_TRUE(shares.take(1).has_value());
  EXPECT_FALSE(shares.has_room());
  shares.give_back(*second);
  EXPECT_TRUE(shares.take({}).has_value());
}

TEST(Shares, MoreJobsThanCoresBecomeAsManyAsThereAreCores) {
  const Shares shares({.cores = 2, .gpus = {}}, 16);
  EXPECT_EQ(shares.jobs(), 2);
  EXPECT_EQ(shares.usual_threads(), 1);
}

TEST(Shares, ARunThatWantsMoreThanThereIsRunsAlone) {
  Shares shares({.cores = 2, .gpus = {}}, 2);
  const auto big = shares.take(8);
  ASSERT_TRUE(big.has_value());
  EXPECT_EQ(big->threads, 8);
  EXPECT_FALSE(shares.take(1).has_value());
}

TEST(Shares, GpusGoToTheRunsEvenly) {
  Shares shares({.cores = 8, .gpus = {"3", "5"}}, 4);
  const auto first = shares.take({}), second = shares.take({}), third = shares.take({});
  EXPECT_EQ(first->gpu, "3");
  EXPECT_EQ(second->gpu, "5");
  EXPECT_EQ(third->gpu, "3");
  shares.give_back(*second);
  EXPECT_EQ(shares.take({})->gpu, "5");
}

}  // namespace
}  // namespace mta
