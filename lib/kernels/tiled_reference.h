// The kernels' tiled, chunked loop in plain C++ with double: proves the index arithmetic without a
// GPU.
//
// Every stage walks the same tiles, halos, rings and shared buffers as the kernels do, and every
// buffer starts as NaN, so that an entry that nobody wrote, or a row that a chunk overwrote too
// early, shows in the result.
#pragma once

#include "lib/kernels/params.h"
#include "lib/kernels/workspace.h"

#include <vector>

namespace mta::kernels {

/// All tensors [B, H, T, d], contiguous. The kernels and mixing weights are those of the Problem,
/// on the host.
struct ReferenceInputs {
  std::vector<double> q, k, v, d_o;
};

struct ReferenceResult {
  std::vector<double> o, lse;         // [B, H, T, d], [B, H, T]
  std::vector<double> d_q, d_k, d_v;  // [B, H, T, d]
  std::vector<double> d_conv_before,
      d_conv_after;                               // [H, c_q, c_k]; empty where the stage is absent
  std::vector<double> d_mix_before, d_mix_after;  // [H/c_h, c_h, c_h]
};

/// Forward with the chunks of `forward`, then backward with the chunks of `backward`. `problem`
/// must pass check(); its kernel and weight pointers are read on the host, its gradient pointers
/// and `dropout.step` are not used.
ReferenceResult tiled_reference(const Problem& problem, const ReferenceInputs& inputs,
                                const WorkspacePlan& forward, const WorkspacePlan& backward);

}  // namespace mta::kernels
