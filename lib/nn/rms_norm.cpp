// RMS norm from LibTorch operations.
#include "lib/nn/rms_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/rsqrt.h>

namespace mta {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const auto wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor precise = x.to(wide);
  const at::Tensor scale = (precise.square().mean(-1, /*keepdim=*/true) + eps).rsqrt();
  return (precise * scale * weight.to(wide)).to(x.scalar_type());
}

}  // namespace mta
