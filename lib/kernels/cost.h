// What a call must compute and move, by formula: benchmarks divide it by the time.
#pragma once

#include "lib/kernels/workspace.h"

#include <cstddef>
#include <vector>

namespace mta::kernels {

enum class Pass { Forward, Backward };

/// What the formulas need to know. A span or group of 0: the stage is absent.
struct CostShape {
  double logits = 0;  ///< causal ones, see causal_logits
  double rows = 0;    ///< B H T, of q and its like
  int head_dim = 0;
  int taps_before = 0, taps_after = 0;    ///< c_q x c_k of the convolutions
  int group_before = 0, group_after = 0;  ///< c_h of the mixings
  bool forward_in_one_pass = false, backward_in_one_pass = false;  ///< see workspace.h
  bool fused_before = false, fused_after = false;  ///< stages_are_fused, see workspace.h
  bool mixing_alone = false;                       ///< see workspace.h
  bool softmax_streams = false;                    ///< see workspace.h, backward
};

/// B H T (T + 1) / 2.
double causal_logits(double batch, double heads, double tokens);

/// A problem as the kernels run it with so much workspace on a card that gives a block
/// `shared_bytes` of shared memory.
CostShape cost_shape(const Problem& problem, Direction direction, std::size_t workspace_bytes,
                     int shared_bytes);

/// One stage of a pass.
struct StageCost {
  const char* name;
  double map_bytes;   ///< maps read and written, 2 bytes a logit
  double bytes;       ///< those, and q, k, v, o or gradients, 2 bytes a number, each once
  double operations;  ///< multiplications and additions
};

/// The stages of this chain of kernels that a shape needs, in order. No two of both passes have one
/// name. Left out: what has no work by a logit (weights, statistics of rows, sums of gradients).
std::vector<StageCost> stage_costs(const CostShape& shape, Pass pass);

/// Seconds below which a stage cannot stay on a device of these rates: the longer of moving its
/// bytes and of computing its operations on the matrix unit.
double floor_seconds(const StageCost& cost, double bytes_per_s, double operations_per_s);

/// Of all stages, which is what the method needs, whoever computes it. Products: 2 d a logit each,
/// two forward and five more (S and dA again, dV, dQ, dK) backward. A convolution: 2 c_q c_k a
/// logit forward; backward again, transposed, and for its kernel. A mixing: 2 c_h forward; backward
/// the same three.
double operations(const CostShape& shape, Pass pass);

/// Of all stages: the passes over a map that this chain of kernels makes, README.md, "Passes". None
/// where the forward is one kernel; where the backward is, P and dS are written and read once.
double map_bytes(const CostShape& shape, Pass pass);

}  // namespace mta::kernels
