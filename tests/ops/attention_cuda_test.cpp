// The operator on a GPU: dropout's decisions, causality, layouts, head sizes, determinism, graphs.
#include "lib/kernels/dropout.h"
#include "lib/ops/attention.h"
#include "lib/ops/flash.h"
#include "tests/ops/cases.h"
#include "tests/ops/composed.h"
#include "tests/support/gpu.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <gtest/gtest.h>

#include <string>

namespace mta::check {
namespace {

class FusedOnTheGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string reason = no_gpu();
    if (!reason.empty()) GTEST_SKIP() << reason;
  }
};

/// The case's numbers rounded to `type`, on the GPU; kernels and mixings in float.
ops::AttentionCall on_gpu(const AttentionCase& c, std::uint64_t seed, at::ScalarType type) {
  ops::AttentionCall call = random_call(c, seed, at::kDouble);
  for (auto& [name, tensor] : differentiable(call)) {
    *tensor = tensor->to(at::Device("cuda:0"), tensor->dim() == 4 ? type : at::kFloat);
  }
  return call;
}

AttentionCase full_mta(std::int64_t tokens = 113) {
  return {.batch = 2,
          .heads = 4,
          .rows = tokens,
          .keys = tokens,
          .head_dim = 32,
          .value_dim = 32,
          .query_span = 3,
          .key_span = 5,
          .pad_left = 2,
          .query_span_after = 2,
          .key_span_after = 4,
          .pad_left_after = 1,
          .heads_before = 4,
          .heads_after = 2};
}

struct Result {
  at::Tensor out;
  std::vector<at::Tensor> gradients;
};

/// Output and gradients; parameters keep their type.
Result run(const ops::AttentionCall& call) {
  ops::AttentionCall copy = call;
  for (auto& [name, tensor] : differentiable(copy)) {
    *tensor = tensor->detach().clone().requires_grad_(true);
  }
  Result result{.out = ops::attention(copy), .gradients = {}};
  const at::Tensor weights =
      at::sin(at::arange(result.out.numel(), result.out.options().dtype(at::kDouble)) * 1.7 + 0.3)
          .reshape(result.out.sizes());
  result.out.backward(weights.to(result.out.scalar_type()));
  for (auto& [name, tensor] : differentiable(copy)) result.gradients.push_back(tensor->grad());
  return result;
}

double relative(const at::Tensor& found, const at::Tensor& truth) {
  const at::Tensor wide = truth.detach().to(at::kDouble);
  return ((found.detach().to(at::kDouble) - wide).norm() / wide.norm()).item<double>();
}

TEST_F(FusedOnTheGpu, TheFutureNeverTouchesThePast) {
  for (const bool exact : {false, true}) {
    AttentionCase c = full_mta();
    if (exact) c.causality = ops::Causality::Exact;
    ops::AttentionCall call = on_gpu(c, 1, at::kBFloat16);
    const at::Tensor before = ops::attention(call);
    for (const std::int64_t cut : {1, 63, 64, 65, 112}) {
      ops::AttentionCall changed = call;
      for (at::Tensor* t : {&changed.q, &changed.k, &changed.v}) {
        *t = t->clone();
        t->slice(2, cut).mul_(-3).add_(2);
      }
      const at::Tensor after = ops::attention(changed);
      EXPECT_TRUE(at::equal(before.slice(2, 0, cut), after.slice(2, 0, cut))) << cut;
      EXPECT_FALSE(at::equal(before.slice(2, cut), after.slice(2, cut))) << cut;
    }
  }
}

/// v = I shows A itself. Entries of 0 are dropped ones: nothing else is 0 in a standard softmax.
TEST_F(FusedOnTheGpu, DropsWhatTheComposedPathDrops) {
  constexpr std::int64_t kTokens = 64;
  const AttentionCase c{
      .heads = 3, .rows = kTokens, .keys = kTokens, .head_dim = 64, .value_dim = 64};
  ops::AttentionCall call = on_gpu(c, 2, at::kHalf);
  call.v = at::eye(kTokens, call.v.options()).expand_as(call.v);
  call.dropout = {.rate = 0.3, .seed = 0x123456789ABCDEF0, .stream = 40};
  call.dropout.step = at::full({1}, 2, call.q.options().dtype(at::kInt));
  const at::Tensor fused = ops::attention(call).ne(0).cpu();
  const at::Tensor ones = at::ones({2, 3, kTokens, kTokens}, call.q.options());
  const at::Tensor composed = ops::dropped(ones, call.dropout, 0).tril().ne(0).cpu();
  EXPECT_TRUE(at::equal(fused, composed));
  const auto kept = composed.accessor<bool, 4>();
  const std::uint32_t threshold = kernels::dropout_threshold(0.3F);
  for (std::uint32_t b = 0; b < 2; ++b) {
    for (std::uint32_t h = 0; h < 3; ++h) {
      for (std::uint32_t i = 0; i < kTokens; ++i) {
        for (std::uint32_t j = 0; j <= i; ++j) {
          const auto block = kernels::dropout_block(call.dropout.seed, 42, b * 3 + h, i, j);
          ASSERT_EQ(kept[b][h][i][j],
                    kernels::dropout_factor(block, static_cast<int>(j % 8), threshold) != 0)
              << b << " " << h << " " << i << " " << j;
        }
      }
    }
  }
}

TEST_F(FusedOnTheGpu, MaskOfAWindowIsAPartOfTheWhole) {
  const ops::Dropout dropout{.rate = 0.5, .seed = 3, .stream = 4};
  for (const auto type : {at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
    const at::Tensor ones = at::ones({2, 2, 50, 53}, at::TensorOptions("cuda:0").dtype(type));
    const at::Tensor whole = ops::dropped(ones, dropout, 0);
    EXPECT_TRUE(at::equal(whole.slice(2, 41), ops::dropped(ones.slice(2, 0, 9), dropout, 41)));
  }
}

TEST_F(FusedOnTheGpu, TakesAnyLayoutAndHeadSize) {
  for (const std::int64_t d : {24, 40, 80, 128}) {
    AttentionCase c = full_mta(70);
    c.head_dim = d, c.value_dim = d == 40 ? 96 : d;
    const ops::AttentionCall call = on_gpu(c, 3, at::kHalf);
    ops::AttentionCall odd = call;
    // The same numbers, on addresses and strides that the kernels cannot read.
    for (at::Tensor* t : {&odd.q, &odd.k, &odd.v}) {
      *t = at::constant_pad_nd(*t, {1, 2}, 7).slice(3, 1, 1 + t->size(3));
    }
    poison_free_memory();
    const Result found = run(odd), same = run(call);
    EXPECT_EQ(found.out.sizes(), at::IntArrayRef({2, 4, 70, c.value_dim}));
    EXPECT_TRUE(at::equal(found.out, same.out)) << d;
    ops::AttentionCall wide = call;
    for (auto& [name, tensor] : differentiable(wide)) *tensor = tensor->to(at::kDouble);
    EXPECT_LT(relative(found.out, composed(wide)), 3e-3) << d;
    for (std::size_t i = 0; i < found.gradients.size(); ++i) {
      EXPECT_TRUE(at::equal(found.gradients[i], same.gradients[i])) << d << ", gradient " << i;
    }
  }
}

TEST_F(FusedOnTheGpu, TwoRunsGiveTheSameBits) {
  AttentionCase c = full_mta(300);
  c.dropout = 0.1;
  const ops::AttentionCall call = on_gpu(c, 4, at::kBFloat16);
  poison_free_memory();
  const Result first = run(call), second = run(call);
  EXPECT_TRUE(at::equal(first.out, second.out));
  for (std::size_t i = 0; i < first.gradients.size(); ++i) {
    EXPECT_TRUE(at::equal(first.gradients[i], second.gradients[i])) << i;
  }
}

TEST_F(FusedOnTheGpu, WorkspaceChangesMemoryNotTheResult) {
  ops::AttentionCall call = on_gpu(full_mta(500), 5, at::kHalf);
  const Result large = run(call);
  call.workspace_bytes = 1;
  const Result small = run(call);
  EXPECT_LT(relative(small.out, large.out), 1e-3);
  for (std::size_t i = 0; i < large.gradients.size(); ++i) {
    EXPECT_LT(relative(small.gradients[i], large.gradients[i]), 2e-3) << i;
  }
}

TEST_F(FusedOnTheGpu, ACapturedGraphDrawsANewMaskAtEachStep) {
  AttentionCase c = full_mta(90);
  c.dropout = 0.2;
  ops::AttentionCall call = on_gpu(c, 6, at::kBFloat16);
  call.dropout.step = at::zeros({1}, call.q.options().dtype(at::kInt));
  const auto eager = [&](int step) {
    ops::AttentionCall plain = call;
    plain.dropout.stream += static_cast<std::uint64_t>(step);
    plain.dropout.step.reset();
    return run(plain);
  };
  Result captured;
  at::cuda::CUDAGraph graph;
  {
    const c10::cuda::CUDAStreamGuard side(c10::cuda::getStreamFromPool());
    run(call);  // whatever is made at a first call
    c10::cuda::getCurrentCUDAStream().synchronize();
    graph.capture_begin();
    captured = run(call);
    graph.capture_end();
  }
  for (const int step : {0, 3}) {
    call.dropout.step.fill_(step);
    graph.replay();
    const Result truth = eager(step);
    EXPECT_TRUE(at::equal(captured.out, truth.out)) << step;
    for (std::size_t i = 0; i < truth.gradients.size(); ++i) {
      EXPECT_TRUE(at::equal(captured.gradients[i], truth.gradients[i])) << step << " " << i;
    }
  }
}

TEST_F(FusedOnTheGpu, NamesWhatItDoesNotCover) {
  ops::AttentionCall call = on_gpu(full_mta(20), 7, at::kBFloat16);
  EXPECT_EQ(ops::unsupported(call), "");
  ops::AttentionCall other = call;
  other.q = call.q.to(at::kFloat);
  EXPECT_EQ(ops::unsupported(other), "q is Float (fused on a GPU: Half, BFloat16)");
  other = call;
  other.q = call.q.slice(2, 15);
  other.first_row = 15;
  EXPECT_EQ(ops::unsupported(other), "rows 15 to 19 of 20 are wanted (fused on a GPU: all rows)");
  other = call;
  other.v = call.v.repeat({1, 1, 1, 5});
  EXPECT_EQ(ops::unsupported(other), "head size 160 is over 128");
  other = call;
  other.kq_before->kernel = at::ones({4, 17, 3}, call.kq_before->kernel.options());
  EXPECT_NE(ops::unsupported(other).find("17x3 is not covered"), std::string::npos);
  EXPECT_THROW(ops::attention(other), c10::Error);
}

TEST_F(FusedOnTheGpu, FlashIsStandardAttentionAndItsDropoutIsAFunctionOfTheSeed) {
  AttentionCase c{.heads = 4, .rows = 100, .keys = 100, .head_dim = 64, .value_dim = 64};
  ops::AttentionCall call = on_gpu(c, 8, at::kBFloat16);
  EXPECT_EQ(ops::flash_unsupported(call), "");
  EXPECT_LT(relative(ops::flash_attention(call), ops::attention(call)), 1e-2);
  call.dropout = {.rate = 0.5, .seed = 1, .stream = 2};
  const at::Tensor first = ops::flash_attention(call);
  EXPECT_TRUE(at::equal(first, ops::flash_attention(call)));
  call.dropout.stream = 3;
  EXPECT_FALSE(at::equal(first, ops::flash_attention(call)));
}

}  // namespace
}  // namespace mta::check
