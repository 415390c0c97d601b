// The vocabulary of stages that variants are made of, each with its parameters.
#pragma once

#include "lib/attention/builder.h"
#include "lib/attention/plan.h"

namespace mta {

enum class Side { BeforeSoftmax, AfterSoftmax };

/// Convolution of each head's map over queries and keys (paper, section 3.1; method, stages 3 and
/// 6). Parameter: kq_before.kernel or kq_after.kernel [H, c_q, c_k].
Stage kq_convolution(LayerBuilder& layer, const KqConvolutionConfig& config, Side side);

/// Mixing of the maps inside groups of heads (paper, section 3.2; method, stages 4 and 7).
/// Parameter: heads_before.weight [G, c, c] (output, input) or heads_after.weight [G, c, c] (input,
/// output).
Stage head_mixing(LayerBuilder& layer, const HeadMixingConfig& config, Side side);

/// A_h = P_2h - lambda P_2h+1 (arXiv 2410.05258, equations 1 and 2), with
/// lambda = exp(lambda_q1 . lambda_k1) - exp(lambda_q2 . lambda_k2) + lambda_init.
/// Parameters: differential.lambda_{q1,k1,q2,k2} [d]. [B, H, R, T] -> [B, H/2, R, T].
Stage differential(LayerBuilder& layer);

/// RMS norm of each head's output, times the depth scale (paper, section 3.3; method, stage 9).
/// Parameter: group_norm.weight [d_v].
Stage group_norm(LayerBuilder& layer, const GroupNormConfig& config);

/// O * sigmoid(W O + b) for each token and head (method, stage 10).
/// Parameters: gate.weight [1 or d_v, d_v], gate.bias.
Stage gate(LayerBuilder& layer, const GateConfig& config);

/// The factor of a normalised output in the 0-based `layer`.
double depth_scale(DepthScale scale, std::int64_t layer);

/// 0.8 - 0.6 exp(-0.3 l) for the 0-based layer l (arXiv 2410.05258, section 2.1).
double lambda_init(std::int64_t layer);

}  // namespace mta
