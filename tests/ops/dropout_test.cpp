// The dropout mask: the same words as Random123, independent of windows, kept at the asked rate.
#include "lib/ops/attention_cpu.h"

#include <ATen/ATen.h>
#include <Random123/philox.h>
#include <gtest/gtest.h>

#include <array>

namespace mta::check {
namespace {

std::uint32_t low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
std::uint32_t high(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::uint32_t key0,
                                    std::uint32_t key1) {
  const r123::Philox4x32 generator;
  const r123::Philox4x32::ctr_type words =
      generator({{counter[0], counter[1], counter[2], counter[3]}}, {{key0, key1}});
  return {words[0], words[1], words[2], words[3]};
}

TEST(DropoutMask, IsPhiloxOfSeedStreamMapRowAndColumn) {
  const ops::Dropout dropout{
      .rate = 0.25, .seed = 0x123456789ABCDEF0, .stream = 0xFEDCBA9876543210};
  constexpr std::int64_t kBatch = 2, kHeads = 3, kFirst = 5, kRows = 4, kKeys = 77;
  const auto key = philox({low(dropout.stream), high(dropout.stream), 0, 0}, low(dropout.seed),
                          high(dropout.seed));
  for (const auto level : ops::cpu::simd_levels()) {
    for (const auto dtype : {at::kFloat, at::kDouble}) {
      const at::Tensor mask =
          ops::dropout_mask_at(level, dropout, kBatch, kHeads, kFirst, kRows, kKeys, dtype);
      ASSERT_EQ(mask.scalar_type(), dtype);
      const at::Tensor doubles = mask.to(at::kDouble).view({kBatch * kHeads, kRows, kKeys});
      const auto found = doubles.accessor<double, 3>();
      for (std::int64_t map = 0; map < kBatch * kHeads; ++map) {
        for (std::int64_t r = 0; r < kRows; ++r) {
          for (std::int64_t j = 0; j < kKeys; ++j) {
            const auto words =
                philox({static_cast<std::uint32_t>(j / 4), static_cast<std::uint32_t>(kFirst + r),
                        static_cast<std::uint32_t>(map), 0},
                       key[0], key[1]);
            const double expected =
                words[static_cast<std::size_t>(j % 4)] >= 1u << 30 ? 1 / 0.75 : 0;  // rate 2^32
            ASSERT_NEAR(found[map][r][j], expected, 1e-7) << map << " " << r << " " << j;
          }
        }
      }
    }
  }
}

TEST(DropoutMask, OfAWindowIsAPartOfTheWhole) {
  const ops::Dropout dropout{.rate = 0.5, .seed = 3, .stream = 4};
  const at::Tensor whole = ops::dropout_mask(dropout, 2, 2, 0, 50, 50, at::kFloat);
  const at::Tensor window = ops::dropout_mask(dropout, 2, 2, 41, 9, 50, at::kFloat);
  EXPECT_TRUE(at::equal(whole.slice(2, 41), window));
}

TEST(DropoutMask, KeepsTheAskedShareAndTheMean) {
  const ops::Dropout dropout{.rate = 0.1, .seed = 5, .stream = 6};
  const at::Tensor mask = ops::dropout_mask(dropout, 4, 4, 0, 128, 128, at::kDouble);
  // 262,144 draws: the standard deviation of the share is 0.0006.
  EXPECT_NEAR((mask == 0).to(at::kDouble).mean().item<double>(), 0.1, 0.003);
  EXPECT_NEAR(mask.mean().item<double>(), 1, 0.0035);
}

TEST(DropoutMask, DiffersBetweenSeedsStreamsAndMaps) {
  const auto mask = [](std::uint64_t seed, std::uint64_t stream) {
    return ops::dropout_mask({.rate = 0.5, .seed = seed, .stream = stream}, 1, 2, 0, 16, 16,
                             at::kFloat);
  };
  const at::Tensor one = mask(1, 1);
  EXPECT_FALSE(at::equal(one, mask(2, 1)));
  EXPECT_FALSE(at::equal(one, mask(1, 2)));
  EXPECT_FALSE(at::equal(one, mask(1, (1ull << 32) + 1)));
  EXPECT_FALSE(at::equal(one.select(1, 0), one.select(1, 1)));
}

TEST(DropoutMask, StepAddsToTheStream) {
  const ops::Dropout plain{.rate = 0.5, .seed = 1, .stream = 7};
  ops::Dropout stepped{.rate = 0.5, .seed = 1, .stream = 3};
  stepped.step = at::full({1}, 4, at::kInt);
  const at::Tensor ones = at::ones({1, 2, 16, 16});
  EXPECT_TRUE(at::equal(ops::dropped(ones, plain, 0), ops::dropped(ones, stepped, 0)));
  stepped.step.add_(1);
  EXPECT_FALSE(at::equal(ops::dropped(ones, plain, 0), ops::dropped(ones, stepped, 0)));
}

TEST(DropoutMask, DropsIn16BitsWhatItDropsInFloat) {
  const ops::Dropout dropout{.rate = 0.1, .seed = 1, .stream = 7};
  const at::Tensor weights = at::linspace(0.01, 1, 2 * 16 * 16).view({1, 2, 16, 16});
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    const at::Tensor rounded = weights.to(type).set_requires_grad(true);
    const at::Tensor got = ops::dropped(rounded, dropout, 0);
    EXPECT_EQ(got.scalar_type(), type);
    EXPECT_TRUE(at::equal(got, ops::dropped(rounded.to(at::kFloat), dropout, 0).to(type)));
    got.sum().backward();
    EXPECT_TRUE(at::equal(rounded.grad() == 0, got == 0)) << "the gradient is dropped alike";
  }
}

TEST(DropoutMask, RefusesAStepOfAnotherType) {
  ops::Dropout dropout{.rate = 0.5};
  dropout.step = at::full({1}, 4, at::kLong);
  EXPECT_THROW(ops::dropped(at::ones({1, 1, 2, 2}), dropout, 0), c10::Error);
}

TEST(DropoutMask, RefusesARateOfOne) {
  EXPECT_THROW(ops::dropout_mask({.rate = 1.0}, 1, 1, 0, 1, 1, at::kFloat), c10::Error);
}

}  // namespace
}  // namespace mta::check
