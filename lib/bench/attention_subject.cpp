// Draws the numbers and calls the library.
#include "lib/bench/attention_subject.h"

#include "lib/attention/fuse.h"
#include "lib/attention/layer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <torch/csrc/autograd/autograd.h>

namespace mta {
namespace {

constexpr std::uint64_t kSeed = 1;
constexpr double kSpread = 0.25;  // of parameters around their start
constexpr std::int64_t kMebibyte = 1 << 20;

}  // namespace

AttentionSubject::AttentionSubject(const AttentionCase& one, at::Device device, at::ScalarType type)
    : parameters_(kSeed, at::TensorOptions(device).dtype(at::kFloat)),
      workspace_bytes_(one.attention.workspace_mib * kMebibyte) {
  AttentionConfig stages = one.attention;
  stages.group_norm.reset(), stages.gate.reset(), stages.kq_layers.reset();
  const LayerShape shape{.dim = one.heads * one.head_dim, .heads = one.heads, .layer = 0};
  LayerBuilder builder(stages, shape, parameters_, "");
  plan_ = make_plan(builder);

  at::Generator generator = at::detail::createCPUGenerator(kSeed);
  const auto normal = [&](at::IntArrayRef sizes) {
    return at::randn(sizes, generator, at::TensorOptions().dtype(at::kFloat));
  };
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : parameters_.named()) {
    tensor.add_(normal(tensor.sizes()).to(device), kSpread);
  }
  const auto heads_inside = [&](std::int64_t heads, std::int64_t columns) {
    return normal({one.batch, one.tokens, heads, columns}).to(device, type).transpose(1, 2);
  };
  own_.q = heads_inside(one.heads, one.head_dim), own_.k = heads_inside(one.heads, one.head_dim);
  own_.v = heads_inside(builder.weight_maps(), builder.value_dim());
  own_.d_out = heads_inside(builder.weight_maps(), builder.value_dim());
  own_ = leaves(type);
}

AttentionSubject::Leaves AttentionSubject::leaves(at::ScalarType type) const {
  const auto leaf = [&](const at::Tensor& t) { return t.detach().to(type).requires_grad_(true); };
  return {leaf(own_.q), leaf(own_.k), leaf(own_.v), own_.d_out.to(type)};
}

at::Tensor AttentionSubject::attend_by(AttentionRoute route, const Leaves& leaves) const {
  const AttendInput input{
      .q = leaves.q, .k = leaves.k, .v = leaves.v, .workspace_bytes = workspace_bytes_};
  switch (route) {
    case AttentionRoute::Standard:
      return at::scaled_dot_product_attention(leaves.q, leaves.k, leaves.v, /*attn_mask=*/{},
                                              /*dropout_p=*/0, /*is_causal=*/true);
    case AttentionRoute::Fused:
      return ops::attention(fused_call(plan_, input));
    case AttentionRoute::Composed:
      break;
  }
  return attend(plan_, input, {});
}

std::string AttentionSubject::unsupported(AttentionRoute route) const {
  if (route == AttentionRoute::Standard && own_.q.size(1) != own_.v.size(1)) {
    return "values of twice the head size";
  }
  if (route != AttentionRoute::Fused) return "";
  for (const auto* stages : {&plan_.on_scores, &plan_.on_weights}) {
    for (const Stage& stage : *stages) {
      if (!stage.fuse) return "stage \"" + stage.name + "\" has no fused form";
    }
  }
  return ops::unsupported(fused_call(plan_, {.q = own_.q, .k = own_.k, .v = own_.v}));
}

void AttentionSubject::forward(AttentionRoute route) const {
  const at::NoGradGuard no_grad;
  attend_by(route, own_);
}

ops::AttentionCall AttentionSubject::fused() const {
  return fused_call(plan_,
                    {.q = own_.q, .k = own_.k, .v = own_.v, .workspace_bytes = workspace_bytes_});
}

void AttentionSubject::forward_and_backward(AttentionRoute route) const { results(route, own_); }

std::function<void()> AttentionSubject::backward(AttentionRoute route) const {
  return [this, all = inputs(route, own_), out = attend_by(route, own_)] {
    torch::autograd::grad({out}, all, {own_.d_out}, /*retain_graph=*/true);
  };
}

std::vector<at::Tensor> AttentionSubject::inputs(AttentionRoute route, const Leaves& leaves) const {
  std::vector<at::Tensor> all = {leaves.q, leaves.k, leaves.v};
  if (route != AttentionRoute::Standard) {
    for (const auto& [name, tensor] : parameters_.named()) all.push_back(tensor);
  }
  return all;
}

std::vector<at::Tensor> AttentionSubject::results(AttentionRoute route,
                                                  const Leaves& leaves) const {
  const at::Tensor out = attend_by(route, leaves);
  std::vector<at::Tensor> all = {out.detach()};
  for (const at::Tensor& gradient :
       torch::autograd::grad({out}, inputs(route, leaves), {leaves.d_out})) {
    all.push_back(gradient);
  }
  return all;
}

Json AttentionSubject::errors(AttentionRoute route) const {
  const Leaves wide = leaves(at::kDouble);
  const bool standard = route == AttentionRoute::Standard;
  std::vector<at::Tensor> truth;
  if (standard) {
    const at::Tensor out = attend({}, {.q = wide.q, .k = wide.k, .v = wide.v}, {});
    truth = torch::autograd::grad({out}, {wide.q, wide.k, wide.v}, {wide.d_out});
    truth.insert(truth.begin(), out.detach());
  } else {
    truth = results(AttentionRoute::Composed, wide);
  }
  const std::vector<at::Tensor> found = results(route, own_);
  Json errors = Json::object();
  for (std::size_t i = 0; i < found.size(); ++i) {
    static constexpr const char* kNames[] = {"output", "d_q", "d_k", "d_v"};
    const std::string name =
        i < std::size(kNames) ? kNames[i] : "d_" + parameters_.named()[i - std::size(kNames)].first;
    const at::Tensor difference = found[i].to(at::kDouble) - truth[i];
    errors[name] = (difference.norm() / truth[i].norm()).item<double>();
  }
  return errors;
}

}  // namespace mta
