// Norm, rotary embedding, feed-forward and loss against their formulas and central differences.
#include "lib/nn/cross_entropy.h"
#include "lib/nn/feed_forward.h"
#include "lib/nn/rms_norm.h"
#include "lib/nn/rotary.h"
#include "tests/support/gradients.h"
#include "tests/support/random_tensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/eye.h>
#include <gtest/gtest.h>

#include <cmath>

namespace mta {
namespace {

using check::random_tensor;
using check::relative_error;

at::Tensor leaf(at::IntArrayRef shape, std::string_view name) {
  return random_tensor(shape, name).set_requires_grad(true);
}

TEST(RmsNorm, FollowsItsFormula) {
  for (const std::int64_t d : {1, 3, 16, 65}) {
    const at::Tensor x = random_tensor({2, 3, d}, "x"), weight = random_tensor({d}, "weight");
    const at::Tensor truth = x / (x.square().mean(-1, true) + 1e-3).sqrt() * weight;
    EXPECT_LE(relative_error(rms_norm(x, weight, 1e-3), truth), 1e-14) << d;
    EXPECT_LE(relative_error(rms_norm(x.to(at::kFloat), weight.to(at::kFloat), 1e-3), truth), 1e-6);
    EXPECT_LE(relative_error(rms_norm(x.to(at::kBFloat16), weight, 1e-3), truth), 1e-2);
  }
}

TEST(RmsNorm, GradientsMatchCentralDifferences) {
  const at::Tensor x = leaf({2, 5, 7}, "x"), weight = leaf({7}, "weight");
  const at::Tensor out = random_tensor({2, 5, 7}, "out");
  check::expect_gradients([&] { return (rms_norm(x, weight, 1e-3) * out).sum(); },
                          {{"x", x}, {"weight", weight}});
}

TEST(RmsNorm, TakesStridedInputs) {
  const at::Tensor x = leaf({4, 3, 6}, "x"), weight = leaf({6}, "weight");
  const at::Tensor out = random_tensor({3, 2, 6}, "out");
  const auto strided = [&] { return x.transpose(0, 1).narrow(1, 1, 2); };
  EXPECT_TRUE(
      rms_norm(strided(), weight, 1e-5).equal(rms_norm(strided().contiguous(), weight, 1e-5)));
  check::expect_gradients([&] { return (rms_norm(strided(), weight, 1e-5) * out).sum(); },
                          {{"x", x}, {"weight", weight}});
}

TEST(Rotary, TurnsEachPairByItsAngle) {
  const at::Tensor x = random_tensor({2, 5, 3, 6}, "x");
  const RotaryTable table = make_rotary_table(9, 6, 100, at::kDouble);
  const at::Tensor y = rotate(x, table, 4);
  for (std::int64_t t = 0; t < 5; ++t) {
    for (std::int64_t pair = 0; pair < 3; ++pair) {
      const double angle =
          static_cast<double>(4 + t) * std::pow(100.0, -static_cast<double>(pair) / 3);
      const auto value = [&](const at::Tensor& from, std::int64_t part) {
        return from[1][t][2][2 * pair + part].item<double>();
      };
      EXPECT_NEAR(value(y, 0), value(x, 0) * std::cos(angle) - value(x, 1) * std::sin(angle),
                  1e-14);
      EXPECT_NEAR(value(y, 1), value(x, 0) * std::sin(angle) + value(x, 1) * std::cos(angle),
                  1e-14);
    }
  }
  const RotaryTable narrow = make_rotary_table(9, 6, 100, at::kFloat);
  EXPECT_LE(relative_error(rotate(x.to(at::kFloat), narrow, 4), y), 1e-6);
  EXPECT_LE(relative_error(rotate(x.to(at::kBFloat16), narrow, 4), y), 1e-2);
}

TEST(Rotary, OfAJointProductTurnsQueriesAndKeysAlone) {
  const at::Tensor joint = random_tensor({2, 5, 36}, "joint");
  const RotaryTable table = make_rotary_table(9, 6, 100, at::kDouble);
  const std::vector<at::Tensor> parts = rotate_joint(joint, table, {2, 2, 3});
  ASSERT_EQ(parts.size(), 3U);
  EXPECT_TRUE(parts[0].equal(rotate(joint.narrow(2, 0, 12).reshape({2, 5, 2, 6}), table, 0)));
  EXPECT_TRUE(parts[1].equal(rotate(joint.narrow(2, 12, 12).reshape({2, 5, 2, 6}), table, 0)));
  EXPECT_TRUE(parts[2].equal(joint.narrow(2, 24, 12).reshape({2, 5, 3, 4})));
}

TEST(Rotary, GradientsMatchCentralDifferences) {
  const at::Tensor x = leaf({2, 4, 3, 6}, "x"), out = random_tensor({2, 4, 3, 6}, "out");
  const RotaryTable table = make_rotary_table(6, 6, 100, at::kDouble);
  check::expect_gradients([&] { return (rotate(x, table, 2) * out).sum(); }, {{"x", x}});
}

TEST(Rotary, EveryHeadSizeTurnsAlikeInEveryType) {
  for (const std::int64_t d : {2, 6, 16, 24, 40, 64}) {
    const at::Tensor x = random_tensor({2, 5, 3, d}, "x");
    const RotaryTable wide = make_rotary_table(7, d, 100, at::kDouble);
    const at::Tensor pairs = x.unflatten(-1, {-1, 2});
    const at::Tensor swapped = pairs.flip(-1).flatten(-2);
    const auto rows = [](const at::Tensor& values) { return values.narrow(0, 2, 5).unsqueeze(1); };
    const at::Tensor truth = x * rows(wide.cos) + swapped * rows(wide.sin);
    EXPECT_LE(relative_error(rotate(x, wide, 2), truth), 1e-15) << d;
    const RotaryTable narrow = make_rotary_table(7, d, 100, at::kFloat);
    EXPECT_LE(relative_error(rotate(x.to(at::kFloat), narrow, 2), truth), 1e-6) << d;
    EXPECT_LE(relative_error(rotate(x.to(at::kBFloat16), narrow, 2), truth), 1e-2) << d;
  }
}

TEST(Rotary, RefusesPositionsBeyondItsTable) {
  const RotaryTable table = make_rotary_table(6, 6, 100, at::kDouble);
  EXPECT_THROW(rotate(random_tensor({1, 4, 1, 6}, "x"), table, 3), c10::Error);
}

TEST(FeedForward, FollowsItsFormulaWithGradients) {
  const at::Tensor x = leaf({2, 3, 4}, "x"), out = random_tensor({2, 3, 4}, "out");
  const at::Tensor w1 = leaf({5, 4}, "w1"), w2 = leaf({4, 5}, "w2"), w3 = leaf({5, 4}, "w3");
  const at::Tensor a = x.matmul(w1.t());
  const at::Tensor truth = (a / (1 + (-a).exp()) * x.matmul(w3.t())).matmul(w2.t());
  EXPECT_LE(relative_error(feed_forward(x, w1, w2, w3), truth), 1e-14);
  check::expect_gradients([&] { return (feed_forward(x, w1, w2, w3) * out).sum(); },
                          {{"x", x}, {"w1", w1}, {"w2", w2}, {"w3", w3}});
}

TEST(FeedForward, GateHoldsAtEverySizeAndFarFromZero) {
  for (const std::int64_t size : {1, 7, 16, 100, 1001}) {
    const at::Tensor identity = at::eye(size, at::kDouble);
    const at::Tensor x = random_tensor({1, size}, "x") * 1000;
    const at::Tensor truth = x / (1 + (-x).exp()) * x;
    EXPECT_LE(relative_error(feed_forward(x, identity, identity, identity), truth), 1e-14) << size;
    const at::Tensor narrow = identity.to(at::kFloat);
    EXPECT_LE(relative_error(feed_forward(x.to(at::kFloat), narrow, narrow, narrow), truth), 1e-6)
        << size;
  }
}

TEST(CrossEntropy, AveragesOverScoredPositions) {
  const at::Tensor logits = leaf({2, 4, 5}, "logits");
  const at::Tensor targets = check::random_tokens({2, 4}, 5, "targets");
  at::Tensor scored = check::random_tokens({2, 4}, 2, "scored");
  scored[0][1] = 1;
  const at::Tensor each =
      logits.exp().sum(-1).log() - logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1);
  const at::Tensor truth = (each * scored).sum() / scored.sum();
  EXPECT_NEAR(cross_entropy(logits, targets, scored).item<double>(), truth.item<double>(), 1e-14);
  EXPECT_NEAR(cross_entropy(logits.to(at::kFloat), targets, scored).item<float>(),
              truth.item<double>(), 1e-6);
  EXPECT_EQ(cross_entropy(logits.to(at::kBFloat16), targets, scored).scalar_type(), at::kFloat);
  check::expect_gradients([&] { return 3 * cross_entropy(logits, targets, scored); },
                          {{"logits", logits}});
}

}  // namespace
}  // namespace mta
