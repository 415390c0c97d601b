// Rotary embedding: one pass on the CPU and on CUDA, LibTorch operations elsewhere.
#include "lib/nn/rotary.h"

#include "lib/nn/cpu/dispatch.h"
#include "lib/nn/cpu/kernels.h"
#include "lib/nn/cuda/functions.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/stack.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace mta {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// x [B, T, H, d]; cos and sin [T, d]. `direction` -1 turns backwards.
template <class T>
void turn(const at::Tensor& x, const variable_list& table, T direction, at::Tensor& y) {
  const nn::cpu::Rotation<T> call{.x = x.const_data_ptr<T>(),
                                  .cos = table[0].const_data_ptr<T>(),
                                  .sin = table[1].const_data_ptr<T>(),
                                  .y = y.data_ptr<T>(),
                                  .heads = x.size(2),
                                  .d = x.size(3),
                                  .positions = x.size(1),
                                  .direction = direction};
  nn::cpu::share(x.size(0) * x.size(1), call.heads * call.d,
                 [&](std::int64_t begin, std::int64_t end) {
                   nn::cpu::kernels<T>().rotate(call, begin, end);
                 });
}

struct RotateFunction : torch::autograd::Function<RotateFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin) {
    context->save_for_backward({cos, sin});
    return turned(x.contiguous(), {cos, sin}, 1);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    return {turned(grads[0].contiguous(), context->get_saved_variables(), -1), at::Tensor(),
            at::Tensor()};
  }
  static at::Tensor turned(const at::Tensor& x, const variable_list& table, int direction) {
    at::Tensor y = at::empty_like(x);
    nn::cpu::with_type(x.scalar_type(), [&](auto kind) {
      using T = decltype(kind);
      turn<T>(x, table, static_cast<T>(direction), y);
    });
    return y;
  }
};

/// (x0, x1) -> (x1, x0) for each pair in the last dimension.
at::Tensor swapped(const at::Tensor& x) { return x.unflatten(-1, {-1, 2}).flip(-1).flatten(-2); }

}  // namespace

RotaryTable make_rotary_table(std::int64_t positions, std::int64_t head_dim, double theta,
                              at::TensorOptions options) {
  TORCH_CHECK(head_dim % 2 == 0, "rotary pairs need an even head size, got ", head_dim);
  const at::Tensor pair = at::arange(head_dim / 2, at::kDouble);
  const at::Tensor frequency =
      at::pow(at::Scalar(theta), pair * (-2.0 / static_cast<double>(head_dim)));
  const at::Tensor angle = at::outer(at::arange(positions, at::kDouble), frequency);
  const at::Tensor cos = angle.cos(), sin = angle.sin();
  const auto wide = options.dtype(options.dtype() == at::kDouble ? at::kDouble : at::kFloat);
  return {at::stack({cos, cos}, -1).flatten(-2).to(wide),
          at::stack({-sin, sin}, -1).flatten(-2).to(wide)};
}

at::Tensor rotate(const at::Tensor& x, const RotaryTable& table, std::int64_t first_position) {
  const std::int64_t T = x.size(1);
  TORCH_CHECK(first_position + T <= table.positions(), "position ", first_position + T,
              " is beyond the rotary table's ", table.positions());
  const at::Tensor cos = table.cos.narrow(0, first_position, T);
  const at::Tensor sin = table.sin.narrow(0, first_position, T);
  if (nn::cpu::covers({x, cos, sin})) return RotateFunction::apply(x, cos, sin);
  if (nn::cuda::covers_rotate(x, cos)) return nn::cuda::rotate(x, cos, sin);
  const at::Tensor wide = x.to(cos.scalar_type());  // [B, T, H, d] times [T, 1, d]
  return (wide * cos.unsqueeze(1) + swapped(wide) * sin.unsqueeze(1)).to(x.scalar_type());
}

std::vector<at::Tensor> joint_parts(const at::Tensor& joint,
                                    const std::vector<std::int64_t>& heads) {
  std::vector<at::Tensor> parts = joint.chunk(static_cast<std::int64_t>(heads.size()), -1);
  for (std::size_t i = 0; i < heads.size(); ++i) parts[i] = parts[i].unflatten(-1, {heads[i], -1});
  return parts;
}

std::vector<at::Tensor> rotate_joint(const at::Tensor& joint, const RotaryTable& table,
                                     const std::vector<std::int64_t>& heads) {
  std::vector<at::Tensor> parts = joint_parts(joint, heads);
  const bool covered =
      joint.is_contiguous() && std::all_of(parts.begin(), parts.end(), [&](const at::Tensor& part) {
        return nn::cuda::covers_rotate(part, table.cos);
      });
  if (!covered) {
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) parts[i] = rotate(parts[i], table, 0);
    return parts;
  }
  const std::int64_t T = joint.size(1);
  TORCH_CHECK(T <= table.positions(), "position ", T, " is beyond the rotary table's ",
              table.positions());
  return nn::cuda::rotate_joint(joint, table.cos.narrow(0, 0, T), table.sin.narrow(0, 0, T), heads);
}

}  // namespace mta
