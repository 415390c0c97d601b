// Root-mean-square normalisation (arXiv 1910.07467).
#pragma once

#include <ATen/core/Tensor.h>

namespace mta {

/// y = x / sqrt(mean(x^2) + eps) * weight over the last dimension. The statistics are computed in
/// float32 for narrower types, and y has the type of x.
/// x [..., d], weight [d].
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

struct Normed {
  at::Tensor sum, normed;
};
/// sum = x + update and its norm, in one pass on CUDA; x itself where `update` is undefined.
Normed add_rms_norm(const at::Tensor& x, const at::Tensor& update, const at::Tensor& weight,
                    double eps);

}  // namespace mta
