// Recomputed work: the same gradients, nothing kept between the passes.
#include "lib/nn/recompute.h"

#include "lib/nn/linear.h"
#include "lib/nn/rounded_weights.h"
#include "tests/support/random_tensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tanh.h>
#include <c10/util/intrusive_ptr.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <memory>
#include <vector>

namespace mta {
namespace {

using check::random_tensor;

at::Tensor leaf(at::IntArrayRef shape, std::string_view name, at::ScalarType type = at::kDouble) {
  return random_tensor(shape, name).to(type).set_requires_grad(true);
}

TEST(Recomputed, HasTheBitsOfTheWorkItself) {
  const at::Tensor x = leaf({3, 4}, "x"), w = leaf({5, 4}, "w"), unused = leaf({2}, "unused");
  const Work work = [&](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
    const at::Tensor y = mta::linear(in[0], w);
    return {y.tanh(), y * y};
  };
  const std::vector<at::Tensor> plain = work({x}), again = recomputed({x}, {w, unused}, work);
  const auto gradients = [&](const std::vector<at::Tensor>& out) {
    const at::Tensor loss = (out[0] * random_tensor({3, 5}, "a")).sum() + out[1].sum();
    return torch::autograd::grad({loss}, {x, w, unused}, {}, {}, false, /*allow_unused=*/true);
  };
  const auto wanted = gradients(plain), found = gradients(again);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(again[i].equal(plain[i]));
    EXPECT_TRUE(found[i].equal(wanted[i]));
  }
  EXPECT_FALSE(found[2].defined());
}

TEST(Recomputed, AnOutputThatNobodyUsesCostsNothing) {
  const at::Tensor x = leaf({3}, "x");
  const Work work = [](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
    return {in[0] * 2, in[0] / 0};  // the gradient of the second is infinite
  };
  recomputed({x}, {}, work)[0].sum().backward();
  EXPECT_TRUE(x.grad().eq(2).all().item<bool>());
}

TEST(Recomputed, KeepsNoIntermediateResultAndRunsTwice) {
  using Weak = c10::weak_intrusive_ptr<c10::TensorImpl>;
  const at::Tensor x = leaf({3}, "x");
  std::vector<Weak> middles;
  const Work work = [&](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
    const at::Tensor middle = in[0].tanh();
    middles.emplace_back(middle.getIntrusivePtr());
    return {middle.tanh()};
  };
  const at::Tensor y = recomputed({x}, {}, work)[0];
  ASSERT_EQ(middles.size(), 1U);
  EXPECT_TRUE(middles[0].expired());
  y.sum().backward();
  EXPECT_EQ(middles.size(), 2U);
  EXPECT_TRUE(middles[1].expired());
}

TEST(Recomputed, FindsRoundedWeightsAfterTheirScopeHasEnded) {
  const at::Tensor x = leaf({3, 4}, "x", at::kBFloat16);
  const at::Tensor w = leaf({5, 4}, "w", at::kFloat), bias = leaf({5}, "bias", at::kFloat);
  std::vector<at::Tensor> seen;
  const Work work = [&](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
    seen.push_back(rounded(w, at::kBFloat16).detach());
    return {mta::linear(in[0], w, bias).tanh()};
  };
  const auto gradients = [&](const auto& run) {
    at::Tensor y;
    {
      const RoundedWeights scope({w}, at::kBFloat16);
      y = run()[0];
    }
    return torch::autograd::grad({y.to(at::kFloat).sum()}, {x, w, bias});
  };
  const auto wanted = gradients([&] { return work({x}); });
  const auto found = gradients([&] { return recomputed({x}, {w, bias}, work); });
  for (std::size_t i = 0; i < wanted.size(); ++i) EXPECT_TRUE(found[i].equal(wanted[i])) << i;
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen[2].data_ptr(), seen[1].data_ptr()) << "rounded a second time";
}

TEST(Recomputed, RefusesASecondDerivative) {
  const at::Tensor x = leaf({3}, "x");
  const Work work = [](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
    return {in[0] * in[0]};
  };
  const at::Tensor y = recomputed({x}, {}, work)[0].sum();
  EXPECT_THROW(torch::autograd::grad({y}, {x}, {}, {}, /*create_graph=*/true), c10::Error);
}

}  // namespace
}  // namespace mta
