// Tensors to pointers, and the backward passes.
#include "lib/nn/cuda/functions.h"

#include "lib/nn/chunked_cross_entropy.h"
#include "lib/nn/cuda/kernels.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstdint>

namespace mta::nn::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::uintptr_t kAlignment = 16;  // bytes

bool narrow(const at::Tensor& x) {
  return x.is_cuda() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

bool aligned(const at::Tensor& x) {
  return reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % kAlignment == 0;
}

Type type_of(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 ? Type::BFloat16 : Type::Float;
}

/// The stream that LibTorch works on, for kernels that are launched by hand.
Stream stream_of(const at::Tensor& x) {
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  return static_cast<Stream>(guard.getStreamNativeHandle(guard.getStream(x.device())));
}

void check(const char* failure, const char* kernel) {
  TORCH_CHECK(failure == nullptr, kernel, ": ", failure);
}

const void* pointer(const at::Tensor& x) { return x.defined() ? x.const_data_ptr() : nullptr; }

at::Tensor contiguous(const at::Tensor& x) { return x.defined() ? x.contiguous() : x; }

/// Inputs x, update (undefined: none), weight; outputs the sum and its norm, or the norm alone.
struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& input,
                               const std::optional<at::Tensor>& added, const at::Tensor& weight,
                               double eps) {
    const at::Tensor x = input.contiguous();
    const at::Tensor update = added ? added->contiguous() : at::Tensor();
    const at::Tensor sum = added ? at::empty_like(x) : x;
    const at::Tensor y = at::empty_like(x);
    const std::int64_t d = x.size(-1), rows = x.numel() / d;
    const at::Tensor scale = at::empty({rows}, x.options().dtype(at::kFloat));
    check(cuda::rms_norm({.type = type_of(x),
                          .x = x.const_data_ptr(),
                          .update = pointer(update),
                          .weight = weight.const_data_ptr<float>(),
                          .sum = added ? sum.mutable_data_ptr() : nullptr,
                          .y = y.mutable_data_ptr(),
                          .scale = scale.mutable_data_ptr<float>(),
                          .rows = rows,
                          .d = d,
                          .eps = static_cast<float>(eps)},
                         stream_of(x)),
          "rms_norm");
    context->save_for_backward({sum, weight, scale});
    context->saved_data["added"] = added.has_value();
    context->set_materialize_grads(false);
    return added ? variable_list{sum, y} : variable_list{y};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const bool added = context->saved_data["added"].toBool();
    const at::Tensor &sum = saved[0], &weight = saved[1], &scale = saved[2];
    const at::Tensor grad_sum = added ? contiguous(grads[0]) : at::Tensor();
    const at::Tensor grad_y = contiguous(grads[added ? 1 : 0]);
    if (!grad_y.defined()) return {grad_sum, grad_sum, at::Tensor(), at::Tensor()};
    const std::int64_t d = sum.size(-1), rows = scale.numel();
    const at::Tensor grad_x = at::empty_like(sum), grad_weight = at::empty_like(weight);
    const at::Tensor parts = at::empty({norm_parts(type_of(sum), rows, d), d}, weight.options());
    check(cuda::rms_norm_backward({.type = type_of(sum),
                                   .sum = sum.const_data_ptr(),
                                   .weight = weight.const_data_ptr<float>(),
                                   .scale = scale.const_data_ptr<float>(),
                                   .grad_y = grad_y.const_data_ptr(),
                                   .grad_sum = pointer(grad_sum),
                                   .grad_x = grad_x.mutable_data_ptr(),
                                   .parts = parts.mutable_data_ptr<float>(),
                                   .grad_weight = grad_weight.mutable_data_ptr<float>(),
                                   .rows = rows,
                                   .d = d},
                                  stream_of(sum)),
          "rms_norm_backward");
    return {grad_x, added ? grad_x : at::Tensor(), grad_weight, at::Tensor()};
  }
};

struct RotateFunction : torch::autograd::Function<RotateFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin) {
    context->save_for_backward({cos, sin});
    return turned(x, cos, sin, 1);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list table = context->get_saved_variables();
    const at::Tensor& grad = grads[0];
    const bool fits = covers_rotate(grad, table[0]);
    return {turned(fits ? grad : grad.contiguous(), table[0], table[1], -1), at::Tensor(),
            at::Tensor()};
  }

  static at::Tensor turned(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                           float direction) {
    at::Tensor y = at::empty(x.sizes(), x.options());
    check(cuda::rotate({.type = type_of(x),
                        .x = x.const_data_ptr(),
                        .cos = cos.const_data_ptr<float>(),
                        .sin = sin.const_data_ptr<float>(),
                        .y = y.mutable_data_ptr(),
                        .batch = x.size(0),
                        .positions = x.size(1),
                        .heads = x.size(2),
                        .d = x.size(3),
                        .batch_stride = x.stride(0),
                        .position_stride = x.stride(1),
                        .head_stride = x.stride(2),
                        .direction = direction},
                       stream_of(x)),
          "rotate");
    return y;
  }
};

struct GatedFunction : torch::autograd::Function<GatedFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input) {
    const at::Tensor ab = input.contiguous();
    const std::int64_t width = ab.size(-1) / 2;
    std::vector<std::int64_t> sizes = ab.sizes().vec();
    sizes.back() = width;
    at::Tensor y = at::empty(sizes, ab.options());
    check(cuda::gated({.type = type_of(ab),
                       .ab = ab.const_data_ptr(),
                       .y = y.mutable_data_ptr(),
                       .rows = y.numel() / width,
                       .width = width},
                      stream_of(ab)),
          "gated");
    context->save_for_backward({ab});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const at::Tensor ab = context->get_saved_variables()[0], grad_y = grads[0].contiguous();
    const at::Tensor grad_ab = at::empty_like(ab);
    const std::int64_t width = ab.size(-1) / 2;
    check(cuda::gated_backward({.type = type_of(ab),
                                .ab = ab.const_data_ptr(),
                                .grad_y = grad_y.const_data_ptr(),
                                .grad_ab = grad_ab.mutable_data_ptr(),
                                .rows = grad_y.numel() / width,
                                .width = width},
                               stream_of(ab)),
          "gated_backward");
    return {grad_ab};
  }
};

}  // namespace

bool covers_rms_norm(const at::Tensor& x, const at::Tensor& weight) {
  return narrow(x) && aligned(x) && weight.scalar_type() == at::kFloat && weight.is_contiguous() &&
         x.size(-1) % kVector == 0 && x.size(-1) <= kMaxWidth && aligned(weight);
}

Normed rms_norm(const at::Tensor& x, const at::Tensor& update, const at::Tensor& weight,
                double eps) {
  const auto added = update.defined() ? std::optional(update) : std::nullopt;
  const variable_list out = RmsNormFunction::apply(x, added, weight, eps);
  return added ? Normed{.sum = out[0], .normed = out[1]} : Normed{.sum = x, .normed = out[0]};
}

bool covers_rotate(const at::Tensor& x, const at::Tensor& cos) {
  return narrow(x) && cos.scalar_type() == at::kFloat && x.dim() == 4 && x.size(3) % kVector == 0 &&
         x.stride(3) == 1 && x.stride(0) % kVector == 0 && x.stride(1) % kVector == 0 &&
         x.stride(2) % kVector == 0 && aligned(x) && aligned(cos);
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  return RotateFunction::apply(x, cos.contiguous(), sin.contiguous());
}

bool covers_gated(const at::Tensor& ab) {
  return narrow(ab) && aligned(ab) && ab.size(-1) % (2 * kVector) == 0;
}

at::Tensor gated(const at::Tensor& ab) { return GatedFunction::apply(ab); }

bool covers_cross_entropy(const at::Tensor& logits) {
  return narrow(logits) && aligned(logits) && logits.size(1) % kVector == 0;
}

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets,
                         const at::Tensor& log_sums) {
  at::Tensor losses = at::empty_like(log_sums);
  check(cuda::cross_entropy({.type = type_of(logits),
                             .logits = logits.const_data_ptr(),
                             .targets = targets.const_data_ptr<std::int64_t>(),
                             .log_sums = log_sums.mutable_data_ptr<float>(),
                             .losses = losses.mutable_data_ptr<float>(),
                             .rows = logits.size(0),
                             .vocabulary = logits.size(1),
                             .no_target = kNoTarget},
                            stream_of(logits)),
        "cross_entropy");
  return losses;
}

at::Tensor cross_entropy_backward(const at::Tensor& logits, const at::Tensor& targets,
                                  const at::Tensor& log_sums, const at::Tensor& grad) {
  at::Tensor grad_logits = at::empty_like(logits);
  check(cuda::cross_entropy_backward({.type = type_of(logits),
                                      .logits = logits.const_data_ptr(),
                                      .targets = targets.const_data_ptr<std::int64_t>(),
                                      .log_sums = log_sums.const_data_ptr<float>(),
                                      .grad = grad.const_data_ptr<float>(),
                                      .grad_logits = grad_logits.mutable_data_ptr(),
                                      .rows = logits.size(0),
                                      .vocabulary = logits.size(1),
                                      .no_target = kNoTarget},
                                     stream_of(logits)),
        "cross_entropy_backward");
  return grad_logits;
}

}  // namespace mta::nn::cuda
