// The norm and the gate on attention's output: tensors to pointers, and the backward pass.
#include "lib/nn/cuda/norm_gate.h"

#include "lib/nn/cuda/arguments.h"
#include "lib/ops/backend.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

namespace mta::nn::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Optional = std::optional<at::Tensor>;

const float* read(const at::Tensor& t) { return t.defined() ? t.const_data_ptr<float>() : nullptr; }
float* write(const at::Tensor& t) { return t.defined() ? t.mutable_data_ptr<float>() : nullptr; }

/// o [B, H, T, d]; `saved`: o, the norm's weight, the gate's, its bias.
NormGate call_of(const variable_list& saved, double eps, double norm_scale) {
  const at::Tensor& o = saved[0];
  return {.type = type_of(o),
          .o = o.const_data_ptr(),
          .norm_weight = read(saved[1]),
          .gate_weight = read(saved[2]),
          .gate_bias = read(saved[3]),
          .batch = o.size(0),
          .tokens = o.size(2),
          .heads = o.size(1),
          .d = o.size(3),
          .batch_stride = o.stride(0),
          .token_stride = o.stride(2),
          .head_stride = o.stride(1),
          .eps = static_cast<float>(eps),
          .norm_scale = static_cast<float>(norm_scale)};
}

struct NormGateFunction : torch::autograd::Function<NormGateFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& o, const Optional& norm,
                            const Optional& gate, const Optional& bias, double eps,
                            double norm_scale) {
    const auto or_none = [](const Optional& t) { return t.value_or(at::Tensor()); };
    const variable_list saved = {o, or_none(norm), or_none(gate), or_none(bias)};
    at::Tensor y =
        at::empty({o.size(0), o.size(2), o.size(1) * o.size(3)}, o.options().requires_grad(false));
    NormGate call = call_of(saved, eps, norm_scale);
    call.y = y.mutable_data_ptr();
    check(cuda::norm_gate(call, stream_of(o)), "norm_gate");
    context->save_for_backward(saved);
    context->saved_data["eps"] = eps;
    context->saved_data["norm_scale"] = norm_scale;
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "norm_gate has no second derivative");
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &o = saved[0], grad_y = grads[0].contiguous();
    const at::Tensor grad_o = ops::rows_of_heads(o, o.size(2), o.size(3));
    variable_list weights;
    for (std::size_t i = 1; i < saved.size(); ++i) {
      weights.push_back(saved[i].defined() ? at::empty_like(saved[i]) : saved[i]);
    }
    NormGateBackward call = {.forward = call_of(saved, context->saved_data["eps"].toDouble(),
                                                context->saved_data["norm_scale"].toDouble()),
                             .grad_y = grad_y.const_data_ptr(),
                             .grad_o = grad_o.mutable_data_ptr(),
                             .grad_norm_weight = write(weights[0]),
                             .grad_gate_weight = write(weights[1]),
                             .grad_gate_bias = write(weights[2])};
    const at::Tensor parts = at::empty({norm_gate_parts(call.forward), 2 * o.size(3) + 1},
                                       o.options().dtype(at::kFloat).requires_grad(false));
    call.parts = parts.mutable_data_ptr<float>();
    check(cuda::norm_gate_backward(call, stream_of(o)), "norm_gate_backward");
    return {grad_o, weights[0], weights[1], weights[2], at::Tensor(), at::Tensor()};
  }
};

/// Undefined ones fit, too.
bool parameter_fits(const at::Tensor& t, const at::Tensor& o, std::int64_t size) {
  return !t.defined() || (t.device() == o.device() && t.scalar_type() == at::kFloat &&
                          t.is_contiguous() && t.numel() == size && (size == 1 || aligned(t)));
}

bool steps_in_eights(const at::Tensor& o) {
  for (std::int64_t dimension = 0; dimension < 3; ++dimension) {
    if (o.size(dimension) > 1 && o.stride(dimension) % kVector != 0) return false;
  }
  return o.stride(3) == 1;
}

}  // namespace

bool covers_norm_gate(const at::Tensor& o, const ops::OutputStages& stages) {
  const at::Tensor &norm = stages.norm_weight, &gate = stages.gate_weight, &bias = stages.gate_bias;
  if (o.dim() != 4 || !narrow(o) || (!norm.defined() && !gate.defined())) return false;
  const std::int64_t d = o.size(3);
  return d % kVector == 0 && d <= kMaxHead && steps_in_eights(o) && aligned(o) &&
         gate.defined() == bias.defined() && parameter_fits(norm, o, d) &&
         parameter_fits(gate, o, d) && parameter_fits(bias, o, 1);
}

at::Tensor norm_gate(const at::Tensor& o, const ops::OutputStages& stages) {
  const auto optional = [](const at::Tensor& t) {
    return t.defined() ? Optional(t) : std::nullopt;
  };
  return NormGateFunction::apply(o, optional(stages.norm_weight), optional(stages.gate_weight),
                                 optional(stages.gate_bias), stages.norm_eps, stages.norm_scale);
}

}  // namespace mta::nn::cuda
