// Stage: head mixing, forward: before the softmax with its partial statistics, after it with
// dropout.
#pragma once

#include "lib/kernels/head_mixing_points.cuh"

namespace mta::kernels {

constexpr int kMixingStages = 2;
static_assert(kFewestStages<4 * kBuiltParts[2]> == kMixingStages, "forward fits everywhere");

/// M = W C, and the partial statistics of M's rows. Grid: (strips, row groups, batch x units).
template <int kParts>
__global__ void __launch_bounds__(kMixingThreads, 4) mix_before_kernel(const MixingArgs args) {
  wait_for_previous_kernel();
  uint4* const shared_pieces = dynamic_shared<uint4>();
  PieceRing<4 * kParts> ring(shared_pieces);
  const MixingPlace place = mixing_place(args);
  const int heads = args.extent.heads;
  const UnitWeights<kParts> w(args.weights, place.unit);
  for_each_point_tile<kMixingStages>(
      args,
      [&](int stage, int row, int key) {
        ring.template start_inputs<kParts>(stage, 0, args.source, place, heads, row, key);
      },
      [](int) {},
      [&](int stage, int row, int key) {
        Mixed mixed;
        clear(mixed);
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          mix_points<Half>(mixed, w[part], ring.points(stage, 4 * part));
        }
        const Points m = pack_outputs<Half>(mixed);
        store_outputs<Half>(m, args.target, place, heads, row, key, {});
        if (args.statistics.partials != nullptr) {
          store_mixed_partials(m, args.statistics, place, heads, row, key);
        }
      });
}

/// A = dropout(W R), R read or made from M. The same grid.
template <class E, int kParts>
__global__ void __launch_bounds__(kMixingThreads) mix_after_kernel(const MixingArgs args) {
  wait_for_previous_kernel();
  uint4* const shared_pieces = dynamic_shared<uint4>();
  PieceRing<4 * kParts> ring(shared_pieces);
  const MixingPlace place = mixing_place(args);
  const int heads = args.extent.heads;
  const UnitWeights<kParts> w(args.weights, place.unit);
  float lse2[kParts][4];
  for_each_point_tile<kMixingStages>(
      args,
      [&](int stage, int row, int key) {
        ring.template start_inputs<kParts>(stage, 0, args.source, place, heads, row, key);
      },
      [&](int row) {
        if (!args.source_is_softmax) return;
        load_row_lse<kParts>(lse2, args, row, place);
      },
      [&](int stage, int row, int key) {
        Mixed mixed;
        clear(mixed);
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          Points r = ring.points(stage, 4 * part);
          if (args.source_is_softmax) apply_softmax(r, lse2[part], row, key);
          mix_points<Half>(mixed, w[part], r);
        }
        store_outputs<E>(pack_outputs<E>(mixed), args.target, place, heads, row, key, args.dropout);
      });
}

template <int kParts>
void MixingKernels<kParts>::before(const MixingArgs& args, cudaStream_t stream) {
  launch_mixing<4 * kParts>(mix_before_kernel<kParts>, kMixingStages, args, stream);
}
template <int kParts>
void MixingKernels<kParts>::after(const MixingArgs& args, ElementType type, cudaStream_t stream) {
  if (type == ElementType::BFloat16) {
    launch_mixing<4 * kParts>(mix_after_kernel<Brain, kParts>, kMixingStages, args, stream);
  } else {
    launch_mixing<4 * kParts>(mix_after_kernel<Half, kParts>, kMixingStages, args, stream);
  }
}

}  // namespace mta::kernels
