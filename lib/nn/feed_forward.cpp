// SwiGLU: the gate in one pass on the CPU and on CUDA, LibTorch operations elsewhere.
#include "lib/nn/feed_forward.h"

#include "lib/nn/cpu/dispatch.h"
#include "lib/nn/cpu/kernels.h"
#include "lib/nn/cuda/functions.h"
#include "lib/nn/linear.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/silu.h>
#include <torch/csrc/autograd/custom_function.h>

namespace mta {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kCost = 8;  // of one element with its exponential, in memory accesses

/// silu(a) * b, elementwise.
struct GatedFunction : torch::autograd::Function<GatedFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate,
                            const at::Tensor& value) {
    const at::Tensor a = gate.contiguous(), b = value.contiguous();
    at::Tensor y = at::empty_like(a);
    nn::cpu::with_type(a.scalar_type(), [&](auto kind) {
      using T = decltype(kind);
      const nn::cpu::Gated<T> call{
          .a = a.const_data_ptr<T>(), .b = b.const_data_ptr<T>(), .y = y.data_ptr<T>()};
      nn::cpu::share(a.numel(), kCost, [&](std::int64_t begin, std::int64_t end) {
        nn::cpu::kernels<T>().gated(call, begin, end);
      });
    });
    context->save_for_backward({a, b});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor grad_y = grads[0].contiguous();
    at::Tensor grad_a = at::empty_like(saved[0]), grad_b = at::empty_like(saved[1]);
    nn::cpu::with_type(grad_y.scalar_type(), [&](auto kind) {
      using T = decltype(kind);
      const nn::cpu::GatedBackward<T> call{.a = saved[0].const_data_ptr<T>(),
                                           .b = saved[1].const_data_ptr<T>(),
                                           .grad_y = grad_y.const_data_ptr<T>(),
                                           .grad_a = grad_a.data_ptr<T>(),
                                           .grad_b = grad_b.data_ptr<T>()};
      nn::cpu::share(grad_y.numel(), kCost, [&](std::int64_t begin, std::int64_t end) {
        nn::cpu::kernels<T>().gated_backward(call, begin, end);
      });
    });
    return {grad_a, grad_b};
  }
};

at::Tensor gated(const at::Tensor& a, const at::Tensor& b) {
  return nn::cpu::covers({a, b}) ? GatedFunction::apply(a, b) : at::silu(a) * b;
}

}  // namespace

at::Tensor feed_forward(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                        const at::Tensor& w3) {
  if (x.is_cuda()) {
    const at::Tensor both = linear_group(x, {w1, w3});
    if (nn::cuda::covers_gated(both)) return mta::linear(nn::cuda::gated(both), w2);
    const std::vector<at::Tensor> halves = both.chunk(2, -1);
    return mta::linear(gated(halves[0], halves[1]), w2);
  }
  return mta::linear(gated(mta::linear(x, w1), mta::linear(x, w3)), w2);
}

}  // namespace mta
