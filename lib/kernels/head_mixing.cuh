// Stage: head mixing, forward: before the softmax with its partial statistics, after it with
// dropout.
#pragma once

#include "lib/kernels/head_mixing_tiles.cuh"

namespace mta::kernels {

constexpr int kMixingStages = 2;
static_assert(kFewestStages<4 * kBuiltParts[2]> == kMixingStages, "forward fits everywhere");

/// Applies dropout, if there is any, to a tile in output layout: one piece after the other, as the
/// random numbers take many registers.
template <class E>
__device__ inline void drop_outputs(Points& points, const DropoutArgs& dropout,
                                    const MixingPlace& place, int heads, int row, int key) {
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const int map = output_map(place, heads, n / 2);
    if (dropout.threshold == 0 || map < 0) continue;
    points.chunk[n] = drop<E>(points.chunk[n], dropout, map, row, key + kChunk * output_group(n));
  }
}

/// M = W C, and the partial statistics of M's rows. Grid: (strips, row groups, batch x units).
template <int kParts>
__global__ void __launch_bounds__(kMixingThreads, 4) mix_before_kernel(const MixingArgs args) {
  wait_for_previous_kernel();
  uint4* const shared_pieces = dynamic_shared<uint4>();
  const TileRing<kParts, HalvedGroups> ring(shared_pieces);
  const MixingPlace place = mixing_place(args);
  const OutputPieces pieces(args.source, args, place);
  const int heads = args.extent.heads;
  const UnitWeights<kParts> w(args.weights, place.unit);
  for_each_point_tile<kMixingStages>(
      args,
      [&](int stage, unsigned piece) { pieces.start<kParts>(ring, stage, 0, args.source, piece); },
      [](int) {},
      [&](int stage, int row, int key, unsigned piece) {
        Mixed mixed;
        clear(mixed);
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          mix_points<Half>(mixed, w[part], ring.inputs(stage, part));
        }
        const Points m = pack_outputs<Half>(mixed);
        pieces.store(m, args.target, piece);
        if (args.statistics.partials != nullptr) {
          store_mixed_partials(m, args.statistics, place, heads, row, key);
        }
      });
}

/// Blocks a multiprocessor that registers must leave room for, as many as shared memory does for
/// wide groups on a card with 227 KB.
template <int kParts>
constexpr int kMixAfterBlocks = kParts == 1   ? 5
                                : kParts == 2 ? 4
                                              : 3;

/// A = dropout(W R), R read or made from M. The same grid.
template <class E, int kParts>
__global__ void __launch_bounds__(kMixingThreads, kMixAfterBlocks<kParts>)
    mix_after_kernel(const MixingArgs args) {
  wait_for_previous_kernel();
  uint4* const shared_pieces = dynamic_shared<uint4>();
  const TileRing<kParts, HalvedGroups> ring(shared_pieces);
  const MixingPlace place = mixing_place(args);
  const OutputPieces pieces(args.source, args, place);
  const int heads = args.extent.heads;
  const UnitWeights<kParts> w(args.weights, place.unit);
  float lse2[kParts][4];
  for_each_point_tile<kMixingStages>(
      args,
      [&](int stage, unsigned piece) { pieces.start<kParts>(ring, stage, 0, args.source, piece); },
      [&](int row) {
        if (!args.source_is_softmax) return;
        load_row_lse<kParts>(lse2, args, row, place);
      },
      [&](int stage, int row, int key, unsigned piece) {
        Mixed mixed;
        clear(mixed);
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          Points r = ring.inputs(stage, part);
          if (args.source_is_softmax) apply_softmax(r, lse2[part], row, key);
          mix_points<Half>(mixed, w[part], r);
        }
        Points a = pack_outputs<E>(mixed);
        drop_outputs<E>(a, args.dropout, place, heads, row, key);
        pieces.store(a, args.target, piece);
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
