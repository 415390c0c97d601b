// The fused attention of the newest rows of a text on a GPU, as decoding with a cache wants them.
#pragma once

#include "lib/ops/attention.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace mta::ops {

/// Which rows are wanted, and how long the text is.
struct NewestRows {
  std::int64_t rows = 1;  ///< the last of the T tokens
  /// Undefined: k and v have T rows, and q the last ones, from the call's first_row on. Else one
  /// Int on the device, T, read when the kernels run, so that a captured graph follows a growing
  /// text: k and v have room for more tokens, and q a row for each as well, or else the last rows
  /// only.
  at::Tensor length = {};
};

/// What may follow O = A v, for each head of a row, in this order; undefined: absent.
struct OutputStages {
  at::Tensor norm_weight = {};  ///< [d]: o / sqrt(mean(o^2) + norm_eps) * norm_weight * norm_scale
  double norm_eps = 0, norm_scale = 1;
  at::Tensor gate_weight = {}, gate_bias = {};  ///< [1 or d, d], [1 or d]: o sigmoid(W o + b)
};

/// Empty when the kernels of lib/kernels/decode.h compute the call: half or bfloat16 on a GPU, at
/// most eight rows, no dropout and no gradient wanted; else the reason in one clause.
std::string decode_unsupported(const AttentionCall& call, const NewestRows& newest);

/// O = A v of the wanted rows as `attention` gives it, and `output` of it, [B, H, rows, d]. Nothing
/// waits for the device, and the call can be captured in a CUDA graph.
at::Tensor decode_attention(const AttentionCall& call, const NewestRows& newest,
                            const OutputStages& output = {});

}  // namespace mta::ops
