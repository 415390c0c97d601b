// Random numbers: the published generator, reproducible, unbiased.
#include "lib/core/rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

namespace mta {
namespace {

// Known answer of Random123's kat_vectors for philox4x32-10 with counter and key zero.
TEST(Rng, IsPhilox4x32WithTenRounds) {
  Rng rng(0, 0, 0);
  EXPECT_EQ(rng.next(), 0x6627e8d5u);
  EXPECT_EQ(rng.next(), 0xe169c58du);
  EXPECT_EQ(rng.next(), 0xbc57ac4cu);
  EXPECT_EQ(rng.next(), 0x9b00dbd8u);
}

TEST(Rng, EverySeedStreamAndIndexGivesItsOwnSequence) {
  const auto first = [](std::uint64_t seed, Stream stream, std::uint64_t index) {
    Rng rng(seed, stream, index);
    return std::array{rng.next(), rng.next()};
  };
  const auto base = first(1, 2, 3);
  EXPECT_EQ(first(1, 2, 3), base);
  EXPECT_NE(first(1ull << 32 | 1, 2, 3), base);
  EXPECT_NE(first(1, 3, 3), base);
  EXPECT_NE(first(1, 2, 4), base);
  EXPECT_NE(first(1, 2, 1ull << 32 | 3), base);
}

TEST(Rng, BelowIsUniformForABoundThatDoesNotDivide) {
  Rng rng(7, 0, 0);
  std::array<int, 6> counts{};
  constexpr int kDraws = 60000;
  for (int i = 0; i < kDraws; ++i) ++counts.at(rng.below(6));
  double chi_square = 0;
  for (const int count : counts) chi_square += std::pow(count - kDraws / 6.0, 2) / (kDraws / 6.0);
  EXPECT_LT(chi_square, 20.5);  // 99.9 % quantile of chi-square with 5 degrees of freedom
}

TEST(Rng, UniformAndNormalHaveTheirMoments) {
  Rng rng(11, 0, 0);
  constexpr int kDraws = 40000;
  double uniform_sum = 0, normal_sum = 0, normal_squares = 0, largest = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = rng.uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    uniform_sum += u;
    const double z = rng.normal();
    normal_sum += z;
    normal_squares += z * z;
    largest = std::max(largest, std::abs(rng.truncated_normal(3)));
  }
  EXPECT_NEAR(uniform_sum / kDraws, 0.5, 0.01);
  EXPECT_NEAR(normal_sum / kDraws, 0, 0.03);
  EXPECT_NEAR(normal_squares / kDraws, 1, 0.05);
  EXPECT_LE(largest, 3);
}

TEST(Rng, ShuffleKeepsEveryItem) {
  std::vector<int> items(100);
  std::iota(items.begin(), items.end(), 0);
  Rng rng(3, 0, 0);
  rng.shuffle(items);
  EXPECT_FALSE(std::is_sorted(items.begin(), items.end()));
  std::sort(items.begin(), items.end());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(items[static_cast<std::size_t>(i)], i);
}

}  // namespace
}  // namespace mta
