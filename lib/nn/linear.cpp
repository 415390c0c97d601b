// Casts weights to the computing type and calls LibTorch.
#include "lib/nn/linear.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/linear.h>

namespace mta {

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight) {
  return at::linear(x, weight.to(x.scalar_type()));
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::linear(x, weight.to(x.scalar_type()), bias.to(x.scalar_type()));
}

}  // namespace mta
