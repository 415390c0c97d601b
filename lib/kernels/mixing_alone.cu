// Stages of head mixing where no convolution stands beside it: every map but S, dA and what takes
// their places is made of them in registers.
//
// forward:  row statistics of M from S; then A from S, in its place
// backward: row dots from S and dA, with the gradient of the mixing after softmax; then A and dS
//           from S and dA, in their places, with the gradient of the mixing before softmax
#include "lib/kernels/head_mixing_backward.cuh"
#include "lib/kernels/head_mixing_pairs.cuh"

namespace mta::kernels {
namespace {

constexpr int kForwardPieces = 4, kBackwardPieces = 8;  // of a lane and tile: S, with dA or without

/// P of key pair t from S, the same numbers in every kernel: M = W S and P stay in fp32.
struct PairSoftmax {
  WeightBlock before;
  float lse2[1][4];

  __device__ PairSoftmax(const MixingArgs& args, const MixingPlace& place)
      : before(weights_or_identity<Half>(args.weights, place.unit)) {}
  /// Zero past the diagonal of the tile's row.
  __device__ void operator()(PairValues& p, const HalfPoints& s, int t, int row, int key) const {
    const int first = key + kChunk * lane_place().g + 2 * t;
    mix_pair<Half>(p, before, point_pair(s, t));
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      float& x = p[n / 4][n % 4];
      x = exp2_fast(fmaf(x, kLog2e, -lse2[0][n / 4 * 2 + n % 2]));
    }
    if (key + kTileKeys - 1 <= row) return;
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      if (first + n % 4 / 2 > row) p[n / 4][n % 4] = 0;
    }
  }
};

/// M of a tile with the heads along the rows: [t][n] is key 8 (2 q + n % 2) + t of head g + 8 (n /
/// 2). What lies past the tile's key `last` counts as minus infinity.
__device__ inline void keep_causal_values(Mixed& m, int last) {
  if (last >= kTileKeys - 1) return;
#pragma unroll
  for (int n = 0; n < 32; ++n) {
    if (8 * (2 * lane_place().q + n % 2) + n / 4 > last) m[n / 4][n % 4] = -INFINITY;
  }
}

/// Maximum (base 2) and sum of exponentials of the tile's keys, of head g + 8 half.
__device__ inline float2 mixed_partial(const Mixed& m, int half) {
  float maximum = -INFINITY, sum = 0;
#pragma unroll
  for (int n = 0; n < 16; ++n) maximum = fmaxf(maximum, m[n / 2][2 * half + n % 2]);
  maximum = quad_max(maximum) * kLog2e;
#pragma unroll
  for (int n = 0; n < 16; ++n) {
    sum += exp2_fast(fmaf(m[n / 2][2 * half + n % 2], kLog2e, -maximum));
  }
  return {maximum, quad_sum(sum)};
}

/// The partial statistics of M's rows. Grid: (strips, row groups, batch x units), as of all below.
__global__ void __launch_bounds__(kMixingThreads, 4)
    mixed_statistics_kernel(const MixingAloneArgs args) {
  wait_for_previous_kernel();
  PieceRing<kForwardPieces> ring(dynamic_shared<uint4>());
  const MixingPlace place = mixing_place(args);
  const LanePieces pieces(args, place);
  const WeightBlock w = load_weights(args.weights + place.unit * kMixingBlock);
  for_each_point_tile<kAloneForwardStages>(
      args,
      [&](int stage, int row, int key) {
        pieces.start(ring, stage, 0, args.source, pieces.tile(row, key));
      },
      [](int) {},
      [&](int stage, int row, int key) {
        Mixed m;
        clear(m);
        mix_points<Half>(m, w, ring.points(stage, 0));
        keep_causal_values(m, row - key);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float2 partial = mixed_partial(m, half);
          const int map = output_map(place, args.extent.heads, half);
          if (lane_place().q != 0 || map < 0) continue;
          args.statistics.partials[args.statistics.index(map, row, key / kTileKeys)] = partial;
        }
      });
}

/// Applies dropout to the lane's pieces of A.
template <class E>
__device__ inline void drop_pieces(Points& a, const DropoutArgs& dropout, const MixingPlace& place,
                                   int heads, int row, int key) {
  if (dropout.threshold == 0) return;
  const int first_map = place.batch * heads + place.heads.in_first;
#pragma unroll
  for (int slot = 0; slot < 4; ++slot) {
    a.chunk[slot] = drop<E>(a.chunk[slot], dropout, first_map + input_head(0, slot), row,
                            key + kChunk * lane_place().g);
  }
}

/// A = dropout(W P) in the place of S.
template <class E>
__global__ void __launch_bounds__(kMixingThreads, 4)
    mixed_weights_kernel(const MixingAloneArgs args) {
  wait_for_previous_kernel();
  PieceRing<kForwardPieces> ring(dynamic_shared<uint4>());
  const MixingPlace place = mixing_place(args);
  const LanePieces pieces(args, place);
  PairSoftmax softmax(args, place);
  const WeightBlock after = weights_or_identity<Half>(args.weights_after, place.unit);
  for_each_point_tile<kAloneForwardStages>(
      args,
      [&](int stage, int row, int key) {
        pieces.start(ring, stage, 0, args.source, pieces.tile(row, key));
      },
      [&](int row) { load_row_lse<1>(softmax.lse2, args, row, place); },
      [&](int stage, int row, int key) {
        HalfPoints s;
        Points a;
#pragma unroll
        for (int t = 0; t < 4; ++t) {
          if (t % 2 == 0) s = causal_half(ring, stage, 0, t / 2, row, key);
          PairValues p, mixed;
          softmax(p, s, t, row, key);
          mix_pair<Half>(mixed, after, pack_pair<Half>(p));
          put_pair<E>(a, t, mixed);
        }
        drop_pieces<E>(a, args.dropout, place, args.extent.heads, row, key);
        pieces.store(a, args.source, pieces.tile(row, key));
      });
}

/// Adds up each head's sums over the lanes of all groups and stores them: lane g = 4 a + 2 b gets
/// the head of slot 2 a + b.
__device__ inline void store_pair_dots(const float (&dots)[4], const RowDots& target,
                                       const MixingPlace& place, int heads, int row, int key) {
  constexpr unsigned kAll = 0xFFFFFFFFu;
  const int g = lane_place().g, a = g / 4, b = g / 2 % 2;
  float two[2];
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    two[n] = (a == 0 ? dots[n] : dots[2 + n]) +
             __shfl_xor_sync(kAll, a == 0 ? dots[2 + n] : dots[n], 16);
  }
  float one = (b == 0 ? two[0] : two[1]) + __shfl_xor_sync(kAll, b == 0 ? two[1] : two[0], 8);
  one += __shfl_xor_sync(kAll, one, 4);
  const int head = input_head(0, 2 * a + b);
  if (g % 2 != 0 || head >= place.heads.in_count) return;
  const int map = place.batch * heads + place.heads.in_first + head;
  target.partials[target.index(map, row, key / kTileKeys)] = one;
}

/// Does any row of the block reach its strip? Where none does its sums stay as they are.
__device__ inline bool block_has_tiles(const MixingArgs& args) {
  const int end = args.extent.rows.begin + (static_cast<int>(blockIdx.y) + 1) * args.rows_a_block;
  const int last_row = min(end, args.extent.rows.end) - 1;
  return static_cast<int>(blockIdx.x) * args.strip_tiles <
         key_tiles(last_row, args.extent.tokens, 0);
}

/// Starts the copies of a tile's pieces of S and dA.
__device__ inline void start_both(PieceRing<kBackwardPieces>& ring, const LanePieces& pieces,
                                  const MixingArgs& args, int stage, int row, int key) {
  const std::size_t tile = pieces.tile(row, key);
  pieces.start(ring, stage, 0, args.source, tile);
  pieces.start(ring, stage, 4, args.gradient, tile);
}

/// Partial dots of P dR with dR = W^T dA, and the gradient of the mixing after softmax.
/// `args.gradient` is dA with the dropout already in it.
template <class E>
__global__ void __launch_bounds__(kMixingThreads, 3) mixed_dots_kernel(const MixingAloneArgs args) {
  wait_for_previous_kernel();
  if (!block_has_tiles(args)) return;
  uint4* const shared_pieces = dynamic_shared<uint4>();
  PieceRing<kBackwardPieces> ring(shared_pieces);
  const MixingPlace place = mixing_place(args);
  const LanePieces pieces(args, place);
  PairSoftmax softmax(args, place);
  const WeightBlock unmix = weights_or_identity<E>(args.transposed_after, place.unit);
  MixingSums<1> sums = {};
  for_each_point_tile<kAloneBackwardStages>(
      args, [&](int stage, int row, int key) { start_both(ring, pieces, args, stage, row, key); },
      [&](int row) { load_row_lse<1>(softmax.lse2, args, row, place); },
      [&](int stage, int row, int key) {
        HalfPoints s, d_a;
        float dots[4] = {};
#pragma unroll
        for (int t = 0; t < 4; ++t) {
          if (t % 2 == 0) {
            s = causal_half(ring, stage, 0, t / 2, row, key);
            d_a = causal_half(ring, stage, 4, t / 2, row, key);
          }
          const PointPair d_pair = point_pair(d_a, t);
          PairValues p, d_r;
          softmax(p, s, t, row, key);
          mix_pair<E>(d_r, unmix, d_pair);
#pragma unroll
          for (int n = 0; n < 8; ++n)
            dots[n / 4 * 2 + n % 2] += p[n / 4][n % 4] * d_r[n / 4][n % 4];
          if (args.sums_after == nullptr) continue;
          accumulate_pair_gram<E>(sums.value[0], across_points<Half, E>(pack_pair<Half>(p)),
                                  across_points<E, E>(d_pair));
        }
        store_pair_dots(dots, args.row_dots, place, args.extent.heads, row, key);
      });
  if (args.sums_after != nullptr) {
    finish_mixing_sums<1>(sums, args.sums_after, args, place, shared_pieces);
  }
}

/// A = dropout(W P) in the place of S and dS = W^T dM, with dM = P (dR - D), in the place of dA,
/// and the gradient of the mixing before softmax.
template <class E>
__global__ void __launch_bounds__(kMixingThreads, 3)
    mixed_gradients_kernel(const MixingAloneArgs args) {
  wait_for_previous_kernel();
  if (!block_has_tiles(args)) return;
  uint4* const shared_pieces = dynamic_shared<uint4>();
  PieceRing<kBackwardPieces> ring(shared_pieces);
  const MixingPlace place = mixing_place(args);
  const LanePieces pieces(args, place);
  PairSoftmax softmax(args, place);
  const WeightBlock after = weights_or_identity<Half>(args.weights_after, place.unit),
                    unmix_after = weights_or_identity<E>(args.transposed_after, place.unit),
                    unmix_before = weights_or_identity<E>(args.transposed, place.unit);
  MixingSums<1> sums = {};
  float dots[1][4];
  for_each_point_tile<kAloneBackwardStages>(
      args, [&](int stage, int row, int key) { start_both(ring, pieces, args, stage, row, key); },
      [&](int row) {
        load_row_lse<1>(softmax.lse2, args, row, place);
        load_row_dots<1>(dots, args, row, place);
      },
      [&](int stage, int row, int key) {
        HalfPoints s, d_a;
        Points a, d_s;
#pragma unroll
        for (int t = 0; t < 4; ++t) {
          if (t % 2 == 0) {
            s = causal_half(ring, stage, 0, t / 2, row, key);
            d_a = causal_half(ring, stage, 4, t / 2, row, key);
          }
          PairValues p, d_r, mixed;
          softmax(p, s, t, row, key);
          mix_pair<Half>(mixed, after, pack_pair<Half>(p));
          put_pair<E>(a, t, mixed);
          mix_pair<E>(d_r, unmix_after, point_pair(d_a, t));
#pragma unroll
          for (int n = 0; n < 8; ++n)
            p[n / 4][n % 4] *= d_r[n / 4][n % 4] - dots[0][n / 4 * 2 + n % 2];
          const PointPair d_m = pack_pair<E>(p);
          mix_pair<E>(mixed, unmix_before, d_m);
          put_pair<E>(d_s, t, mixed);
          if (args.sums == nullptr) continue;
          accumulate_pair_gram<E>(sums.value[0], across_points<E, E>(d_m),
                                  across_points<Half, E>(point_pair(s, t)));
        }
        const std::size_t tile = pieces.tile(row, key);
        pieces.store(d_s, args.gradient, tile);
        drop_pieces<E>(a, args.dropout, place, args.extent.heads, row, key);
        pieces.store(a, args.source, tile);
      });
  if (args.sums != nullptr) finish_mixing_sums<1>(sums, args.sums, args, place, shared_pieces);
}

void launch_forward(void (*kernel)(MixingAloneArgs), const MixingAloneArgs& args,
                    cudaStream_t stream) {
  launch_mixing<kForwardPieces>(kernel, kAloneForwardStages, args, stream);
}
void launch_backward(void (*kernel)(MixingAloneArgs), const MixingAloneArgs& args,
                     cudaStream_t stream) {
  launch_mixing<kBackwardPieces>(kernel, kAloneBackwardStages, args, stream);
}

}  // namespace

void MixingAlone::statistics(const MixingAloneArgs& args, cudaStream_t stream) {
  launch_forward(mixed_statistics_kernel, args, stream);
}
void MixingAlone::weights(const MixingAloneArgs& args, ElementType type, cudaStream_t stream) {
  const bool brain = type == ElementType::BFloat16;
  launch_forward(brain ? mixed_weights_kernel<Brain> : mixed_weights_kernel<Half>, args, stream);
}
void MixingAlone::dots(const MixingAloneArgs& args, ElementType type, cudaStream_t stream) {
  const bool brain = type == ElementType::BFloat16;
  launch_backward(brain ? mixed_dots_kernel<Brain> : mixed_dots_kernel<Half>, args, stream);
}
void MixingAlone::gradients(const MixingAloneArgs& args, ElementType type, cudaStream_t stream) {
  const bool brain = type == ElementType::BFloat16;
  launch_backward(brain ? mixed_gradients_kernel<Brain> : mixed_gradients_kernel<Half>, args,
                  stream);
}

}  // namespace mta::kernels
