// A product with a weight matrix, in the type of its input.
#pragma once

#include <ATen/core/Tensor.h>

namespace mta {

/// Call these as mta::linear: at::linear is found by its arguments wherever it is included.
/// x [..., in], weight [out, in] -> [..., out]. Master weights of another type are rounded at use.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight);
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace mta
