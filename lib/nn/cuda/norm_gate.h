// The stages on attention's output, a norm and a scalar gate of each head, as one differentiable
// function.
#pragma once

#include "lib/ops/decode.h"

#include <ATen/core/Tensor.h>

namespace mta::nn::cuda {

/// Whether kernels compute `stages` of o [B, H, T, d]: on a GPU, fp32 or bf16, d in eights up to
/// 256, the values of a head side by side, and fp32 parameters of a norm, of a gate with one weight
/// a column, or of both. In a build without CUDA the answer is no.
bool covers_norm_gate(const at::Tensor& o, const ops::OutputStages& stages);

/// The norm of each row of d values, then the gate, -> [B, T, H d], each value rounded once.
/// Whatever the order of o in memory, nothing is copied: the fused attention's gradient comes in
/// the order that it takes, [B, T, H, d].
at::Tensor norm_gate(const at::Tensor& o, const ops::OutputStages& stages);

}  // namespace mta::nn::cuda
