// The twin of the tiled loop against the dense formulas: index arithmetic of tiles, halos, rings
// and chunks.
#include "lib/kernels/tiled_reference.h"

#include "lib/kernels/support.h"
#include "tests/kernels/dense_reference.h"
#include "tests/kernels/kernel_case.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace mta::check {
namespace {

using kernels::Direction;
using kernels::Problem;
using kernels::ReferenceResult;
using kernels::WorkspacePlan;

constexpr double kTolerance = 1e-10;  // both sides are double; sums of up to 1e5 terms of size 1

void expect_equal(const std::vector<double>& got, const std::vector<double>& want,
                  const char* name) {
  ASSERT_EQ(got.size(), want.size()) << name;
  double worst = 0;
  std::size_t place = 0;
  for (std::size_t n = 0; n < got.size(); ++n) {
    const double error = std::abs(got[n] - want[n]) / (1 + std::abs(want[n]));
    if (!(error <= worst)) {
      worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
      place = n;
    }
  }
  EXPECT_LE(worst, kTolerance) << name << "[" << place << "]: " << got[place] << ", expected "
                               << want[place];
}

void expect_equal(const ReferenceResult& got, const ReferenceResult& want) {
  expect_equal(got.o, want.o, "o");
  expect_equal(got.lse, want.lse, "lse");
  expect_equal(got.d_q, want.d_q, "d_q");
  expect_equal(got.d_k, want.d_k, "d_k");
  expect_equal(got.d_v, want.d_v, "d_v");
  expect_equal(got.d_conv_before, want.d_conv_before, "d_conv_before");
  expect_equal(got.d_conv_after, want.d_conv_after, "d_conv_after");
  expect_equal(got.d_mix_before, want.d_mix_before, "d_mix_before");
  expect_equal(got.d_mix_after, want.d_mix_after, "d_mix_after");
}

/// Budgets from "one tile of rows at a time" to "the whole map at once".
void compare(const KernelCase& c, std::size_t budget) {
  SCOPED_TRACE(describe(c.problem) + " budget " + std::to_string(budget));
  ASSERT_EQ(kernels::check(c.problem), kernels::Status::Ok) << kernels::last_error();
  const WorkspacePlan forward = kernels::workspace_plan(c.problem, Direction::Forward, budget);
  const WorkspacePlan backward = kernels::workspace_plan(c.problem, Direction::Backward, budget);
  expect_equal(kernels::tiled_reference(c.problem, c.inputs, forward, backward),
               dense_reference(c.problem, c.inputs));
}

TEST(TiledReference, EqualsTheDenseFormulasOnRandomProblems) {
  Generator generator(1);
  for (int n = 0; n < 40 && !HasFailure(); ++n) {
    const KernelCase c = random_case(generator, {});
    const std::size_t budgets[] = {0, static_cast<std::size_t>(between(generator, 100, 3000)) << 10,
                                   std::size_t{1} << 40};
    compare(c, budgets[n % 3]);
  }
}

TEST(TiledReference, EqualsTheDenseFormulasWithManyShortChunks) {
  Generator generator(2);
  for (const auto causality : {kernels::Causality::Double, kernels::Causality::Exact}) {
    KernelCase c;
    c.problem = {.batch = 1, .heads = 2, .tokens = 337, .head_dim = 32, .causality = causality};
    c.problem.conv_before = {.query_span = 16, .key_span = 32, .pad_left = 15};
    c.problem.conv_after = {.query_span = 9, .key_span = 11, .pad_left = 0};
    c.problem.mix_before.group = c.problem.mix_after.group = 2;
    fill(c, generator);
    compare(c, 0);
  }
}

TEST(TiledReference, MixesGroupsThatSpanSeveralBlocks) {
  Generator generator(3);
  for (const int heads : {20, 34}) {
    KernelCase c;
    c.problem = {.batch = 1, .heads = heads, .tokens = 90, .head_dim = 32};
    c.problem.conv_before = {.query_span = 2, .key_span = 3, .pad_left = 1};
    c.problem.conv_after = {.query_span = 3, .key_span = 2, .pad_left = 1};
    c.problem.mix_before.group = heads;
    c.problem.mix_after.group = heads;
    fill(c, generator);
    compare(c, 0);
  }
}

TEST(TiledReference, FutureTokensDoNotReachThePast) {
  Generator generator(4);
  for (int n = 0; n < 10; ++n) {
    KernelCase c = random_case(generator, {.max_tokens = 70});
    Problem& p = c.problem;
    if (p.tokens < 2) continue;
    SCOPED_TRACE(describe(p));
    const WorkspacePlan forward = kernels::workspace_plan(p, Direction::Forward, 0);
    const WorkspacePlan backward = kernels::workspace_plan(p, Direction::Backward, 0);
    const std::vector<double> before = kernels::tiled_reference(p, c.inputs, forward, backward).o;
    const auto row = static_cast<std::size_t>(p.head_dim);
    const std::size_t last = before.size() - row;  // the last token of the last map
    for (std::size_t d = 0; d < row; ++d) c.inputs.k[last + d] = c.inputs.v[last + d] = 7;
    const std::vector<double> after = kernels::tiled_reference(p, c.inputs, forward, backward).o;
    const auto map = static_cast<std::size_t>(p.tokens) * row;
    for (std::size_t m = 0; m < before.size() / map; ++m) {
      for (std::size_t e = 0; e + row < map; ++e)
        ASSERT_EQ(before[m * map + e], after[m * map + e]) << m << " " << e;
    }
  }
}

/// The analytic gradients of the dense formulas, which the twin and the kernels are held to,
/// against differences.
TEST(DenseReference, GradientsMatchCentralDifferences) {
  Generator generator(5);
  for (int n = 0; n < 6; ++n) {
    KernelCase c = random_case(generator, {.max_tokens = 12, .max_heads = 4, .max_batch = 2});
    SCOPED_TRACE(describe(c.problem));
    const ReferenceResult result = dense_reference(c.problem, c.inputs);
    const auto loss = [&] {
      const std::vector<double> o = dense_reference(c.problem, c.inputs).o;
      double sum = 0;
      for (std::size_t e = 0; e < o.size(); ++e) sum += o[e] * c.inputs.d_o[e];
      return sum;
    };
    const auto compare_some = [&](auto& values, const std::vector<double>& gradient, double step,
                                  const char* name) {
      for (int draw = 0; draw < 4 && !values.empty(); ++draw) {
        auto& value = values[static_cast<std::size_t>(
            between(generator, 0, static_cast<int>(values.size()) - 1))];
        const auto kept = value;
        value = static_cast<std::remove_reference_t<decltype(value)>>(kept + step);
        const double up = loss(), high = value;
        value = static_cast<std::remove_reference_t<decltype(value)>>(kept - step);
        const double down = loss(), low = value;
        value = kept;
        const double analytic = gradient[static_cast<std::size_t>(&value - values.data())];
        EXPECT_NEAR((up - down) / (high - low), analytic, 3e-5 * (1 + std::abs(analytic))) << name;
      }
    };
    compare_some(c.inputs.q, result.d_q, 1e-5, "d_q");
    compare_some(c.inputs.k, result.d_k, 1e-5, "d_k");
    compare_some(c.inputs.v, result.d_v, 1e-5, "d_v");
    compare_some(c.conv_before, result.d_conv_before, 1e-3,
                 "d_conv_before");  // weights are float: wider steps
    compare_some(c.conv_after, result.d_conv_after, 1e-3, "d_conv_after");
    compare_some(c.mix_before, result.d_mix_before, 1e-3, "d_mix_before");
    compare_some(c.mix_after, result.d_mix_after, 1e-3, "d_mix_after");
  }
}

}  // namespace
}  // namespace mta::check
