// Cross-entropy over many logits, without a copy of them in a wider type.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace mta {

/// Target of a row that does not count.
inline constexpr std::int64_t kNoTarget = -100;

/// Sum of log(sum_j exp(x_j)) - x_target over the rows that have a target; nats. logits [N, V] of
/// any floating type, targets [N] int64 in [0, V) or kNoTarget. A scalar in fp32, or double for
/// double; equal to LibTorch's cross_entropy in that type within its rounding. Differentiable once,
/// in the logits; equal calls give equal bits.
///
/// Beside the logits backward keeps one number a row. The forward pass and the backward pass widen
/// rows a chunk at a time, at most 2^24 values (or one row): 64 MiB in fp32. On a GPU in fp32 and
/// bf16 a kernel reads each row once a pass and nothing is widened in memory.
at::Tensor chunked_cross_entropy(const at::Tensor& logits, const at::Tensor& targets);

}  // namespace mta
