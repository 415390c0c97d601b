// The method written straight from its formulas on whole maps, in double: the truth that the
// kernels are held to.
#pragma once

#include "lib/kernels/params.h"
#include "lib/kernels/tiled_reference.h"

#include <functional>
#include <vector>

namespace mta::check {

/// What an entry of a map or an output becomes when it is stored: itself, or rounded to fp16 or
/// bf16.
using Rounding = std::function<double(double)>;

/// Root of the sum of squares of the terms that make each weight's gradient: how large the rounding
/// of those terms may leave it, however small the gradient itself has come out.
struct TermSizes {
  std::vector<double> conv_before, conv_after, mix_before, mix_after;
};

/// Forward and backward of `problem` (pointers on the host), with the maps [B, H, T, T] in memory.
/// With a rounding this is the composed path, stage by stage in that type with exact sums: the
/// error that a fused path is compared with.
kernels::ReferenceResult dense_reference(const kernels::Problem& problem,
                                         const kernels::ReferenceInputs& inputs,
                                         const Rounding& rounding = nullptr,
                                         TermSizes* sizes = nullptr);

}  // namespace mta::check
