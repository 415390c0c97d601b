// The dropout mask's generator against Random123, and the mask's rate.
#include "lib/kernels/dropout.h"

#include <Random123/philox.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace mta::kernels {
namespace {

TEST(KernelDropout, GeneratorIsPhilox4x32With10Rounds) {
  std::mt19937 generator(3);
  for (int n = 0; n < 200; ++n) {
    r123::Philox4x32::ctr_type counter;
    r123::Philox4x32::key_type key;
    for (auto& word : counter) word = static_cast<std::uint32_t>(generator());
    for (auto& word : key) word = static_cast<std::uint32_t>(generator());
    const auto want = r123::Philox4x32()(counter, key);
    const DropoutBlock got =
        philox_4x32_10(counter[0], counter[1], counter[2], counter[3], key[0], key[1]);
    for (std::size_t word = 0; word < 4; ++word) ASSERT_EQ(got.word[word], want[word]) << n;
  }
}

TEST(KernelDropout, KeepsItsShareAndItsExpectation) {
  for (const float rate : {0.1f, 0.5f, 0.9f}) {
    const std::uint32_t threshold = dropout_threshold(rate);
    double sum = 0, kept = 0;
    constexpr int kRows = 400, kKeys = 256;
    for (std::uint32_t row = 0; row < kRows; ++row) {
      for (std::uint32_t key = 0; key < kKeys; ++key) {
        const DropoutBlock block = dropout_block(99, 1, 7, row, key);
        const float factor = dropout_factor(block, static_cast<int>(key % 8), threshold);
        sum += static_cast<double>(factor);
        kept += factor > 0 ? 1 : 0;
      }
    }
    const double count = kRows * kKeys, p = static_cast<double>(rate);
    EXPECT_NEAR(kept / count, 1 - p, 4 * std::sqrt(p * (1 - p) / count)) << rate;  // four sigma
    EXPECT_NEAR(sum / count, 1, 4 * std::sqrt(p / (1 - p) / count) + 1.0 / 65536) << rate;
  }
}

}  // namespace
}  // namespace mta::kernels
