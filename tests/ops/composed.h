// Attention written twice from the formulas of the paper: with tensor operations that autograd
// follows, and with loops over single entries.
#pragma once

#include "lib/ops/attention.h"

namespace mta::check {

/// The whole call with tensor operations, in the dtype of q.
at::Tensor composed(const ops::AttentionCall& call);

/// The whole call, entry by entry in double, without dropout.
at::Tensor by_loops(const ops::AttentionCall& call);

}  // namespace mta::check
