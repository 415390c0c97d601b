// SwiGLU from LibTorch operations.
#include "lib/nn/feed_forward.h"

#include "lib/nn/linear.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/silu.h>

namespace mta {

at::Tensor feed_forward(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                        const at::Tensor& w3) {
  return mta::linear(at::silu(mta::linear(x, w1)) * mta::linear(x, w3), w2);
}

}  // namespace mta
