// Composed and fused attention on a GPU: as near to double as each other, layer by layer.
#include "lib/attention/fuse.h"
#include "lib/attention/layer.h"
#include "lib/attention/registry.h"
#include "lib/attention/stages.h"
#include "lib/core/error.h"
#include "tests/support/gpu.h"
#include "tests/support/random_tensors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace mta {
namespace {

class GpuPaths : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string reason = check::no_gpu();
    if (!reason.empty()) GTEST_SKIP() << reason;
  }
};

/// A plan with random parameters in float, and inputs for it.
struct Problem {
  AttentionPlan plan;
  Parameters parameters{/*seed=*/3, at::TensorOptions("cuda:0").dtype(at::kFloat)};
  std::int64_t batch, heads, tokens, head_dim;
  ops::Dropout dropout;
  std::string name;
};

std::int64_t between(std::mt19937_64& generator, std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(generator() % static_cast<std::uint64_t>(high - low + 1));
}

std::optional<KqConvolutionConfig> random_kq(std::mt19937_64& generator, std::string& name) {
  if (between(generator, 0, 3) == 0) return std::nullopt;
  const KqConvolutionConfig config{.query = between(generator, 1, 8),
                                   .key = between(generator, 1, 16),
                                   .pad = static_cast<KeyPad>(between(generator, 0, 2))};
  name += std::to_string(config.query) + "x" + std::to_string(config.key) + " pad " +
          std::to_string(static_cast<int>(config.pad)) + ", ";
  return config;
}

std::optional<HeadMixingConfig> random_mixing(std::mt19937_64& generator, std::int64_t heads,
                                              std::string& name) {
  const std::int64_t group = between(generator, 1, heads);
  if (heads % group != 0 || group == 1) return std::nullopt;
  name += "mix " + std::to_string(group) + ", ";
  return HeadMixingConfig{.group = group};
}

void make(Problem& p, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  constexpr std::int64_t kHeads[] = {1, 2, 4, 6, 16, 20}, kHeadDims[] = {16, 32, 64, 72, 96, 128};
  p.batch = between(generator, 1, 3);
  p.heads = kHeads[between(generator, 0, 5)];
  p.head_dim = kHeadDims[between(generator, 0, 5)];
  p.tokens = between(generator, 1, 260);
  AttentionConfig config;
  config.causality = between(generator, 0, 2) == 0 ? Causality::Exact : Causality::Double;
  const LayerShape shape{.dim = p.heads * p.head_dim, .heads = p.heads, .layer = 0};
  p.name = "B" + std::to_string(p.batch) + " H" + std::to_string(p.heads) + " T" +
           std::to_string(p.tokens) + " d" + std::to_string(p.head_dim) +
           (config.causality == Causality::Exact ? " exact: " : ": ");
  LayerBuilder builder(config, shape, p.parameters, "");
  if (const auto kq = random_kq(generator, p.name)) {
    p.plan.on_scores.push_back(kq_convolution(builder, *kq, Side::BeforeSoftmax));
  }
  if (const auto mix = random_mixing(generator, p.heads, p.name)) {
    p.plan.on_scores.push_back(head_mixing(builder, *mix, Side::BeforeSoftmax));
  }
  p.name += "softmax, ";
  if (const auto kq = random_kq(generator, p.name)) {
    p.plan.on_weights.push_back(kq_convolution(builder, *kq, Side::AfterSoftmax));
  }
  if (const auto mix = random_mixing(generator, p.heads, p.name)) {
    p.plan.on_weights.push_back(head_mixing(builder, *mix, Side::AfterSoftmax));
  }
  if (between(generator, 0, 2) == 0) {
    p.dropout = {.rate = 0.25, .seed = seed, .stream = 5};
    p.name += "dropout";
  }
  check::randomise(p.parameters);
}

using Attend = at::Tensor (*)(const AttentionPlan&, const AttendInput&);

at::Tensor composed(const AttentionPlan& plan, const AttendInput& input) {
  return attend(plan, input, {});
}
at::Tensor fused(const AttentionPlan& plan, const AttendInput& input) {
  return ops::attention(fused_call(plan, input));  // standard attention too: not LibTorch's
}

/// Output, then the gradients of q, k, v and of every parameter. `rounded`: what q, k, v and the
/// output's gradient are rounded to first, whatever they are computed in.
std::vector<at::Tensor> run(const Problem& p, Attend attend_by, at::ScalarType rounded,
                            at::ScalarType computed) {
  const auto tensor = [&](const char* name) {
    return (2 * check::random_tensor({p.batch, p.tokens, p.heads, p.head_dim}, name))
        .to(at::Device("cuda:0"), rounded)
        .to(computed)
        .transpose(1, 2);
  };
  const auto leaf = [&](const char* name) { return tensor(name).requires_grad_(true); };
  const at::Tensor q = leaf("q"), k = leaf("k"), v = leaf("v");
  for (const auto& [name, parameter] : p.parameters.named()) parameter.mutable_grad().reset();
  const at::Tensor out = attend_by(p.plan, {.q = q, .k = k, .v = v, .dropout = p.dropout});
  out.backward(tensor("d_out"));
  std::vector<at::Tensor> all = {out.detach(), q.grad(), k.grad(), v.grad()};
  for (const auto& [name, parameter] : p.parameters.named())
    all.push_back(parameter.grad().clone());
  return all;
}

// Twice the composed path's error in the same type, and one rounding of it.
TEST_F(GpuPaths, FusedIsAsNearToDoubleAsComposed) {
  constexpr int kCases = 60;
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    const double rounding = type == at::kHalf ? 0x1p-11 : 0x1p-8;
    for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
      Problem p;
      make(p, seed);
      SCOPED_TRACE(p.name + std::string(", ") + c10::toString(type));
      const auto truth = run(p, composed, type, at::kDouble);
      const auto plain = run(p, composed, type, type);
      check::poison_free_memory();
      const auto found = run(p, fused, type, type);
      for (std::size_t i = 0; i < truth.size(); ++i) {
        const double norm = truth[i].norm().item<double>();
        if (norm < 1e-9) continue;  // one token: the softmax does not move
        EXPECT_LE(check::relative_error(found[i], truth[i]),
                  2 * check::relative_error(plain[i], truth[i]) + rounding)
            << (i < 4 ? "output, d_q, d_k or d_v: " : "parameter: ") << i;
      }
    }
  }
}

/// The output of a layer [2, 75, D], then the gradients of its input and of every parameter; that
/// of a scalar gate's bias, which may be near 0, behind its weight's.
std::vector<at::Tensor> run_layer(const AttentionConfig& config, const LayerShape& shape,
                                  at::ScalarType master, at::ScalarType compute) {
  const at::Device gpu("cuda:0");
  Parameters parameters(/*seed=*/1, at::TensorOptions(gpu).dtype(master));
  const AttentionLayer layer(config, shape, parameters, "", compute);
  check::randomise(parameters);
  const auto tensor = [&](const char* name) {
    return check::random_tensor({2, 75, shape.dim}, name).to(gpu, at::kBFloat16).to(compute);
  };
  const at::Tensor x = tensor("x").requires_grad_(true);
  const RotaryTable table =
      make_rotary_table(75, shape.head_dim(), 100, at::TensorOptions(gpu).dtype(master));
  const at::Tensor out = layer.forward(x, table, {});
  out.backward(tensor("d_out"));
  std::vector<at::Tensor> all = {out.detach(), x.grad()};
  for (const auto& [name, parameter] : parameters.named()) {
    if (parameter.numel() == 1) {
      all.back() = at::cat({all.back().flatten(), parameter.grad()});
    } else {
      all.push_back(parameter.grad());
    }
  }
  return all;
}

// Norm and gate by a kernel of their own, with all that stands around them.
TEST_F(GpuPaths, ALayerWithStagesOnTheOutputIsAsNearToDoubleAsComposed) {
  AttentionConfig only_norm = preset("standard"), only_gate = preset("no_head_mixing"),
                  vector_gate = preset("head_mixing_only");
  only_norm.group_norm = {.depth_scale = DepthScale::Exponential};
  only_gate.group_norm.reset();
  vector_gate.gate = {.kind = GateKind::Vector};
  for (AttentionConfig config : {preset("multi_token"), only_norm, only_gate, vector_gate}) {
    for (const std::int64_t head_dim : {24, 64, 96}) {
      const LayerShape shape{.dim = 4 * head_dim, .heads = 4, .layer = 2};
      SCOPED_TRACE(config.variant + ", d " + std::to_string(head_dim));
      const auto found = run_layer(config, shape, at::kFloat, at::kBFloat16);
      config.path = AttentionPath::Composed;
      const auto plain = run_layer(config, shape, at::kFloat, at::kBFloat16);
      const auto truth = run_layer(config, shape, at::kDouble, at::kDouble);
      config.path = AttentionPath::Auto;
      for (std::size_t i = 0; i < truth.size(); ++i) {
        EXPECT_LE(check::relative_error(found[i], truth[i]),
                  2 * check::relative_error(plain[i], truth[i]) + 0x1p-8)
            << (i < 2 ? "output or gradient of x: " : "parameter: ") << i;
      }
    }
  }
}

TEST_F(GpuPaths, ALayerSaysWhichPathItTakesAndWhy) {
  const LayerShape shape{.dim = 128, .heads = 2, .layer = 0};
  const auto path = [&](const std::string& variant, at::ScalarType compute) {
    Parameters parameters(/*seed=*/1, at::TensorOptions("cuda:0").dtype(at::kFloat));
    const AttentionLayer layer(preset(variant), shape, parameters, "", compute);
    return std::pair(layer.path(), layer.path_reason());
  };
  EXPECT_EQ(path("multi_token", at::kBFloat16).first, AttentionPath::Fused);
  EXPECT_EQ(path("standard", at::kBFloat16).first, AttentionPath::Fused);
  EXPECT_NE(path("standard", at::kBFloat16).second.find("flash attention"), std::string::npos);
  EXPECT_EQ(path("multi_token", at::kFloat),
            std::pair(AttentionPath::Composed,
                      std::string("q is Float (fused on a GPU: Half, BFloat16)")));
}

// The last rows alone are the composed path's; they must be those of the whole.
TEST_F(GpuPaths, TheLastRowsAloneAreThoseOfTheWhole) {
  const LayerShape shape{.dim = 128, .heads = 4, .layer = 0};
  for (const char* variant : {"standard", "multi_token"}) {
    Parameters parameters(/*seed=*/1, at::TensorOptions("cuda:0").dtype(at::kFloat));
    const AttentionLayer layer(preset(variant), shape, parameters, "", at::kBFloat16);
    check::randomise(parameters);
    const at::Tensor x =
        check::random_tensor({2, 75, 128}, "x").to(at::Device("cuda:0"), at::kBFloat16);
    const RotaryTable table =
        make_rotary_table(75, shape.head_dim(), 100, at::TensorOptions("cuda:0").dtype(at::kFloat));
    const at::Tensor whole = layer.forward(x, table, {});
    const at::Tensor rows = layer.forward(x, table, {.first_row = 70});
    EXPECT_LT(check::relative_error(rows, whole.narrow(1, 70, 5)), 2e-2) << variant;
  }
}

}  // namespace
}  // namespace mta
