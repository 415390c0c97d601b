// One buffer for all rounded weights, and one differentiable operation that fills it.
#include "lib/nn/rounded_weights.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstdint>
#include <utility>

namespace mta {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

thread_local RoundedWeights* innermost = nullptr;

/// Each weight starts at a multiple of this many values, so that its rows are aligned.
constexpr std::int64_t kAlignment = 8;

struct RoundFunction : torch::autograd::Function<RoundFunction> {
  static variable_list forward(AutogradContext* context, at::TensorList weights,
                               at::ScalarType type) {
    std::int64_t size = 0;
    std::vector<std::int64_t> offsets;
    for (const at::Tensor& weight : weights) {
      offsets.push_back(size);
      size += (weight.numel() + kAlignment - 1) / kAlignment * kAlignment;
    }
    const auto options = weights[0].options().dtype(type).requires_grad(false);
    const at::Tensor buffer = at::empty({size}, options);
    variable_list rounded;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      // Not views: each output of an autograd function keeps a history of its own.
      at::Tensor part = at::empty({0}, options);
      part.set_(buffer.storage(), offsets[i], weights[i].sizes());
      rounded.push_back(part);
    }
    at::_foreach_copy_(rounded, weights);
    context->saved_data["type"] = weights[0].scalar_type();
    context->set_materialize_grads(false);
    return rounded;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto type = static_cast<at::ScalarType>(context->saved_data["type"].toInt());
    variable_list wide(grads.size());
    std::vector<at::Tensor> from, to;
    for (std::size_t i = 0; i < grads.size(); ++i) {
      if (!grads[i].defined()) continue;
      from.push_back(grads[i].contiguous());
      wide[i] = at::empty(grads[i].sizes(), grads[i].options().dtype(type));
      to.push_back(wide[i]);
    }
    if (!to.empty()) at::_foreach_copy_(to, from);
    wide.emplace_back();  // of the type
    return wide;
  }
};

}  // namespace

RoundedWeights::RoundedWeights(const std::vector<at::Tensor>& weights, at::ScalarType type)
    : RoundedWeights({.weights = weights,
                      .rounded = weights.empty()
                                     ? weights
                                     : RoundFunction::apply(at::TensorList(weights), type),
                      .type = type}) {}

RoundedWeights::RoundedWeights(RoundedForms forms) : forms_(std::move(forms)), outer_(innermost) {
  TORCH_CHECK(forms_.weights.size() == forms_.rounded.size(), forms_.weights.size(),
              " weights with ", forms_.rounded.size(), " rounded forms");
  innermost = this;
}

RoundedWeights::~RoundedWeights() { innermost = outer_; }

at::Tensor RoundedWeights::form_of(const at::Tensor& weight) const {
  for (std::size_t i = 0; i < forms_.weights.size(); ++i) {
    if (forms_.weights[i].is_same(weight)) return forms_.rounded[i];
  }
  return {};
}

at::Tensor rounded(const at::Tensor& weight, at::ScalarType type) {
  if (weight.scalar_type() == type) return weight;
  if (innermost != nullptr && innermost->forms_.type == type) {
    if (at::Tensor form = innermost->form_of(weight); form.defined()) return form;
  }
  return weight.to(type);
}

RoundedForms rounded_forms(const std::vector<at::Tensor>& weights) {
  RoundedForms found;
  if (innermost == nullptr) return found;
  found.type = innermost->forms_.type;
  for (const at::Tensor& weight : weights) {
    const at::Tensor form = innermost->form_of(weight);
    if (!form.defined()) continue;
    found.weights.push_back(weight);
    found.rounded.push_back(form);
  }
  return found;
}

}  // namespace mta
