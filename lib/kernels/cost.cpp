// The formulas.
#include "lib/kernels/cost.h"

namespace mta::kernels {

double causal_logits(double batch, double heads, double tokens) {
  return 0.5 * batch * heads * tokens * (tokens + 1);
}

double operations(const CostShape& s, Pass pass) {
  const bool backward = pass == Pass::Backward;
  const int stages = s.taps_before + s.taps_after + s.group_before + s.group_after;
  return 2.0 * s.logits * ((backward ? 5 : 2) * s.head_dim + (backward ? 3 : 1) * stages);
}

double map_bytes(const CostShape& s, Pass pass) {
  if (pass == Pass::Forward && s.forward_in_one_pass) return 0;
  const int conv_before = s.taps_before > 0, conv_after = s.taps_after > 0;
  const int mix_before = s.group_before > 0, mix_after = s.group_after > 0;
  const int again = 1 + 2 * conv_before + 2 * mix_before + 2 * conv_after;  // S, C, M, R
  const int fused =
      (s.fused_before ? 1 : 0) + (s.fused_after ? 1 : 0);  // C, R neither kept nor read
  if (pass == Pass::Forward) return 2.0 * s.logits * (again + 2 * mix_after + 1 - 2 * fused);
  const int d_weights = 1 + (conv_after || mix_after ? 0 : 1);  // with the dots, M is read too
  const int sums = 3, softmax = mix_before ? 4 : 3, unconvolve = 3 * (conv_before + conv_after);
  const int kept = s.fused_before ? 1 : 0;  // C is kept for later, not read by the next stage
  return 2.0 * s.logits * (again - kept + d_weights + 4 * mix_after + sums + softmax + unconvolve);
}

}  // namespace mta::kernels
