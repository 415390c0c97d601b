// The four products with q, k, v of one head size, for both element types.
#pragma once

#include "lib/kernels/scores.cuh"
#include "lib/kernels/transposed_sum.cuh"
#include "lib/kernels/weighted_sum.cuh"

namespace mta::kernels {

/// Calls `run` with a value of the type that `type` names.
template <class Run>
void with_type(ElementType type, Run&& run) {
  if (type == ElementType::BFloat16) {
    run(Brain{});
  } else {
    run(Half{});
  }
}

template <int kDim>
void Products<kDim>::scores(const ScoresArgs& args, ElementType type, cudaStream_t stream) {
  with_type(type, [&](auto e) {
    using E = decltype(e);
    if (args.statistics.partials != nullptr) {
      launch_scores<E, Half, kDim, ScoreExtra::Statistics>(args, stream);
    } else {
      launch_scores<E, Half, kDim, ScoreExtra::Nothing>(args, stream);
    }
  });
}
template <int kDim>
void Products<kDim>::weight_gradient(const ScoresArgs& args, ElementType type,
                                     cudaStream_t stream) {
  with_type(type, [&](auto e) {
    using E = decltype(e);
    if (args.dots.partials != nullptr) {
      launch_scores<E, E, kDim, ScoreExtra::Dots>(args, stream);
    } else if (args.dropout.threshold > 0) {
      launch_scores<E, E, kDim, ScoreExtra::Dropout>(args, stream);
    } else {
      launch_scores<E, E, kDim, ScoreExtra::Nothing>(args, stream);
    }
  });
}
template <int kDim>
void Products<kDim>::weighted_sum(const WeightedSumArgs& args, ElementType type,
                                  cudaStream_t stream) {
  with_type(type, [&](auto e) { launch_weighted_sum<decltype(e), kDim>(args, stream); });
}
template <int kDim>
void Products<kDim>::transposed_sum(const TransposedSumArgs& args, ElementType type,
                                    cudaStream_t stream) {
  with_type(type, [&](auto e) { launch_transposed_sum<decltype(e), kDim>(args, stream); });
}

}  // namespace mta::kernels
