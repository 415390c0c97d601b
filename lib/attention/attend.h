// The skeleton of attention, written once: scores, stages, mask, softmax, stages, weighted sum.
#pragma once

#include "lib/attention/plan.h"
#include "lib/ops/attention.h"

#include <ATen/core/Tensor.h>

namespace mta {

struct AttendInput {
  at::Tensor q, k,
      v;  // [B, H, R, d], [B, H, T, d], [B, H', T, d_v]: H' maps are left by the stages
  std::int64_t first_row = 0;                           // query r stands at position first_row + r
  ops::Dropout dropout{};                               // on the weights
  std::int64_t workspace_bytes = ops::kWorkspaceBytes;  // of the fused path on a GPU

  MapWindow window() const { return {first_row, q.size(2), k.size(2)}; }
};

/// O = A v, [B, H', R, d_v], before the output stages; every map is in memory ("composed").
/// Knows the causal rule: a stage sees 0 above the diagonal, the softmax -inf; it runs in float32
/// for narrower types.
at::Tensor attend(const AttentionPlan& plan, const AttendInput& input, const StageTap& tap);

/// Applies the output stages in order to O [B, H', R, d_v], and joins the heads -> [B, R, H' d_v].
at::Tensor finish(const AttentionPlan& plan, at::Tensor output, const MapWindow& window);

/// [B, H', R, d_v] -> [B, R, H' d_v].
at::Tensor joined_heads(const at::Tensor& output);

}  // namespace mta
