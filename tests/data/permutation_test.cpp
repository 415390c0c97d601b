// Orders without arrays: each is a bijection, and each epoch has its own.
#include "lib/data/permutation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace mta {
namespace {

TEST(Permutation, IsABijectionOfAnySize) {
  for (const std::uint64_t size : {1u, 2u, 3u, 4u, 5u, 7u, 16u, 17u, 64u, 65u, 1000u, 4097u}) {
    SCOPED_TRACE(size);
    const Permutation order(size, 1, 0);
    std::vector<int> hits(size);
    for (std::uint64_t i = 0; i < size; ++i) {
      const std::uint64_t at = order(i);
      ASSERT_LT(at, size);
      ++hits[at];
    }
    EXPECT_EQ(hits, std::vector<int>(size, 1));
  }
}

TEST(Permutation, DependsOnSeedAndEpochOnly) {
  constexpr std::uint64_t kSize = 1000;
  const Permutation order(kSize, 1, 0), again(kSize, 1, 0), epoch(kSize, 1, 1), seed(kSize, 2, 0);
  int same_epoch = 0, same_seed = 0, in_place = 0;
  for (std::uint64_t i = 0; i < kSize; ++i) {
    EXPECT_EQ(order(i), again(i));
    same_epoch += order(i) == epoch(i) ? 1 : 0;
    same_seed += order(i) == seed(i) ? 1 : 0;
    in_place += order(i) == i ? 1 : 0;
  }
  // Poisson with mean 1: above 10 once in 1e8.
  EXPECT_LE(same_epoch, 10);
  EXPECT_LE(same_seed, 10);
  EXPECT_LE(in_place, 10);
}

TEST(Permutation, EveryOrderOfThreeComesUpAsOften) {
  constexpr int kEpochs = 6000;
  std::vector<int> counts(27);
  for (std::uint64_t epoch = 0; epoch < kEpochs; ++epoch) {
    const Permutation order(3, 5, epoch);
    ++counts[order(0) * 9 + order(1) * 3 + order(2)];
  }
  for (const int count : counts) {
    if (count > 0) {
      EXPECT_NEAR(count, kEpochs / 6.0, 6 * std::sqrt(kEpochs / 6.0));
    }
  }
}

TEST(Permutation, ReachesBeyondThirtyTwoBits) {
  constexpr std::uint64_t kSize = (std::uint64_t{1} << 40) + 3;
  const Permutation order(kSize, 1, 0);
  std::uint64_t largest = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const std::uint64_t at = order(kSize - 1 - i);
    ASSERT_LT(at, kSize);
    largest = std::max(largest, at);
  }
  EXPECT_GT(largest, kSize / 2);
}

}  // namespace
}  // namespace mta
