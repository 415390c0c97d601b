// The elementwise CUDA kernels as differentiable functions on tensors.
//
// Each has a question beside it: whether kernels cover these tensors (on a GPU, fp32 or bf16, sizes
// in eights). In a build without CUDA the answer is no.
#pragma once

#include "lib/nn/rms_norm.h"
#include "lib/nn/rotary.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace mta::nn::cuda {

/// x [..., D], update like x or undefined, weight [D] in fp32. lib/nn/rms_norm.h; a `first_row`
/// over 0 wants x [B, T, D] and an update.
bool covers_rms_norm(const at::Tensor& x, const at::Tensor& weight);
Normed rms_norm(const at::Tensor& x, const at::Tensor& update, const at::Tensor& weight, double eps,
                std::int64_t first_row = 0);

/// x [B, T, H, d] with the last stride 1; cos and sin [T, d] in fp32.
bool covers_rotate(const at::Tensor& x, const at::Tensor& cos);
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);
/// lib/nn/rotary.h; each of joint_parts() is covered.
std::vector<at::Tensor> rotate_joint(const at::Tensor& joint, const at::Tensor& cos,
                                     const at::Tensor& sin, const std::vector<std::int64_t>& heads);

/// silu(a) b of ab [..., 2 F], a before b -> [..., F].
bool covers_gated(const at::Tensor& ab);
at::Tensor gated(const at::Tensor& ab);

/// The two passes of lib/nn/chunked_cross_entropy.h, not differentiable themselves. logits [N, V],
/// contiguous; targets [N]; log_sums [N] fp32, written forward; grad a scalar. Forward gives the
/// loss of each row [N], backward the gradient of the logits.
bool covers_cross_entropy(const at::Tensor& logits);
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets,
                         const at::Tensor& log_sums);
at::Tensor cross_entropy_backward(const at::Tensor& logits, const at::Tensor& targets,
                                  const at::Tensor& log_sums, const at::Tensor& grad);

/// table [V, D] += rows [N, D] at tokens [N], the sum of a token's rows rounded once; not
/// differentiable. Equal calls give equal bits.
bool covers_add_rows(const at::Tensor& table);
void add_rows(const at::Tensor& table, const at::Tensor& tokens, const at::Tensor& rows);

}  // namespace mta::nn::cuda
