// Stage: the gradients of both head mixings, with the softmax's backward in between.
#pragma once

#include "lib/kernels/head_mixing.cuh"

namespace mta::kernels {

/// gradient[row head, column head] sums of one output block against each part: two 16x8
/// accumulators a part.
template <int kParts>
struct MixingSums {
  float value[kParts][2][4];
};

/// sums += rows columns^T over 64 points; both in output layout, so that the keys are the inner
/// dimension of both operands.
template <class E>
__device__ inline void accumulate_gram(float (&sums)[2][4], const Points& rows,
                                       const Points& columns) {
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    const auto row = [&](int n) { return (&rows.chunk[n].x)[s]; };
    const auto column = [&](int n) { return (&columns.chunk[n].x)[s]; };
    mma_k16<E>(sums[0], row(0), row(2), row(1), row(3), column(0), column(1));
    mma_k16<E>(sums[1], row(0), row(2), row(1), row(3), column(2), column(3));
  }
}

/// Adds the block's sums, warps in order, to its slot of 256 numbers [row head, column head] for
/// each part of `totals` [batch, units, parts, slots, 256]. `shared` is the ring of pieces, which
/// nobody needs any more: memory of its own would not fit on the smallest cards.
template <int kParts>
__device__ void finish_mixing_sums(const MixingSums<kParts>& sums, float* totals,
                                   const MixingArgs& args, uint4* shared) {
  auto* const squares = reinterpret_cast<float(*)[256]>(shared);  // [warp, 16 row + column]
  const Lane lane = lane_place();
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int slot = static_cast<int>(blockIdx.y) * args.strips + static_cast<int>(blockIdx.x);
  __syncthreads();
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const int e = n % 4, row = lane.g + e / 2 * 8, column = n / 4 * 8 + 2 * lane.q + e % 2;
      squares[warp][row * 16 + column] = sums.value[part][n / 4][e];
    }
    __syncthreads();
    const int outer = static_cast<int>(blockIdx.z) * kParts + part;
    float* target = totals + (static_cast<std::size_t>(outer) * args.slots + slot) * 256;
    for (int n = static_cast<int>(threadIdx.x); n < 256; n += kMixingThreads) {
      float sum = 0;
      for (int w = 0; w < kMixingWarps; ++w) sum += squares[w][n];
      target[n] += sum;
    }
    __syncthreads();
  }
}

/// Partial sums of P dP over this tile, both in output layout.
template <class E>
__device__ inline void store_mixed_dots(const Points& p, const Points& d_p, const RowDots& dots,
                                        const MixingPlace& place, int heads, int row, int key) {
  const Lane lane = lane_place();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = 0;
#pragma unroll
    for (int n = 0; n < 16; n += 2) {
      const float2 pair = unpack<E>((&p.chunk[2 * half + n / 8].x)[n % 8 / 2]);
      const float2 d = unpack<E>((&d_p.chunk[2 * half + n / 8].x)[n % 8 / 2]);
      sum += pair.x * d.x + pair.y * d.y;
    }
    sum = quad_sum(sum);
    const int map = output_map(place, heads, half);
    if (lane.q == 0 && map >= 0) dots.partials[dots.index(map, row, key / kTileKeys)] = sum;
  }
}

/// A = dropout(W R), dR = W^T dA, the gradient of W, and where no convolution follows the dots of P
/// dP. `args.gradient` is dA with the dropout already in it.
template <class E, int kParts, int kStages>
__global__ void __launch_bounds__(kMixingThreads, kParts == 1 ? 3 : 1)
    mix_after_backward_kernel(const MixingArgs args) {
  wait_for_previous_kernel();
  uint4* const shared_pieces = dynamic_shared<uint4>();
  const TileRing<2 * kParts, HalvedGroups> ring(shared_pieces);  // R or M, dA
  const MixingPlace place = mixing_place(args);
  const OutputPieces pieces(args.source, args, place);
  const int heads = args.extent.heads;
  const UnitWeights<kParts> w(args.weights, place.unit), transposed(args.transposed, place.unit);
  MixingSums<kParts> sums = {};
  float lse2[kParts][4];
  for_each_point_tile<kStages>(
      args,
      [&](int stage, unsigned piece) {
        pieces.start<kParts>(ring, stage, 0, args.source, piece);
        pieces.start<kParts>(ring, stage, kParts, args.gradient, piece);
      },
      [&](int row) {
        if (args.source_is_softmax) load_row_lse<kParts>(lse2, args, row, place);
      },
      [&](int stage, int row, int key, unsigned piece) {
        Mixed mixed;
        clear(mixed);
        Points r_out = {};
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          Points r = ring.inputs(stage, part);
          if (args.source_is_softmax) apply_softmax(r, lse2[part], row, key);
          mix_points<Half>(mixed, w[part], r);
          if (kParts == 1 || part == place.part) {
            r_out = to_output_layout<Half>(r);
#pragma unroll
            for (int n = 0; n < 4; ++n) r_out.chunk[n] = convert_chunk<Half, E>(r_out.chunk[n]);
          }
        }
        Points a = pack_outputs<E>(mixed);
        clear(mixed);
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          Points d_a = ring.inputs(stage, kParts + part);
          keep_causal_inputs(d_a, row, key);
          mix_points<E>(mixed, transposed[part], d_a);
          accumulate_gram<E>(sums.value[part], r_out, to_output_layout<E>(d_a));
        }
        // In place is safe for one part: the warp has read every head of these points.
        drop_outputs<E>(a, args.dropout, place, heads, row, key);
        pieces.store(a, args.target, piece);
        const Points d_r = pack_outputs<E>(mixed);
        pieces.store(d_r, args.d_target, piece);
        if (args.row_dots.partials != nullptr) {
          store_mixed_dots<E>(r_out, d_r, args.row_dots, place, heads, row, key);
        }
      });
  finish_mixing_sums<kParts>(sums, args.sums, args, shared_pieces);
}

/// dM = P (dP - D) in input layout.
template <class E>
__device__ inline void softmax_gradient(Points& m, const Points& d_p, const float (&lse2)[4],
                                        const float (&dots)[4]) {
#pragma unroll
  for (int slot = 0; slot < 4; ++slot) {
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      Word& word = (&m.chunk[slot].x)[n];
      word = softmax_gradient_pair<E>(word, (&d_p.chunk[slot].x)[n], lse2[slot], dots[slot]);
    }
  }
}

/// dC = W^T dM and the gradient of W, with dM made from M, dP and the row dots.
template <class E, int kParts, int kStages>
__global__ void __launch_bounds__(kMixingThreads, kParts == 1 ? 3 : 1)
    mix_before_backward_kernel(const MixingArgs args) {
  wait_for_previous_kernel();
  uint4* const shared_pieces = dynamic_shared<uint4>();
  const TileRing<3 * kParts, HalvedGroups> ring(shared_pieces);  // M, dP, C
  const MixingPlace place = mixing_place(args);
  const OutputPieces pieces(args.source, args, place);
  const UnitWeights<kParts> transposed(args.transposed, place.unit);
  MixingSums<kParts> sums = {};
  float lse2[kParts][4], dots[kParts][4];
  for_each_point_tile<kStages>(
      args,
      [&](int stage, unsigned piece) {
        pieces.start<kParts>(ring, stage, 0, args.mixed, piece);
        pieces.start<kParts>(ring, stage, kParts, args.gradient, piece);
        pieces.start<kParts>(ring, stage, 2 * kParts, args.source, piece);
      },
      [&](int row) {
        load_row_lse<kParts>(lse2, args, row, place);
        load_row_dots<kParts>(dots, args, row, place);
      },
      [&](int stage, int row, int key, unsigned piece) {
        Mixed mixed;
        clear(mixed);
        Points d_m_out = {};
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          Points d_m = ring.inputs(stage, part);
          softmax_gradient<E>(d_m, ring.inputs(stage, kParts + part), lse2[part], dots[part]);
          keep_causal_inputs(d_m, row, key);
          mix_points<E>(mixed, transposed[part], d_m);
          if (kParts == 1 || part == place.part) d_m_out = to_output_layout<E>(d_m);
        }
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          Points c = ring.outputs(stage, 2 * kParts + part);
          keep_causal_outputs(c, row, key);
#pragma unroll
          for (int n = 0; n < 4; ++n) c.chunk[n] = convert_chunk<Half, E>(c.chunk[n]);
          accumulate_gram<E>(sums.value[part], d_m_out, c);
        }
        pieces.store(pack_outputs<E>(mixed), args.d_target, piece);
      });
  finish_mixing_sums<kParts>(sums, args.sums, args, shared_pieces);
}

template <int kParts>
void MixingKernels<kParts>::after_backward(const MixingArgs& args, ElementType type,
                                           cudaStream_t stream) {
  constexpr int kPieces = 8 * kParts, kFewest = kFewestStages<kPieces>;
  if (type == ElementType::BFloat16) {
    launch_mixing_that_fits<kPieces>(mix_after_backward_kernel<Brain, kParts, 2>,
                                     mix_after_backward_kernel<Brain, kParts, kFewest>, args,
                                     stream);
  } else {
    launch_mixing_that_fits<kPieces>(mix_after_backward_kernel<Half, kParts, 2>,
                                     mix_after_backward_kernel<Half, kParts, kFewest>, args,
                                     stream);
  }
}
template <int kParts>
void MixingKernels<kParts>::before_backward(const MixingArgs& args, ElementType type,
                                            cudaStream_t stream) {
  constexpr int kPieces = 12 * kParts, kFewest = kFewestStages<kPieces>;
  if (type == ElementType::BFloat16) {
    launch_mixing_that_fits<kPieces>(mix_before_backward_kernel<Brain, kParts, 2>,
                                     mix_before_backward_kernel<Brain, kParts, kFewest>, args,
                                     stream);
  } else {
    launch_mixing_that_fits<kPieces>(mix_before_backward_kernel<Half, kParts, 2>,
                                     mix_before_backward_kernel<Half, kParts, kFewest>, args,
                                     stream);
  }
}

}  // namespace mta::kernels
