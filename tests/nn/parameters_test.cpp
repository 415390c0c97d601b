// Parameters: deterministic values by name, types, counting without memory.
#include "lib/nn/parameters.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

namespace mta {
namespace {

const InitialValue kNormal = InitialValue::truncated_normal(0.5);

TEST(Parameters, ValuesDependOnSeedAndNameAlone) {
  Parameters one(1, at::kDouble), other(1, at::kDouble), third(2, at::kDouble);
  other.add("earlier", {100}, kNormal);
  const at::Tensor a = one.add("a", {30, 40}, kNormal);
  EXPECT_TRUE(other.add("a", {30, 40}, kNormal).equal(a)) << "the order of construction matters";
  EXPECT_FALSE(third.add("a", {30, 40}, kNormal).equal(a));
  EXPECT_FALSE(one.add("b", {30, 40}, kNormal).equal(a));
}

TEST(Parameters, NarrowTypesAreRoundedDoubles) {
  Parameters wide(1, at::kDouble), narrow(1, at::kFloat);
  const at::Tensor rounded = wide.add("a", {30, 40}, kNormal).to(at::kFloat);
  EXPECT_TRUE(narrow.add("a", {30, 40}, kNormal).equal(rounded));
}

TEST(Parameters, TruncatedNormalStopsAtThreeSigma) {
  Parameters parameters(1, at::kDouble);
  const at::Tensor values = parameters.add("a", {100, 1000}, kNormal).detach();
  EXPECT_LE(values.abs().max().item<double>(), 1.5);
  EXPECT_NEAR(values.mean().item<double>(), 0, 0.01);
  // The variance of a standard normal cut at 3: 1 - 6 phi(3) / (2 Phi(3) - 1) = 0.9733.
  EXPECT_NEAR(values.std().item<double>(), 0.5 * std::sqrt(0.9733), 0.005);
}

TEST(Parameters, RequireGradientsAndKeepTheirOrder) {
  Parameters parameters(1, at::kFloat);
  EXPECT_TRUE(parameters.add("z", {2}, InitialValue::constant(3)).requires_grad());
  parameters.add("a", {3, 4}, kNormal);
  ASSERT_EQ(parameters.named().size(), 2u);
  EXPECT_EQ(parameters.named()[0].first, "z");
  EXPECT_EQ(parameters.count(), 14);
  EXPECT_EQ(parameters.at("z").sum().item<float>(), 6);
  EXPECT_THROW(parameters.at("y"), std::out_of_range);
  EXPECT_THROW(parameters.add("z", {2}, kNormal), c10::Error);
}

TEST(Parameters, OnTheMetaDeviceTakeNoMemory) {
  Parameters parameters(1, at::TensorOptions(at::kMeta).dtype(at::kFloat));
  parameters.add("huge", {1'000'000, 1'000'000}, kNormal);
  EXPECT_EQ(parameters.count(), 1'000'000'000'000);
}

}  // namespace
}  // namespace mta
