// Tensors to pointers, and the backward passes.
#include "lib/nn/cuda/functions.h"

#include "lib/nn/chunked_cross_entropy.h"
#include "lib/nn/cuda/arguments.h"
#include "lib/nn/cuda/kernels.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstdint>

namespace mta::nn::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

const void* pointer(const at::Tensor& x) { return x.defined() ? x.const_data_ptr() : nullptr; }

at::Tensor contiguous(const at::Tensor& x) { return x.defined() ? x.contiguous() : x; }

/// What rows from `first` on have for a gradient, as that of all rows, like `x`.
at::Tensor from_row(const at::Tensor& grad, std::int64_t first, const at::Tensor& x) {
  if (first == 0) return grad;
  at::Tensor all = at::zeros_like(x);
  all.narrow(1, first, grad.size(1)).copy_(grad);
  return all;
}

/// Inputs x, update (undefined: none), weight; outputs the sum, from a row on, and its norm, or the
/// norm alone.
struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& input,
                               const std::optional<at::Tensor>& added, const at::Tensor& weight,
                               double eps, std::int64_t first_row) {
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
    context->saved_data["first_row"] = first_row;
    context->set_materialize_grads(false);
    if (!added) return {y};
    if (first_row == 0) return {sum, y};
    return {sum.narrow(1, first_row, sum.size(1) - first_row).contiguous(), y};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const bool added = context->saved_data["added"].toBool();
    const at::Tensor &sum = saved[0], &weight = saved[1], &scale = saved[2];
    const at::Tensor grad_sum = added ? contiguous(grads[0]) : at::Tensor();
    const at::Tensor grad_y = contiguous(grads[added ? 1 : 0]);
    const std::int64_t first_row = context->saved_data["first_row"].toInt();
    variable_list out(5);  // of x, the update and the weight
    if (!grad_y.defined()) {
      if (grad_sum.defined()) out[0] = out[1] = from_row(grad_sum, first_row, sum);
      return out;
    }
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
                                   .d = d,
                                   .tokens = first_row > 0 ? sum.size(1) : 1,
                                   .first = first_row},
                                  stream_of(sum)),
          "rms_norm_backward");
    out[0] = grad_x;
    if (added) out[1] = grad_x;
    out[2] = grad_weight;
    return out;
  }
};

Strides strides_of(const at::Tensor& x) { return {x.stride(0), x.stride(1), x.stride(2)}; }

/// x and y [B, T, H, d] of any strides that covers_rotate() accepts.
RotationPart rotation_part(const at::Tensor& x, const at::Tensor& y, bool turns) {
  return {.x = x.const_data_ptr(),
          .y = y.mutable_data_ptr(),
          .heads = x.size(2),
          .d = x.size(3),
          .x_strides = strides_of(x),
          .y_strides = strides_of(y),
          .turns = turns};
}

/// Table: cos, sin. The first `turned` of the parts turn.
void rotate_parts(const std::vector<at::Tensor>& x, const std::vector<at::Tensor>& y,
                  std::size_t turned, const variable_list& table, float direction) {
  Rotation call{.type = type_of(x[0]),
                .count = static_cast<int>(x.size()),
                .cos = table[0].const_data_ptr<float>(),
                .sin = table[1].const_data_ptr<float>(),
                .batch = x[0].size(0),
                .positions = x[0].size(1),
                .direction = direction};
  for (std::size_t i = 0; i < x.size(); ++i) {
    call.parts[i] = rotation_part(x[i], y[i], i < turned);
  }
  check(cuda::rotate(call, stream_of(x[0])), "rotate");
}

/// A gradient in strides that the kernel can read.
at::Tensor fitting(const at::Tensor& grad, const at::Tensor& cos) {
  return covers_rotate(grad, cos) ? grad : grad.contiguous();
}

struct RotateFunction : torch::autograd::Function<RotateFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin) {
    context->save_for_backward({cos, sin});
    at::Tensor y = at::empty(x.sizes(), x.options());
    rotate_parts({x}, {y}, 1, {cos, sin}, 1);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list table = context->get_saved_variables();
    const at::Tensor grad = fitting(grads[0], table[0]);
    const at::Tensor grad_x = at::empty(grad.sizes(), grad.options());
    rotate_parts({grad}, {grad_x}, 1, table, -1);
    return {grad_x, at::Tensor(), at::Tensor()};
  }
};

/// Parts of one product, in place; backward writes their gradients side by side.
struct RotateJointFunction : torch::autograd::Function<RotateJointFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& joint,
                               const at::Tensor& cos, const at::Tensor& sin,
                               const std::vector<std::int64_t>& heads) {
    context->save_for_backward({cos, sin});
    context->saved_data["heads"] = heads;
    const variable_list parts = joint_parts(joint, heads);
    const variable_list turned(parts.begin(), parts.end() - 1);
    rotate_parts(turned, turned, turned.size(), {cos, sin}, 1);
    variable_list out;
    for (const at::Tensor& part : parts) {
      // Not a view: each output of an autograd function keeps a history of its own.
      at::Tensor alias = at::empty({0}, joint.options().requires_grad(false));
      out.push_back(
          alias.set_(joint.storage(), part.storage_offset(), part.sizes(), part.strides()));
    }
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list table = context->get_saved_variables();
    const std::vector<std::int64_t> heads = context->saved_data["heads"].toIntVector();
    variable_list from;
    std::int64_t width = 0;
    for (const at::Tensor& grad : grads) {
      from.push_back(fitting(grad, table[0]));
      width += grad.size(2) * grad.size(3);
    }
    variable_list out(4);  // of the joint tensor
    out[0] = at::empty({grads[0].size(0), grads[0].size(1), width}, grads[0].options());
    rotate_parts(from, joint_parts(out[0], heads), from.size() - 1, table, -1);
    return out;
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

Normed rms_norm(const at::Tensor& x, const at::Tensor& update, const at::Tensor& weight, double eps,
                std::int64_t first_row) {
  const auto added = update.defined() ? std::optional(update) : std::nullopt;
  const variable_list out = RmsNormFunction::apply(x, added, weight, eps, first_row);
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

std::vector<at::Tensor> rotate_joint(const at::Tensor& joint, const at::Tensor& cos,
                                     const at::Tensor& sin,
                                     const std::vector<std::int64_t>& heads) {
  return RotateJointFunction::apply(joint, cos.contiguous(), sin.contiguous(), heads);
}

bool covers_gated(const at::Tensor& ab) {
  return narrow(ab) && aligned(ab) && ab.size(-1) % (2 * kVector) == 0;
}

at::Tensor gated(const at::Tensor& ab) { return GatedFunction::apply(ab); }

bool covers_cross_entropy(const at::Tensor& logits) { return narrow(logits) && aligned(logits); }

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

bool covers_add_rows(const at::Tensor& table) {
  return narrow(table) && table.dim() == 2 && table.size(1) % kVector == 0;
}

void add_rows(const at::Tensor& table, const at::Tensor& tokens, const at::Tensor& rows) {
  TORCH_CHECK(table.is_contiguous() && aligned(table) && rows.scalar_type() == table.scalar_type(),
              "add_rows: table ", table.toString(), " of strides ", table.strides());
  const auto [sorted, order] = at::sort(tokens, /*stable=*/std::optional<bool>(true));
  const at::Tensor from = rows.contiguous();
  TORCH_CHECK(aligned(from), "add_rows: rows are not aligned");
  check(cuda::add_rows({.type = type_of(table),
                        .table = table.mutable_data_ptr(),
                        .sorted = sorted.const_data_ptr<std::int64_t>(),
                        .order = order.const_data_ptr<std::int64_t>(),
                        .rows = from.const_data_ptr(),
                        .count = tokens.numel(),
                        .d = table.size(1)},
                       stream_of(table)),
        "add_rows");
}

}  // namespace mta::nn::cuda
