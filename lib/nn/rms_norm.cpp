// RMS norm: one pass over each row on the CPU and on CUDA, LibTorch operations elsewhere.
#include "lib/nn/rms_norm.h"

#include "lib/nn/cpu/dispatch.h"
#include "lib/nn/cpu/kernels.h"
#include "lib/nn/cuda/functions.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace mta {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Rows whose weight gradients are added up by one thread. The parts are then added in order, so
/// that the result does not depend on the number of threads.
constexpr std::int64_t kRowsAPart = 128;

template <class T>
void forward(const at::Tensor& x, const at::Tensor& weight, double eps, at::Tensor& y,
             at::Tensor& scale) {
  const nn::cpu::RmsNorm<T> call{.x = x.const_data_ptr<T>(),
                                 .weight = weight.const_data_ptr<T>(),
                                 .y = y.data_ptr<T>(),
                                 .scale = scale.data_ptr<T>(),
                                 .d = x.size(-1),
                                 .eps = eps};
  nn::cpu::share(scale.numel(), call.d, [&](std::int64_t begin, std::int64_t end) {
    nn::cpu::kernels<T>().rms_norm(call, begin, end);
  });
}

template <class T>
void backward(const variable_list& saved, const at::Tensor& grad_y, at::Tensor& grad_x,
              at::Tensor& parts) {
  const std::int64_t rows = saved[2].numel(), d = grad_y.size(-1);
  nn::cpu::share(parts.size(0), kRowsAPart * d, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t part = begin; part < end; ++part) {
      const nn::cpu::RmsNormBackward<T> call{.x = saved[0].const_data_ptr<T>(),
                                             .weight = saved[1].const_data_ptr<T>(),
                                             .scale = saved[2].const_data_ptr<T>(),
                                             .grad_y = grad_y.const_data_ptr<T>(),
                                             .grad_x = grad_x.data_ptr<T>(),
                                             .grad_weight = parts.data_ptr<T>() + part * d,
                                             .d = d};
      nn::cpu::kernels<T>().rms_norm_backward(call, part * kRowsAPart,
                                              std::min(rows, (part + 1) * kRowsAPart));
    }
  });
}

struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& weight, double eps) {
    const at::Tensor x = input.contiguous();
    at::Tensor y = at::empty_like(x);
    at::Tensor scale = at::empty({x.numel() / x.size(-1)}, x.options());
    nn::cpu::with_type(x.scalar_type(),
                       [&](auto kind) { mta::forward<decltype(kind)>(x, weight, eps, y, scale); });
    context->save_for_backward({x, weight, scale});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor grad_y = grads[0].contiguous();
    const std::int64_t rows = saved[2].numel();
    at::Tensor grad_x = at::empty_like(saved[0]);
    at::Tensor parts =
        at::zeros({(rows + kRowsAPart - 1) / kRowsAPart, grad_y.size(-1)}, grad_y.options());
    nn::cpu::with_type(grad_y.scalar_type(), [&](auto kind) {
      mta::backward<decltype(kind)>(saved, grad_y, grad_x, parts);
    });
    return {grad_x, parts.sum(0), at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (nn::cpu::covers({x, weight})) {
    return RmsNormFunction::apply(x, weight.contiguous(), eps);
  }
  if (nn::cuda::covers_rms_norm(x, weight)) {
    return nn::cuda::rms_norm(x, at::Tensor(), weight, eps).normed;
  }
  const auto wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor precise = x.to(wide);
  const at::Tensor scale = (precise.square().mean(-1, /*keepdim=*/true) + eps).rsqrt();
  return (precise * scale * weight.to(wide)).to(x.scalar_type());
}

Normed add_rms_norm(const at::Tensor& x, const at::Tensor& update, const at::Tensor& weight,
                    double eps, std::int64_t first_row) {
  if (update.defined() && nn::cuda::covers_rms_norm(x, weight)) {
    return nn::cuda::rms_norm(x, update, weight, eps, first_row);
  }
  const at::Tensor sum = update.defined() ? x + update : x;
  return {.sum = first_row == 0 ? sum : sum.narrow(1, first_row, sum.size(1) - first_row),
          .normed = rms_norm(sum, weight, eps)};
}

}  // namespace mta
