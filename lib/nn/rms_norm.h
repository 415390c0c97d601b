// Root-mean-square normalisation (arXiv 1910.07467).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace mta {

/// y = x / sqrt(mean(x^2) + eps) * weight over the last dimension. The statistics are computed in
/// float32 for narrower types, and y has the type of x.
/// x [..., d], weight [d].
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

struct Normed {
  at::Tensor sum, normed;
};
/// sum = x + update and its norm, in one pass on CUDA; x itself where `update` is undefined. Where
/// `first_row` is over 0, sum is that of the rows from there on alone, of x [B, T, d].
Normed add_rms_norm(const at::Tensor& x, const at::Tensor& update, const at::Tensor& weight,
                    double eps, std::int64_t first_row = 0);

}  // namespace mta
