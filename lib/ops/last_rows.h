// The fused attention of a few last rows on a GPU: what a loss on an answer needs of the last
// layer.
#pragma once

#include "lib/ops/attention.h"

#include <ATen/core/Tensor.h>

#include <string>

namespace mta::ops {

/// Empty when a kernel computes the call: at most eight rows at the end of the keys, half or
/// bfloat16 on a GPU, no stage but a kq convolution before the softmax; else the reason in one
/// clause.
std::string last_rows_unsupported(const AttentionCall& call);

/// O = A v as `attention` gives it, with the same dropout, decision for decision.
at::Tensor last_rows_attention(const AttentionCall& call);

}  // namespace mta::ops
