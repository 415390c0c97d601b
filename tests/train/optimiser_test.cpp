// AdamW against its formulas, clipping, and what happens with a gradient that is not finite.
#include "lib/train/optimiser.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace mta {
namespace {

TrainConfig config_of() {
  TrainConfig config;
  config.betas = {0.9, 0.98};
  config.eps = 1e-3;
  config.weight_decay = 0.1;
  config.clip.reset();
  return config;
}

/// Two parameters of 3 and 1 elements.
Parameters make_parameters(at::ScalarType type) {
  Parameters parameters(1, at::TensorOptions().dtype(type));
  parameters.add("a", {3}, InitialValue::of(at::tensor({1.0, -2.0, 0.5}, at::kDouble)));
  parameters.add("b", {1}, InitialValue::of(at::tensor({3.0}, at::kDouble)));
  return parameters;
}

/// Sets the gradients that step `t` has: different in each element, falling with t.
void set_gradients(Parameters& parameters, double t) {
  const auto type = parameters.at("a").scalar_type();
  at::Tensor a = parameters.at("a"), b = parameters.at("b");
  a.mutable_grad() = at::tensor({3 / t, -0.5, 0.0}, at::kDouble).to(type);
  b.mutable_grad() = at::tensor({4 / t}, at::kDouble).to(type);
}

/// The formulas of the header for one element whose gradient at step t is gradient(t).
template <class Gradient>
double adamw_by_hand(double p, int steps, double lr, const TrainConfig& c, Gradient gradient) {
  double m = 0, v = 0;
  for (int t = 1; t <= steps; ++t) {
    const double g = gradient(t);
    p -= lr * c.weight_decay * p;
    m = c.betas[0] * m + (1 - c.betas[0]) * g;
    v = c.betas[1] * v + (1 - c.betas[1]) * g * g;
    p -= lr * (m / (1 - std::pow(c.betas[0], t))) /
         (std::sqrt(v / (1 - std::pow(c.betas[1], t))) + c.eps);
  }
  return p;
}

void expect_formulas(at::ScalarType type, double tolerance) {
  constexpr double kRate = 0.01;
  constexpr int kSteps = 5;
  const TrainConfig config = config_of();
  Parameters parameters = make_parameters(type);
  AdamW optimiser(parameters, config);
  for (int t = 1; t <= kSteps; ++t) {
    set_gradients(parameters, t);
    optimiser.step(kRate);
  }
  const at::Tensor a = parameters.at("a").detach().to(at::kDouble);
  const auto hand = [&](double p, auto g) { return adamw_by_hand(p, kSteps, kRate, config, g); };
  EXPECT_NEAR(a[0].item<double>(), hand(1, [](int t) { return 3.0 / t; }), tolerance);
  EXPECT_NEAR(a[1].item<double>(), hand(-2, [](int) { return -0.5; }), tolerance);
  EXPECT_NEAR(a[2].item<double>(), hand(0.5, [](int) { return 0.0; }), tolerance);
  EXPECT_NEAR(parameters.at("b").item<double>(), hand(3, [](int t) { return 4.0 / t; }), tolerance);
}

TEST(AdamW, FollowsTheFormulasInDouble) { expect_formulas(at::kDouble, 1e-12); }

TEST(AdamW, FollowsTheFormulasInFloat) { expect_formulas(at::kFloat, 1e-6); }

TEST(AdamW, ReturnsTheNormBeforeClipping) {
  Parameters parameters = make_parameters(at::kDouble);
  AdamW optimiser(parameters, config_of());
  set_gradients(parameters, 1);
  EXPECT_NEAR(optimiser.step(0.1).item<double>(), std::sqrt(3 * 3 + 0.5 * 0.5 + 4 * 4), 1e-12);
}

TEST(AdamW, ClipsToTheGlobalNorm) {
  TrainConfig config = config_of();
  config.clip = 0.5;
  Parameters parameters = make_parameters(at::kDouble);
  AdamW optimiser(parameters, config);
  set_gradients(parameters, 1);
  const double norm = optimiser.step(0.1).item<double>();
  // The first step's moment is (1 - b1) g.
  const double g = optimiser.state().at("exp_avg.b").item<double>() / 0.1;
  EXPECT_NEAR(g, 4 * 0.5 / (norm + 1e-6), 1e-9);

  config.clip = 100;
  AdamW loose(parameters, config);
  set_gradients(parameters, 1);
  loose.step(0.1);
  EXPECT_NEAR(loose.state().at("exp_avg.b").item<double>(), 0.1 * 4, 1e-12);
}

TEST(AdamW, AGradientThatIsNotFiniteChangesNoParameter) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    TrainConfig config = config_of();
    config.clip = 1;
    Parameters parameters = make_parameters(at::kFloat);
    AdamW optimiser(parameters, config);
    set_gradients(parameters, 1);
    parameters.at("b").mutable_grad().fill_(bad);
    const at::Tensor before = parameters.at("a").detach().clone();
    EXPECT_FALSE(std::isfinite(optimiser.step(0.1).item<double>()));
    EXPECT_TRUE(at::equal(parameters.at("a").detach(), before));
    EXPECT_TRUE(at::equal(parameters.at("b").detach(), at::tensor({3.0F})));
  }
}

TEST(AdamW, GoesOnFromItsState) {
  Parameters whole = make_parameters(at::kFloat), resumed = make_parameters(at::kFloat);
  AdamW first(whole, config_of());
  for (int t = 1; t <= 3; ++t) {
    set_gradients(whole, t);
    first.step(0.01);
  }
  AdamW second(resumed, config_of());
  second.restore(first.state());
  {
    const at::NoGradGuard no_grad;
    for (const auto& [name, tensor] : resumed.named()) tensor.copy_(whole.at(name));
  }
  set_gradients(whole, 4);
  set_gradients(resumed, 4);
  first.step(0.01);
  second.step(0.01);
  EXPECT_TRUE(at::equal(whole.at("a"), resumed.at("a")));
  EXPECT_TRUE(at::equal(whole.at("b"), resumed.at("b")));
}

TEST(AdamW, KeepsRoundedFormsAndTakesTheirGradients) {
  Parameters narrow = make_parameters(at::kFloat), wide = make_parameters(at::kFloat);
  AdamW first(narrow, config_of()), second(wide, config_of());
  const at::Tensor a = narrow.at("a");
  first.keep_rounded(
      {.weights = {a}, .rounded = {a.detach().to(at::kBFloat16)}, .type = at::kBFloat16});
  const at::Tensor form = first.rounded().rounded.at(0);
  for (int t = 1; t <= 3; ++t) {
    set_gradients(narrow, t);
    set_gradients(wide, t);
    form.mutable_grad() = a.grad().to(at::kBFloat16);
    a.mutable_grad() = at::Tensor();
    wide.at("a").mutable_grad() = form.grad().to(at::kFloat);
    EXPECT_EQ(first.step(0.01).item<float>(), second.step(0.01).item<float>());
    EXPECT_TRUE(at::equal(a, wide.at("a")));
    EXPECT_TRUE(at::equal(narrow.at("b"), wide.at("b")));
    EXPECT_TRUE(at::equal(form.detach(), a.detach().to(at::kBFloat16)));
    first.forget_gradients();
    EXPECT_FALSE(form.grad().defined());
  }
}

TEST(AdamW, RoundsAgainWhatOthersHaveChanged) {
  Parameters parameters = make_parameters(at::kFloat);
  AdamW optimiser(parameters, config_of());
  const at::Tensor a = parameters.at("a");
  optimiser.keep_rounded(
      {.weights = {a}, .rounded = {a.detach().to(at::kBFloat16)}, .type = at::kBFloat16});
  {
    const at::NoGradGuard no_grad;
    a.fill_(0.3);
  }
  EXPECT_FALSE(at::equal(optimiser.rounded().rounded.at(0).detach(), a.detach().to(at::kBFloat16)));
  optimiser.refresh_rounded();
  EXPECT_TRUE(at::equal(optimiser.rounded().rounded.at(0).detach(), a.detach().to(at::kBFloat16)));
}

TEST(AdamW, TakesTheRateAsATensor) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    Parameters number = make_parameters(type), tensor = make_parameters(type);
    AdamW first(number, config_of()), second(tensor, config_of());
    for (int t = 1; t <= 3; ++t) {
      set_gradients(number, t);
      set_gradients(tensor, t);
      first.step(0.1 / t);
      second.step(at::tensor({0.1 / t}, at::kDouble).squeeze());
    }
    EXPECT_TRUE(at::equal(number.at("a"), tensor.at("a")));
    EXPECT_TRUE(at::equal(number.at("b"), tensor.at("b")));
  }
}

TEST(AdamW, RefusesTheStateOfAnotherModel) {
  Parameters parameters = make_parameters(at::kFloat);
  AdamW optimiser(parameters, config_of());
  auto state = optimiser.state();
  state.erase("exp_avg.a");
  EXPECT_THROW(optimiser.restore(state), std::runtime_error);
  state["exp_avg.a"] = at::tensor({1.0F});
  EXPECT_THROW(optimiser.restore(state), std::runtime_error);
}

}  // namespace
}  // namespace mta
