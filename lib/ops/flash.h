// Standard attention on a GPU: LibTorch's own flash attention, the rival that the others are
// measured against.
#pragma once

#include "lib/ops/attention.h"

#include <ATen/core/Tensor.h>

#include <string>

namespace mta::ops {

/// Empty when LibTorch's flash attention computes the call: no stage, all rows or the last one,
/// half or bfloat16 on a GPU; else the reason in one clause.
std::string flash_unsupported(const AttentionCall& call);

/// O = A v as `attention` gives it, by at::scaled_dot_product_attention. Its dropout draws from
/// LibTorch's generator of the device, not with the function of dropout.h: see seed_flash.
at::Tensor flash_attention(const AttentionCall& call);

/// Seeds LibTorch's generator of `device` from the dropout's seed and stream; `step` is not read.
/// `flash_attention` does so by itself, which makes its dropout a pure function of (seed, stream),
/// unless the call has a `step` or its stream is being captured: then layers draw one after the
/// other, and whoever makes the step calls this before it, or before each replay of its graph.
void seed_flash(const Dropout& dropout, at::Device device);

}  // namespace mta::ops
