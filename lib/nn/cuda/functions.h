// The elementwise CUDA kernels as differentiable functions on tensors.
//
// Each has a question beside it: whether kernels cover these tensors (on a GPU, fp32 or bf16, sizes
// in eights). In a build without CUDA the answer is no.
#pragma once

#include "lib/nn/rms_norm.h"
#include "lib/nn/rotary.h"

#include <ATen/core/Tensor.h>

namespace mta::nn::cuda {

/// x [..., D], update like x or undefined, weight [D] in fp32.
bool covers_rms_norm(const at::Tensor& x, const at::Tensor& weight);
Normed rms_norm(const at::Tensor& x, const at::Tensor& update, const at::Tensor& weight,
                double eps);

/// x [B, T, H, d] with the last stride 1; cos and sin [T, d] in fp32.
bool covers_rotate(const at::Tensor& x, const at::Tensor& cos);
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

/// silu(a) b of ab [..., 2 F], a before b -> [..., F].
bool covers_gated(const at::Tensor& ab);
at::Tensor gated(const at::Tensor& ab);

}  // namespace mta::nn::cuda
