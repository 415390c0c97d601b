// The fused CPU attention against loops, against autograd of the composed form, and against central
// differences, at every instruction set of this machine.
#include "lib/ops/attention_cpu.h"
#include "tests/ops/cases.h"
#include "tests/ops/composed.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace mta::check {
namespace {

/// The largest difference relative to the largest entry of the truth (1 where that is smaller).
double worst(const at::Tensor& found, const at::Tensor& truth) {
  if (truth.numel() == 0) return found.numel() == 0 ? 0 : INFINITY;
  const at::Tensor difference = (found.to(at::kDouble) - truth.to(at::kDouble)).abs();
  if (difference.isnan().any().item<bool>()) return INFINITY;
  return difference.max().item<double>() / std::max(1.0, truth.abs().max().item<double>());
}

/// A weight for each output, so that transpositions and exchanged rows show.
at::Tensor output_weights(const at::Tensor& out) {
  return at::sin(at::arange(out.numel(), at::kDouble) * 1.7 + 0.3)
      .reshape(out.sizes())
      .to(out.scalar_type());
}

using Attend = std::function<at::Tensor(const ops::AttentionCall&)>;

struct Result {
  at::Tensor out;
  std::vector<std::pair<std::string, at::Tensor>> gradients;
};

Result output_and_gradients(const Attend& attend, const ops::AttentionCall& call,
                            at::ScalarType dtype) {
  ops::AttentionCall copy = leaves(call, dtype);
  Result result;
  result.out = attend(copy);
  (result.out * output_weights(result.out)).sum().backward();
  for (auto& [name, tensor] : differentiable(copy))
    result.gradients.emplace_back(name, tensor->grad());
  return result;
}

void expect_near(const Result& found, const Result& truth, double tolerance) {
  EXPECT_LE(worst(found.out, truth.out), tolerance) << "output";
  for (std::size_t i = 0; i < truth.gradients.size(); ++i) {
    EXPECT_LE(worst(found.gradients[i].second, truth.gradients[i].second), tolerance)
        << "gradient of " << truth.gradients[i].first;
  }
}

std::vector<AttentionCase> all_cases() {
  std::vector<AttentionCase> cases = small_cases();
  for (const AttentionCase& c : large_cases()) cases.push_back(c);
  return cases;
}

Attend fused(ops::cpu::SimdLevel level) {
  return [level](const ops::AttentionCall& call) { return ops::attention_cpu_at(level, call); };
}

// One thread: waking a second one costs more than most of these cases.
class FusedAttention : public ::testing::Test {
 protected:
  FusedAttention() { at::set_num_threads(1); }
};

TEST_F(FusedAttention, EqualsLoopsOverSingleEntries) {
  for (const AttentionCase& c : small_cases()) {
    if (c.dropout > 0) continue;
    SCOPED_TRACE(c.name());
    const ops::AttentionCall call = random_call(c, 11, at::kDouble);
    const at::Tensor truth = by_loops(call);
    EXPECT_LE(worst(composed(call), truth), 1e-13)
        << "the composed form that the other tests compare with";
    EXPECT_LE(worst(ops::attention(call), truth), 1e-13);
  }
}

TEST_F(FusedAttention, EqualsTheComposedFormInDouble) {
  for (const AttentionCase& c : all_cases()) {
    const ops::AttentionCall call = random_call(c, 12, at::kDouble);
    const Result truth = output_and_gradients(composed, call, at::kDouble);
    for (const auto level : ops::cpu::simd_levels()) {
      SCOPED_TRACE(c.name() + ", level " + std::to_string(static_cast<int>(level)));
      expect_near(output_and_gradients(fused(level), call, at::kDouble), truth, 1e-11);
    }
  }
}

// Twice the composed form's own error, and a few roundings where that happens to be tiny.
TEST_F(FusedAttention, IsAsNearToTheTruthInFloatAsTheComposedForm) {
  constexpr double kRoundings = 64 * 6e-8;
  for (const AttentionCase& c : all_cases()) {
    const ops::AttentionCall call = random_call(c, 13, at::kFloat);
    const Result truth = output_and_gradients(composed, call, at::kDouble);
    const Result plain = output_and_gradients(composed, call, at::kFloat);
    for (const auto level : ops::cpu::simd_levels()) {
      SCOPED_TRACE(c.name() + ", level " + std::to_string(static_cast<int>(level)));
      const Result found = output_and_gradients(fused(level), call, at::kFloat);
      EXPECT_LE(worst(found.out, truth.out), 2 * worst(plain.out, truth.out) + kRoundings);
      for (std::size_t i = 0; i < truth.gradients.size(); ++i) {
        const auto& [name, exact] = truth.gradients[i];
        EXPECT_LE(worst(found.gradients[i].second, exact),
                  2 * worst(plain.gradients[i].second, exact) + kRoundings)
            << "gradient of " << name;
      }
    }
  }
}

TEST_F(FusedAttention, GradientsMatchCentralDifferences) {
  constexpr double kStep = 1e-6, kTolerance = 1e-7;
  for (const AttentionCase& c : small_cases()) {
    SCOPED_TRACE(c.name());
    ops::AttentionCall call = random_call(c, 14, at::kDouble);
    const Result found = output_and_gradients(ops::attention, call, at::kDouble);
    const auto loss = [&] {
      const at::Tensor out = ops::attention(call);
      return (out * output_weights(out)).sum().item<double>();
    };
    const auto tensors = differentiable(call);
    for (std::size_t t = 0; t < tensors.size(); ++t) {
      at::Tensor& x = *tensors[t].second;
      x = x.contiguous();
      double* entries = x.mutable_data_ptr<double>();
      const at::Tensor gradient = found.gradients[t].second.contiguous();
      for (std::int64_t i = 0; i < x.numel(); ++i) {
        const double before = entries[i];
        entries[i] = before + kStep;
        const double above = loss();
        entries[i] = before - kStep;
        const double below = loss();
        entries[i] = before;
        const double expected = (above - below) / (2 * kStep),
                     is = gradient.const_data_ptr<double>()[i];
        ASSERT_NEAR(is, expected, kTolerance * std::max(1.0, std::abs(expected)))
            << tensors[t].first << ", entry " << i;
      }
    }
  }
}

bool identical(const at::Tensor& a, const at::Tensor& b) { return at::equal(a, b); }

TEST_F(FusedAttention, TheFutureNeverTouchesThePast) {
  for (const AttentionCase& c : all_cases()) {
    if (c.rows < 2) continue;
    SCOPED_TRACE(c.name());
    ops::AttentionCall call = random_call(c, 15, at::kFloat);
    const at::Tensor before = ops::attention(call);
    const std::int64_t cut = c.rows / 2, position = c.first_row + cut;
    call.q = call.q.clone(), call.k = call.k.clone(), call.v = call.v.clone();
    call.q.slice(2, cut).mul_(-3);
    call.k.slice(2, position).add_(5);
    call.v.slice(2, position).mul_(7);
    const at::Tensor after = ops::attention(call);
    EXPECT_TRUE(identical(before.slice(2, 0, cut), after.slice(2, 0, cut)));
    EXPECT_FALSE(identical(before.slice(2, cut), after.slice(2, cut)));
  }
}

TEST_F(FusedAttention, BitsDependOnNeitherTheRunNorTheThreads) {
  for (const AttentionCase& c : large_cases()) {
    SCOPED_TRACE(c.name());
    const ops::AttentionCall call = random_call(c, 16, at::kFloat);
    const Result first = output_and_gradients(ops::attention, call, at::kFloat);
    for (const int count : {1, 2, 3}) {
      at::set_num_threads(count);
      const Result again = output_and_gradients(ops::attention, call, at::kFloat);
      EXPECT_TRUE(identical(first.out, again.out));
      for (std::size_t i = 0; i < first.gradients.size(); ++i) {
        EXPECT_TRUE(identical(first.gradients[i].second, again.gradients[i].second))
            << first.gradients[i].first;
      }
    }
    at::set_num_threads(1);
  }
}

// With identity kernels and matrices every stage is there and none changes anything.
TEST_F(FusedAttention, IdentityStagesAreStandardAttention) {
  AttentionCase c{.heads = 4,
                  .rows = 113,
                  .keys = 113,
                  .head_dim = 16,
                  .value_dim = 16,
                  .query_span = 3,
                  .key_span = 5,
                  .pad_left = 2,
                  .query_span_after = 3,
                  .key_span_after = 5,
                  .pad_left_after = 2,
                  .heads_before = 4,
                  .heads_after = 4};
  ops::AttentionCall call = random_call(c, 17, at::kDouble);
  for (const auto& kernel : {call.kq_before->kernel, call.kq_after->kernel}) {
    kernel.zero_();
    kernel.select(1, 2).select(1, 2).fill_(1);
  }
  call.heads_before.copy_(at::eye(4, at::kDouble).unsqueeze(0));
  call.heads_after.copy_(at::eye(4, at::kDouble).unsqueeze(0));
  const ops::AttentionCall standard{.q = call.q, .k = call.k, .v = call.v};
  EXPECT_LE(worst(ops::attention(call), ops::attention(standard)), 1e-12);
  EXPECT_LE(worst(ops::attention(standard),
                  at::scaled_dot_product_attention(call.q, call.k, call.v, {}, 0.0, true)),
            1e-12);
}

// A window whose halo is inside it computes the rows of the whole map.
TEST_F(FusedAttention, RowsBelowAWindowsHaloAreThoseOfTheWholeMap) {
  const AttentionCase c{.heads = 2,
                        .rows = 40,
                        .keys = 40,
                        .query_span = 3,
                        .key_span = 5,
                        .pad_left = 2,
                        .query_span_after = 2,
                        .key_span_after = 3,
                        .pad_left_after = 1,
                        .dropout = 0.2};
  ops::AttentionCall call = random_call(c, 18, at::kDouble);
  const at::Tensor whole = ops::attention(call);
  constexpr std::int64_t kFirst = 21, kHalo = 3;
  call.q = call.q.slice(2, kFirst);
  call.first_row = kFirst;
  EXPECT_LE(worst(ops::attention(call).slice(2, kHalo), whole.slice(2, kFirst + kHalo)), 1e-13);
}

TEST_F(FusedAttention, LargeScoresNeitherOverflowNorVanish) {
  ops::AttentionCall call = random_call({.rows = 64, .keys = 64, .head_dim = 16}, 19, at::kFloat);
  call.q = call.q * 100;
  const Result truth = output_and_gradients(composed, call, at::kDouble);
  const Result plain = output_and_gradients(composed, call, at::kFloat);
  const Result found = output_and_gradients(ops::attention, call, at::kFloat);
  EXPECT_LE(worst(found.out, truth.out), 2 * worst(plain.out, truth.out) + 1e-6);
}

TEST_F(FusedAttention, GradientsArriveInAnyLayout) {
  const ops::AttentionCall call =
      random_call({.rows = 9, .keys = 9, .query_span = 2, .key_span = 3}, 20, at::kDouble);
  const auto gradient = [&](bool spread) {
    ops::AttentionCall copy = leaves(call, at::kDouble);
    const at::Tensor out = ops::attention(copy);
    out.backward(spread ? at::ones({1}, at::kDouble).expand_as(out) : at::ones_like(out));
    return copy.q.grad();
  };
  EXPECT_TRUE(identical(gradient(true), gradient(false)));
}

// A model that computes in another type than its master weights passes these as they are.
TEST_F(FusedAttention, TakesParametersOfAnyTypeAndReturnsGradientsInIt) {
  const AttentionCase c{
      .rows = 9, .keys = 9, .query_span = 2, .key_span = 3, .heads_before = 2, .heads_after = 2};
  ops::AttentionCall call = leaves(random_call(c, 22, at::kFloat), at::kFloat);
  ops::AttentionCall wide = leaves(call, at::kFloat);
  for (at::Tensor* t : {&wide.kq_before->kernel, &wide.heads_before, &wide.heads_after}) {
    *t = t->detach().to(at::kDouble).requires_grad_(true);
  }
  for (ops::AttentionCall* each : {&call, &wide}) ops::attention(*each).sum().backward();
  EXPECT_EQ(wide.heads_after.grad().scalar_type(), at::kDouble);
  const auto narrow = differentiable(call), found = differentiable(wide);
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_TRUE(identical(found[i].second->grad().to(at::kFloat), narrow[i].second->grad()))
        << found[i].first;
  }
}

TEST_F(FusedAttention, NamesWhatItDoesNotCover) {
  ops::AttentionCall call = random_call({}, 21, at::kFloat);
  EXPECT_EQ(ops::cpu_unsupported(call), "");
  ops::AttentionCall half = call;
  half.q = half.q.to(at::kBFloat16);
  EXPECT_EQ(ops::cpu_unsupported(half), "q is BFloat16 (fused on the CPU: Float, Double)");
  ops::AttentionCall strided = call;
  strided.v = call.v.transpose(2, 3).contiguous().transpose(2, 3);
  EXPECT_EQ(ops::cpu_unsupported(strided), "v has columns that are not adjacent");
  ops::AttentionCall mixed = call;
  mixed.k = call.k.to(at::kDouble);
  EXPECT_EQ(ops::cpu_unsupported(mixed), "k is Double, q is Float");
  EXPECT_THROW(ops::attention(strided), c10::Error);
}

}  // namespace
}  // namespace mta::check
