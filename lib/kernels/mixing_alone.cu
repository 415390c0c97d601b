// Stages of head mixing where no convolution stands beside it: every map but S, dA and what takes
// their places is made of them in registers.
//
// forward:  row statistics of M from S; then A from S, in its place
// backward: row dots from S and dA, with the gradient of the mixing after softmax; then A and dS
//           from S and dA, in their places, with the gradient of the mixing before softmax
//
// What is summed over keys (statistics, dots) has heads along the lanes: head_mixing_sums.cuh. What
// is written has points along the lanes: head_mixing_pairs.cuh.
#include "lib/kernels/head_mixing_backward.cuh"
#include "lib/kernels/head_mixing_pairs.cuh"
#include "lib/kernels/head_mixing_sums.cuh"

#include <type_traits>

namespace mta::kernels {
namespace {

constexpr int kForwardMaps = 1, kBackwardMaps = 2;  // in shared memory: S, with dA or without

/// What all kernels begin with: where a warp stands, and how it copies its tiles. Grid: (strips,
/// row groups, batch x units).
template <int kMaps, int kStages>
struct AlonePass {
  MixingPlace place;
  LanePieces pieces;
  uint4* shared;
  TileRing<kMaps, NeighbourGroups> ring;

  __device__ explicit AlonePass(const MixingArgs& args)
      : place(mixing_place(args)),
        pieces(args, place),
        shared(dynamic_shared<uint4>()),
        ring(shared) {}
  /// Table n of row numbers, behind the ring.
  __device__ float* table(const MixingArgs& args, int n) const {
    return reinterpret_cast<float*>(shared + kStages * kMaps * 4 * kMixingThreads) +
           n * args.rows_a_block * kUnitHeads;
  }
  /// lse, base 2; infinite where there is no head, as exp(0 - lse) may overflow.
  __device__ RowNumbers lse(const MixingArgs& args) const {
    return {table(args, 0), args, place, args.lse, args.extent.tokens, 0, kLog2e, INFINITY};
  }
  __device__ void start(const MixingArgs& args, int stage, unsigned piece) const {
    pieces.template start<1>(ring, stage, 0, args.source, piece);
    if (kMaps > 1) pieces.template start<1>(ring, stage, 1, args.gradient, piece);
  }
};

using ForwardPass = AlonePass<kForwardMaps, kAloneForwardStages>;
using BackwardPass = AlonePass<kBackwardMaps, kAloneBackwardStages>;

/// Calls tile(true_type) where the row ends inside the tile, else tile(false_type), whose code has
/// no masks.
template <class Tile>
__device__ inline void with_diagonal(int row, int key, Tile&& tile) {
  if (key + kTileKeys - 1 > row) {
    tile(std::true_type());
  } else {
    tile(std::false_type());
  }
}

/// Is this the row's last tile in the block's strip?
__device__ inline bool ends_row(const MixingArgs& args, int row, int key) {
  const int strip_end = (static_cast<int>(blockIdx.x) + 1) * args.strip_tiles * kTileKeys;
  return key + kTileKeys > row || key + kTileKeys == strip_end;
}

/// Stores a row's partial results in the block's strip: those of heads g and g + 8, which all lanes
/// of a quad have.
template <class Results, class Value>
__device__ inline void store_partials(const Results& results, const MixingPlace& place, int heads,
                                      int row, Value low, Value high) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int map = output_map(place, heads, half);
    if (lane_place().q != 0 || map < 0) continue;
    results.partials[results.index(map, row, blockIdx.x)] = half == 0 ? low : high;
  }
}

/// The partial statistics of M's rows, one for each strip.
__global__ void __launch_bounds__(kMixingThreads, 4)
    mixed_statistics_kernel(const MixingAloneArgs args) {
  wait_for_previous_kernel();
  const ForwardPass pass(args);
  const WeightBlock w = load_weights(args.weights + pass.place.unit * kMixingBlock);
  ExponentialSum sums[2];
  for_each_point_tile<kAloneForwardStages>(
      args, [&](int stage, unsigned piece) { pass.start(args, stage, piece); }, [](int) {},
      [&](int stage, int row, int key, unsigned) {
        Mixed m;
        mix_tile(m, w, pass.ring.inputs(stage, 0));
        if (key + kTileKeys - 1 > row) replace_past(m, row - key, -INFINITY);
#pragma unroll
        for (int half = 0; half < 2; ++half) sums[half].add(m, half);
        if (!ends_row(args, row, key)) return;
        const float2 low = sums[0].finish(), high = sums[1].finish();
        store_partials(args.statistics, pass.place, args.extent.heads, row, low, high);
      });
}

/// Does any row of the block reach its strip? Where none does its sums stay as they are.
__device__ inline bool block_has_tiles(const MixingArgs& args) {
  const int end = args.extent.rows.begin + (static_cast<int>(blockIdx.y) + 1) * args.rows_a_block;
  const int last_row = min(end, args.extent.rows.end) - 1;
  return static_cast<int>(blockIdx.x) * args.strip_tiles <
         key_tiles(last_row, args.extent.tokens, 0);
}

/// Partial dots of P dR, one for each strip, and the gradient of the mixing after softmax, both
/// from the sums of P dA^T over a row's keys. `args.gradient` is dA with the dropout already in it.
template <class E>
__global__ void __launch_bounds__(kMixingThreads, 4) mixed_dots_kernel(const MixingAloneArgs args) {
  wait_for_previous_kernel();
  if (!block_has_tiles(args)) return;
  const BackwardPass pass(args);
  const MixingPlace& place = pass.place;
  const WeightBlock before = weights_or_identity<Half>(args.weights, place.unit),
                    unmix = weights_or_identity<E>(args.transposed_after, place.unit);
  const RowNumbers row_lse = pass.lse(args);
  float lse2[2];
  HeadGram<E> gram;
  for_each_point_tile<kAloneBackwardStages>(
      args, [&](int stage, unsigned piece) { pass.start(args, stage, piece); },
      [&](int row) { row_lse.read(lse2, row, [](int n) { return lane_place().g + 8 * n; }); },
      [&](int stage, int row, int key, unsigned) {
        Points d_a = pass.ring.outputs(stage, 1);
        Mixed p;
        mix_tile(p, before, pass.ring.inputs(stage, 0));
        apply_exponential(p, lse2);
        if (key + kTileKeys - 1 > row) {
          replace_past(p, row - key, 0);
          keep_causal(d_a, row, key, [](int n) {
            return point_group<NeighbourGroups>(2 * lane_place().q + n % 2);
          });
        }
        gram.add(p, d_a);
        if (!ends_row(args, row, key)) return;
        const float2 dots = gram.finish_row(unmix);
        store_partials(args.row_dots, place, args.extent.heads, row, dots.x, dots.y);
      });
  if (args.sums_after != nullptr) {
    finish_mixing_sums<1>(gram.all, args.sums_after, args, pass.shared);
  }
}

// --- what is written: points along the lanes ---

/// The numbers of the lane's four heads.
__device__ inline void read_slots(float (&values)[4], const RowNumbers& numbers, int row) {
  numbers.read(values, row, [](int slot) { return input_head(0, slot); });
}

/// P of key pair t from S, before it is rounded: M = W S stays in fp32. `last` is the last causal
/// key, counted from the first of the lane's group.
template <bool kDiagonal>
__device__ inline void softmax_pair(PairValues& p, const WeightBlock& before, const Points& s,
                                    int t, const float (&lse2)[4], int last) {
  mix_pair<Half>(p, before, point_pair(s, t));
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    float& x = p[n / 4][n % 4];
    x = exp2_fast(fmaf(x, kLog2e, -lse2[n / 4 * 2 + n % 2]));
    if (kDiagonal && 2 * t + n % 4 / 2 > last) x = 0;
  }
}

/// Applies dropout to the lane's pieces of A.
template <class E>
__device__ inline void drop_pieces(Points& a, const DropoutArgs& dropout, const MixingPlace& place,
                                   int heads, int row, int key) {
  const int first_map = place.batch * heads + place.heads.in_first;
#pragma unroll
  for (int slot = 0; slot < 4; ++slot) {
    a.chunk[slot] = drop<E>(a.chunk[slot], dropout, first_map + input_head(0, slot), row,
                            key + kChunk * lane_group());
  }
}

/// A = dropout(W P) in the place of S.
template <class E, bool kDropout>
__global__ void __launch_bounds__(kMixingThreads, 5)
    mixed_weights_kernel(const MixingAloneArgs args) {
  wait_for_previous_kernel();
  const ForwardPass pass(args);
  const MixingPlace& place = pass.place;
  const WeightBlock before = weights_or_identity<Half>(args.weights, place.unit),
                    after = weights_or_identity<Half>(args.weights_after, place.unit);
  const RowNumbers row_lse = pass.lse(args);
  float lse2[4];
  for_each_point_tile<kAloneForwardStages>(
      args, [&](int stage, unsigned piece) { pass.start(args, stage, piece); },
      [&](int row) { read_slots(lse2, row_lse, row); },
      [&](int stage, int row, int key, unsigned piece) {
        const Points s = pass.ring.inputs(stage, 0);
        const int last = row - key - kChunk * lane_group();
        Points a;
        with_diagonal(row, key, [&](auto diagonal) {
#pragma unroll
          for (int t = 0; t < 4; ++t) {
            PairValues p, mixed;
            softmax_pair<decltype(diagonal)::value>(p, before, s, t, lse2, last);
            mix_pair<Half>(mixed, after, pack_pair<Half>(p));
            put_pair<E>(a, t, mixed);
          }
        });
        if (kDropout) drop_pieces<E>(a, args.dropout, place, args.extent.heads, row, key);
        pass.pieces.store(a, args.source, piece);
      });
}

/// The products of the way back at a tile's points.
template <class E>
struct GradientTile {
  WeightBlock before, after, unmix_after, unmix_before;
  MixingSums<1> sums = {};

  __device__ GradientTile(const MixingAloneArgs& args, int unit)
      : before(weights_or_identity<Half>(args.weights, unit)),
        after(weights_or_identity<Half>(args.weights_after, unit)),
        unmix_after(weights_or_identity<E>(args.transposed_after, unit)),
        unmix_before(weights_or_identity<E>(args.transposed, unit)) {}

  /// A in the place of S, dS in that of dA.
  template <bool kDiagonal>
  __device__ void operator()(Points& s, Points& d_a, const float (&lse2)[4], const float (&dots)[4],
                             int last) {
    if (kDiagonal) {
      keep_keys(s, last);
      keep_keys(d_a, last);
    }
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      const PointPair s_pair = point_pair(s, t);
      PairValues p, d_r, mixed;
      softmax_pair<kDiagonal>(p, before, s, t, lse2, last);
      mix_pair<Half>(mixed, after, pack_pair<Half>(p));
      put_pair<E>(s, t, mixed);
      mix_pair<E>(d_r, unmix_after, point_pair(d_a, t));
#pragma unroll
      for (int n = 0; n < 8; ++n) p[n / 4][n % 4] *= d_r[n / 4][n % 4] - dots[n / 4 * 2 + n % 2];
      const PointPair d_m = pack_pair<E>(p);
      mix_pair<E>(mixed, unmix_before, d_m);
      put_pair<E>(d_a, t, mixed);
      accumulate_pair_gram<E>(sums.value[0], across_points<E, E>(d_m),
                              across_points<Half, E>(s_pair));
    }
  }
};

/// Blocks a multiprocessor that registers must leave room for. Code for compute capability 8 spills
/// a few at three.
template <bool kDropout>
constexpr int kMixedGradientBlocks =
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
    2;
#else
    kDropout ? 2 : 3;
#endif

/// A = dropout(W P) in the place of S and dS = W^T dM, with dM = P (dR - D), in the place of dA,
/// and the gradient of the mixing before softmax. The random numbers of dropout take the registers
/// of a block.
template <class E, bool kDropout>
__global__ void __launch_bounds__(kMixingThreads, kMixedGradientBlocks<kDropout>)
    mixed_gradients_kernel(const MixingAloneArgs args) {
  wait_for_previous_kernel();
  if (!block_has_tiles(args)) return;
  const BackwardPass pass(args);
  const MixingPlace& place = pass.place;
  GradientTile<E> gradients(args, place.unit);
  const RowNumbers row_lse = pass.lse(args), row_dots(pass.table(args, 1), args, place, args.dots,
                                                      args.dot_rows, args.extent.rows.begin, 1, 0);
  float lse2[4], dots[4];
  for_each_point_tile<kAloneBackwardStages>(
      args, [&](int stage, unsigned piece) { pass.start(args, stage, piece); },
      [&](int row) {
        read_slots(lse2, row_lse, row);
        read_slots(dots, row_dots, row);
      },
      [&](int stage, int row, int key, unsigned piece) {
        Points a = pass.ring.inputs(stage, 0), d_s = pass.ring.inputs(stage, 1);
        with_diagonal(row, key, [&](auto diagonal) {
          gradients.template operator()<decltype(diagonal)::value>(
              a, d_s, lse2, dots, row - key - kChunk * lane_group());
        });
        pass.pieces.store(d_s, args.gradient, piece);
        if (kDropout) drop_pieces<E>(a, args.dropout, place, args.extent.heads, row, key);
        pass.pieces.store(a, args.source, piece);
      });
  if (args.sums != nullptr) {
    finish_mixing_sums<1>(gradients.sums, args.sums, args, pass.shared);
  }
}

void launch_forward(void (*kernel)(MixingAloneArgs), const MixingAloneArgs& args,
                    cudaStream_t stream) {
  launch_mixing<4 * kForwardMaps>(kernel, kAloneForwardStages, args, stream,
                                  alone_table_bytes(kForwardMaps, args.rows_a_block));
}
void launch_backward(void (*kernel)(MixingAloneArgs), const MixingAloneArgs& args,
                     cudaStream_t stream) {
  launch_mixing<4 * kBackwardMaps>(kernel, kAloneBackwardStages, args, stream,
                                   alone_table_bytes(kBackwardMaps, args.rows_a_block));
}

template <class E>
void launch_weights(const MixingAloneArgs& args, cudaStream_t stream) {
  const bool drops = args.dropout.threshold > 0;
  launch_forward(drops ? mixed_weights_kernel<E, true> : mixed_weights_kernel<E, false>, args,
                 stream);
}
template <class E>
void launch_gradients(const MixingAloneArgs& args, cudaStream_t stream) {
  const bool drops = args.dropout.threshold > 0;
  launch_backward(drops ? mixed_gradients_kernel<E, true> : mixed_gradients_kernel<E, false>, args,
                  stream);
}

}  // namespace

void MixingAlone::statistics(const MixingAloneArgs& args, cudaStream_t stream) {
  launch_forward(mixed_statistics_kernel, args, stream);
}
void MixingAlone::weights(const MixingAloneArgs& args, ElementType type, cudaStream_t stream) {
  const bool brain = type == ElementType::BFloat16;
  brain ? launch_weights<Brain>(args, stream) : launch_weights<Half>(args, stream);
}
void MixingAlone::dots(const MixingAloneArgs& args, ElementType type, cudaStream_t stream) {
  const bool brain = type == ElementType::BFloat16;
  launch_backward(brain ? mixed_dots_kernel<Brain> : mixed_dots_kernel<Half>, args, stream);
}
void MixingAlone::gradients(const MixingAloneArgs& args, ElementType type, cudaStream_t stream) {
  const bool brain = type == ElementType::BFloat16;
  brain ? launch_gradients<Brain>(args, stream) : launch_gradients<Half>(args, stream);
}

}  // namespace mta::kernels
