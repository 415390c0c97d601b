// Dropout on a GPU: the decisions of the fused kernels.
#pragma once

#include "lib/kernels/params.h"
#include "lib/ops/attention.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace mta::ops::cuda {

/// What the kernels take. Throws on a rate outside [0, 1) and on a step that is not as Dropout
/// asks.
kernels::Dropout kernel_dropout(const Dropout& dropout, at::Device device);

struct MaskShape {
  std::int64_t batch = 0, heads = 0, first_row = 0, rows = 0, keys = 0;
};

/// [B, H, rows, keys] on `device`: true where the weight is kept.
at::Tensor keep_mask(const Dropout& dropout, at::Device device, const MaskShape& shape);

/// 1 / (1 - rate), for the rate as the kernels round it.
double kept_scale(const Dropout& dropout);

}  // namespace mta::ops::cuda
