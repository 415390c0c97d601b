// Stage: the softmax's backward and the gradients of the head mixing before it, of groups within
// one block of 16 heads. M is not read but made again from C, a product with the points along M of
// the matrix unit:
//
//   M^T [16 points, heads] = C^T [16 points, 16 heads] W^T      A operand: two keys of eight groups
//
// whose operand is C in input layout, two heads in a word, and so is its result: what dC = W^T dM
// takes as its B operand.
#pragma once

#include "lib/kernels/head_mixing_backward.cuh"

namespace mta::kernels {

/// Keys 2s and 2s+1 of a lane's group: heads 2q, 2q+1 in `low`, 2q+8, 2q+9 in `high`.
struct HeadPairs {
  Word low[2], high[2];
  HeadPairs() = default;
  __device__ HeadPairs(const Points& in, int s) {
    const auto word = [&](int slot) { return (&in.chunk[slot].x)[s]; };
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      const unsigned halves = t == 0 ? 0x5410u : 0x7632u;
      low[t] = __byte_perm(word(0), word(1), halves);
      high[t] = __byte_perm(word(2), word(3), halves);
    }
  }
};

/// M = W C, rounded as memory holds it.
__device__ inline HeadPairs mix_pairs(const WeightBlock& w, const HeadPairs& c) {
  float low[4] = {}, high[4] = {};
  mma_k16<Half>(low, c.low[0], c.low[1], c.high[0], c.high[1], w.a[0], w.a[2]);
  mma_k16<Half>(high, c.low[0], c.low[1], c.high[0], c.high[1], w.a[1], w.a[3]);
  HeadPairs m;
#pragma unroll
  for (int t = 0; t < 2; ++t) {
    m.low[t] = pack<Half>(low[2 * t], low[2 * t + 1]);
    m.high[t] = pack<Half>(high[2 * t], high[2 * t + 1]);
  }
  return m;
}

/// What is known of a row, of the four heads of a lane in input layout.
struct RowOfHeads {
  float lse2[1][4], dots[1][4];
};

/// dM = P (dP - D) for the two heads from slot `first` on; P rounded as in weight_pair.
template <class E>
__device__ inline Word head_gradients(Word m, Word d_p, const RowOfHeads& row, int first) {
  const float2 logits = unpack<Half>(m), d = unpack<E>(d_p);
  const float2 p = unpack<E>(pack<E>(exp2_fast(fmaf(logits.x, kLog2e, -row.lse2[0][first])),
                                     exp2_fast(fmaf(logits.y, kLog2e, -row.lse2[0][first + 1]))));
  return pack<E>(p.x * (d.x - row.dots[0][first]), p.y * (d.y - row.dots[0][first + 1]));
}

/// dC and dM of a tile in output layout. `last`: the row's last causal key of the tile.
template <class E>
__device__ inline void unmix_tile(Points& d_c, Points& d_m, const WeightBlock& w,
                                  const WeightBlock& transposed, const Points& c, const Points& d_p,
                                  const RowOfHeads& row, int last) {
  const WeightBlock identity = identity_weights<E>();
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    __syncwarp();  // one after the other, in few registers
    const HeadPairs m = mix_pairs(w, HeadPairs(c, s)), d(d_p, s);
    float mixed[2][4] = {}, same[2][4] = {};
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      const bool causal = kChunk * input_group() + 2 * s + t <= last;
      const Word low = causal ? head_gradients<E>(m.low[t], d.low[t], row, 0) : 0u,
                 high = causal ? head_gradients<E>(m.high[t], d.high[t], row, 2) : 0u;
      mma_k16<E>(mixed[t], transposed.a[0], transposed.a[1], transposed.a[2], transposed.a[3], low,
                 high);
      mma_k16<E>(same[t], identity.a[0], 0u, 0u, identity.a[3], low, high);
    }
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      (&d_c.chunk[n].x)[s] = pack<E>(mixed[0][n], mixed[1][n]);
      (&d_m.chunk[n].x)[s] = pack<E>(same[0][n], same[1][n]);
    }
  }
}

/// dC = W^T dM and the gradient of W.
template <class E>
__global__ void __launch_bounds__(kMixingThreads, 3)
    mix_before_backward_kernel(const MixingArgs args) {
  wait_for_previous_kernel();
  uint4* const shared_pieces = dynamic_shared<uint4>();
  const TileRing<2, HalvedGroups> ring(shared_pieces);  // dP, C
  const MixingPlace place = mixing_place(args);
  const OutputPieces pieces(args.source, args, place);
  const WeightBlock w = load_weights(args.weights + place.unit * kMixingBlock),
                    transposed = load_weights(args.transposed + place.unit * kMixingBlock);
  MixingSums<1> sums = {};
  RowOfHeads known;
  for_each_point_tile<2>(
      args,
      [&](int stage, unsigned piece) {
        pieces.start<1>(ring, stage, 0, args.gradient, piece);
        pieces.start<1>(ring, stage, 1, args.source, piece);
      },
      [&](int row) {
        load_row_lse<1>(known.lse2, args, row, place);
        load_row_dots<1>(known.dots, args, row, place);
      },
      [&](int stage, int row, int key, unsigned piece) {
        Points d_c, d_m;
        unmix_tile<E>(d_c, d_m, w, transposed, ring.inputs(stage, 1), ring.inputs(stage, 0), known,
                      row - key);
        pieces.store(d_c, args.d_target, piece);
        Points c = ring.outputs(stage, 1);
        keep_causal_outputs(c, row, key);
#pragma unroll
        for (int n = 0; n < 4; ++n) c.chunk[n] = convert_chunk<Half, E>(c.chunk[n]);
        accumulate_gram<E>(sums.value[0], d_m, c);
      });
  finish_mixing_sums<1>(sums, args.sums, args, shared_pieces);
}

template <>
void MixingKernels<1>::before_backward(const MixingArgs& args, ElementType type,
                                       cudaStream_t stream) {
  constexpr int kPieces = 8;
  static_assert(kFewestStages<kPieces> == 2, "two stages fit on every card");
  launch_mixing<kPieces>(type == ElementType::BFloat16 ? mix_before_backward_kernel<Brain>
                                                       : mix_before_backward_kernel<Half>,
                         2, args, stream);
}

}  // namespace mta::kernels
