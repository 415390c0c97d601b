// Cross-entropy in chunks against LibTorch's in double, over one chunk and several.
#include "lib/nn/chunked_cross_entropy.h"

#include "tests/support/gradients.h"
#include "tests/support/random_tensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace mta {
namespace {

using check::relative_error;

/// Targets in [0, V), of which every third is absent.
at::Tensor targets_of(std::int64_t rows, std::int64_t vocabulary) {
  at::Tensor targets =
      check::random_tokens({rows}, static_cast<std::uint32_t>(vocabulary), "targets");
  for (std::int64_t row = 2; row < rows; row += 3) targets[row] = kNoTarget;
  return targets;
}

struct Outcome {
  at::Tensor loss, gradient;
};

/// The gradient is that of 1.5 times the loss.
template <class Loss>
Outcome outcome_of(const at::Tensor& logits, const Loss& loss) {
  const at::Tensor leaf = logits.detach().clone().set_requires_grad(true);
  const at::Tensor value = loss(leaf);
  (value * 1.5).backward();
  return {value.detach(), leaf.grad()};
}

Outcome truth_of(const at::Tensor& logits, const at::Tensor& targets) {
  return outcome_of(logits.to(at::kDouble), [&](const at::Tensor& x) {
    return at::cross_entropy_loss(x, targets, {}, at::Reduction::Sum, kNoTarget);
  });
}

TEST(ChunkedCrossEntropy, IsLibTorchsWithinRounding) {
  // 2^24 values make a chunk: the last two have two chunks and a short one, and one row each.
  const std::pair<std::int64_t, std::int64_t> sizes[] = {
      {1, 1}, {7, 5}, {33, 113}, {2 * 1024 + 3, 1 << 14}, {2, (1 << 24) + 1}};
  for (const auto& [rows, vocabulary] : sizes) {
    const at::Tensor targets = targets_of(rows, vocabulary);
    const at::Tensor logits = check::random_tensor({rows, vocabulary}, "logits") * 8;
    for (const auto& [type, tolerance] :
         {std::pair(at::kDouble, 1e-13), {at::kFloat, 1e-5}, {at::kBFloat16, 4e-3}}) {
      if (type == at::kDouble && logits.numel() > 1 << 20) continue;  // time
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(vocabulary) + " in " +
                   c10::toString(type));
      const at::Tensor narrow = logits.to(type);
      const Outcome truth = truth_of(narrow, targets);
      const Outcome found = outcome_of(
          narrow, [&](const at::Tensor& x) { return chunked_cross_entropy(x, targets); });
      EXPECT_EQ(found.loss.scalar_type(), type == at::kDouble ? at::kDouble : at::kFloat);
      EXPECT_EQ(found.gradient.scalar_type(), type);
      if (vocabulary == 1) {  // certain: nothing to lose
        EXPECT_EQ(found.loss.item<double>(), 0);
        EXPECT_TRUE(found.gradient.eq(0).all().item<bool>());
        continue;
      }
      EXPECT_LE(relative_error(found.loss, truth.loss), type == at::kDouble ? 1e-13 : 1e-5);
      EXPECT_LE(relative_error(found.gradient, truth.gradient), tolerance);
      const at::Tensor absent =
          found.gradient.index_select(0, (targets == kNoTarget).nonzero().flatten());
      EXPECT_TRUE(absent.eq(0).all().item<bool>());
    }
  }
}

TEST(ChunkedCrossEntropy, GradientsMatchCentralDifferences) {
  const at::Tensor logits = check::random_tensor({5, 7}, "logits").set_requires_grad(true);
  const at::Tensor targets = targets_of(5, 7);
  check::expect_gradients([&] { return chunked_cross_entropy(logits, targets) * 0.7; },
                          {{"logits", logits}});
}

TEST(ChunkedCrossEntropy, HoldsFarFromZeroAndWithoutAnyTarget) {
  const at::Tensor logits = check::random_tensor({4, 9}, "logits") * 1e4;
  const at::Tensor targets = targets_of(4, 9);
  const Outcome truth = truth_of(logits, targets);
  const Outcome found =
      outcome_of(logits, [&](const at::Tensor& x) { return chunked_cross_entropy(x, targets); });
  EXPECT_LE(relative_error(found.loss, truth.loss), 1e-14);
  const at::Tensor none = at::full({4}, kNoTarget, at::kLong);
  EXPECT_EQ(chunked_cross_entropy(logits, none).item<double>(), 0);
  EXPECT_EQ(chunked_cross_entropy(logits.narrow(0, 0, 0), none.narrow(0, 0, 0)).item<double>(), 0);
}

TEST(ChunkedCrossEntropy, RefusesSizesThatDoNotFit) {
  const at::Tensor logits = check::random_tensor({4, 9}, "logits");
  EXPECT_THROW(chunked_cross_entropy(logits, targets_of(3, 9)), c10::Error);
  EXPECT_THROW(chunked_cross_entropy(logits.view({2, 2, 9}), targets_of(4, 9)), c10::Error);
}

}  // namespace
}  // namespace mta
