// Rotary embedding from LibTorch operations.
#include "lib/nn/rotary.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/stack.h>

#include <cmath>

namespace mta {

RotaryTable make_rotary_table(std::int64_t positions, std::int64_t head_dim, double theta,
                              at::TensorOptions options) {
  TORCH_CHECK(head_dim % 2 == 0, "rotary pairs need an even head size, got ", head_dim);
  const at::Tensor pair = at::arange(head_dim / 2, at::kDouble);
  const at::Tensor frequency =
      at::pow(at::Scalar(theta), pair * (-2.0 / static_cast<double>(head_dim)));
  const at::Tensor angle = at::outer(at::arange(positions, at::kDouble), frequency);
  const auto wide = options.dtype() == at::kDouble ? at::kDouble : at::kFloat;
  return {angle.cos().to(options.dtype(wide)), angle.sin().to(options.dtype(wide))};
}

at::Tensor rotate(const at::Tensor& x, const RotaryTable& table, std::int64_t first_position) {
  const std::int64_t T = x.size(1);
  TORCH_CHECK(first_position + T <= table.positions(), "position ", first_position + T,
              " is beyond the rotary table's ", table.positions());
  const auto rows = [&](const at::Tensor& values) {
    return values.narrow(0, first_position, T).unsqueeze(1);  // [T, d/2] -> [T, 1, d/2]
  };
  const at::Tensor cos = rows(table.cos), sin = rows(table.sin);
  const at::Tensor pairs = x.to(cos.scalar_type()).unflatten(-1, {-1, 2});  // [B, T, H, d/2, 2]
  const at::Tensor x0 = pairs.select(-1, 0), x1 = pairs.select(-1, 1);
  const at::Tensor rotated = at::stack({x0 * cos - x1 * sin, x0 * sin + x1 * cos}, -1);
  return rotated.flatten(-2).to(x.scalar_type());
}

}  // namespace mta
