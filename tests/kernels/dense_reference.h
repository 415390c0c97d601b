// The method written straight from its formulas on whole maps, in double: the truth that the
// kernels are held to.
#pragma once

#include "lib/kernels/params.h"
#include "lib/kernels/tiled_reference.h"

namespace mta::check {

/// Forward and backward of `problem` (pointers on the host), with the maps [B, H, T, T] in memory.
kernels::ReferenceResult dense_reference(const kernels::Problem& problem,
                                         const kernels::ReferenceInputs& inputs);

}  // namespace mta::check
