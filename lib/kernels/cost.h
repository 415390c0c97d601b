// What a call must compute and move, by formula: benchmarks divide it by the time.
#pragma once

#include "lib/kernels/params.h"

namespace mta::kernels {

enum class Pass { Forward, Backward };

/// What the formulas need to know. A span or group of 0: the stage is absent.
struct CostShape {
  double logits = 0;  ///< causal ones, see causal_logits
  int head_dim = 0;
  int taps_before = 0, taps_after = 0;             ///< c_q x c_k of the convolutions
  int group_before = 0, group_after = 0;           ///< c_h of the mixings
  bool forward_in_one_pass = false;                ///< see workspace.h
  bool fused_before = false, fused_after = false;  ///< stages_are_fused, see workspace.h
};

/// B H T (T + 1) / 2.
double causal_logits(double batch, double heads, double tokens);

/// Multiplications and additions that the method needs, whoever computes it. Products: 2 d a logit
/// each, two forward and five more (S and dA again, dV, dQ, dK) backward. A convolution: 2 c_q c_k
/// a logit forward; backward again, transposed, and for its kernel. A mixing: 2 c_h forward;
/// backward the same three.
double operations(const CostShape& shape, Pass pass);

/// Bytes of the passes over a map, 2 bytes a logit, reads and writes, that this chain of kernels
/// makes: README.md, "Passes". None where the forward is one kernel.
double map_bytes(const CostShape& shape, Pass pass);

}  // namespace mta::kernels
