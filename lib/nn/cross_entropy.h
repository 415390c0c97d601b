// The training loss: mean cross-entropy over the positions that are scored.
#pragma once

#include <ATen/core/Tensor.h>

namespace mta {

/// -log softmax(logits)[target], in float32 for narrower types, averaged over the positions where
/// `scored` is not 0. logits [..., V]; targets [...] int64; scored [...] of any type. Not a number
/// when nothing is scored.
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets,
                         const at::Tensor& scored);

}  // namespace mta
