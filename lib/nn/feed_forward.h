// The SwiGLU feed-forward network (arXiv 2002.05202).
#pragma once

#include <ATen/core/Tensor.h>

namespace mta {

/// w2 (silu(w1 x) * w3 x). x [..., D], w1 and w3 [hidden, D], w2 [D, hidden] -> [..., D].
at::Tensor feed_forward(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                        const at::Tensor& w3);

}  // namespace mta
