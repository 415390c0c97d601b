// Stage: target = factor X Y^T over causal tiles. Scores S = scale Q K^T, and dA = dO V^T.
#pragma once

#include "lib/kernels/row_sums.cuh"

namespace mta::kernels {

constexpr int kScoreThreads = 128;  // four warps of 32 rows

/// What a kernel does with a tile besides storing it.
enum class ScoreExtra { Nothing, Statistics, Dots };

/// 16 rows of X from `rows` on, as A fragments.
template <int kDim>
__device__ void load_fragments(Word (&x)[kDim / 16][4], const Number* rows) {
  const Number* corner = rows + square_offset(kDim + 8);
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) load_blocks(x[k], corner + 16 * k);
}

/// This warp's slice of 64 rows of X.
template <int kDim>
__device__ void load_rows_as_fragments(Word (&x)[kDim / 16][4], const Number* tile) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  load_fragments<kDim>(x, tile + warp * 16 * (kDim + 8));
}

/// block = X Y^T for this warp's 16 rows and 64 keys.
template <class E, int kDim>
__device__ void multiply_rows(Block& block, const Word (&x)[kDim / 16][4], const Number* keys) {
  const Number* corner = keys + square_offset_by_row(kDim + 8);
#pragma unroll
  for (int t = 0; t < 8; ++t) {
#pragma unroll
    for (int e = 0; e < 4; ++e) block[t][e] = 0;
  }
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
      Word y[4];
      load_blocks(y, corner + pair * 16 * (kDim + 8) + 16 * k);
      mma_k16<E>(block[2 * pair], x[k][0], x[k][1], x[k][2], x[k][3], y[0], y[1]);
      mma_k16<E>(block[2 * pair + 1], x[k][0], x[k][1], x[k][2], x[k][3], y[2], y[3]);
    }
  }
}

/// A warp's 32 rows by 32 keys in accumulators: two blocks of 16 rows, four columns of 8 keys.
using HalfTile = float[2][4][4];

/// tile = X Y^T for 32 rows and the 32 keys from `keys` on. What is loaded of Y serves both blocks
/// of rows: shared memory, not the matrix unit, is what four warps wait for.
template <class E, int kDim>
__device__ void multiply_half(HalfTile& tile, const Word (&x)[2][kDim / 16][4],
                              const Number* keys) {
  const Number* corner = keys + square_offset_by_row(kDim + 8);
#pragma unroll
  for (int n = 0; n < 32; ++n) tile[n / 16][n / 4 % 4][n % 4] = 0;
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      Word y[4];
      load_blocks(y, corner + pair * 16 * (kDim + 8) + 16 * k);
#pragma unroll
      for (int b = 0; b < 2; ++b) {
        const Word(&a)[4] = x[b][k];
        mma_k16<E>(tile[b][2 * pair], a[0], a[1], a[2], a[3], y[0], y[1]);
        mma_k16<E>(tile[b][2 * pair + 1], a[0], a[1], a[2], a[3], y[2], y[3]);
      }
    }
  }
}

/// factor times the tile into `stage`, 32 rows of kStagePitch numbers, as memory will hold it. With
/// dots it takes the place of P, and dots gets the sums of both, of rows g + 8 n.
template <class E, bool kDots>
__device__ void stage_half(const HalfTile& tile, float factor, Number* stage, float (&dots)[4]) {
  const Lane lane = lane_place();
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    Word* words = reinterpret_cast<Word*>(stage + (8 * n + lane.g) * kStagePitch) + lane.q;
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      const float* pair = tile[n / 2][t] + n % 2 * 2;
      const Word word = pack<E>(factor * pair[0], factor * pair[1]);
      if (kDots) {
        const float2 p = unpack<E>(words[4 * t]), d = unpack<E>(word);
        dots[n] += p.x * d.x + p.y * d.y;
      }
      words[4 * t] = word;
    }
  }
}

/// Partial sums of P dP of this warp's 32 rows: the lanes of a quad take one of its four rows each.
__device__ inline void store_half_dots(const float (&sums)[4], const RowDots& dots, int map,
                                       int first_row, int end, int tile) {
  const Lane lane = lane_place();
  const int row = first_row + lane.g + 8 * lane.q;
  float own = 0;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const float sum = quad_sum(sums[n]);
    if (lane.q == n) own = sum;
  }
  if (row < end) dots.partials[dots.index(map, row, tile)] = own;
}

/// Statistics of this warp's 32 rows of M; a lane reads what it has put into `stage` itself.
__device__ inline void store_stage_partials(const Number* stage, const RowStatistics& statistics,
                                            int map, int first_row, int end, int tile) {
  const Lane lane = lane_place();
#pragma unroll 1
  for (int n = 0; n < 4; n += 2) {
    const Word* from =
        reinterpret_cast<const Word*>(stage + (8 * n + lane.g) * kStagePitch) + lane.q;
    Word words[2][8];
#pragma unroll
    for (int t = 0; t < 16; ++t) words[t / 8][t % 8] = from[t / 8 * 4 * kStagePitch + 4 * (t % 8)];
    const int first_last = first_row + 8 * n - tile * kTileKeys,
              last[2] = {first_last + lane.g, first_last + lane.g + 8};
    const float2 partial = row_partials(words, last, first_last >= kTileKeys - 1,
                                        [&](int t) { return 8 * t + 2 * lane.q; });
    const int row = first_row + lane.g + 8 * (n + lane.q);
    if (lane.q < 2 && row < end) statistics.partials[statistics.index(map, row, tile)] = partial;
  }
}

/// Blocks a multiprocessor that registers must leave room for: as many as do without spills.
template <int kDim, ScoreExtra kExtra>
constexpr int kScoreBlocks = kExtra == ScoreExtra::Dots         ? (kDim <= 96 ? 3 : 2)
                             : kExtra == ScoreExtra::Statistics ? (kDim <= 64 ? 4 : 3)
                                                                : (kDim <= 96 ? 4 : 3);

/// Grid: (strips of key tiles, blocks of kProductRows, maps). A block walks a strip with its rows
/// of X in registers. `Target` is the type of the map.
template <class E, class Target, int kDim, ScoreExtra kExtra>
__global__ void __launch_bounds__(kScoreThreads, kScoreBlocks<kDim, kExtra>)
    scores_kernel(const ScoresArgs args) {
  wait_for_previous_kernel();
  constexpr bool kDots = kExtra == ScoreExtra::Dots;
  Number* const keys = dynamic_shared<Number>();  // two stages of 64 x (kDim + 8)
  Number* const stages = keys + 2 * token_numbers(kDim);
  const Extent& extent = args.extent;
  const int map = static_cast<int>(blockIdx.z), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int first_row = extent.rows.begin + static_cast<int>(blockIdx.y) * kProductRows;
  const int last_row = min(first_row + kProductRows, extent.rows.end) - 1;
  const int first_tile = static_cast<int>(blockIdx.x) * args.strip_tiles;
  const int end_tile =
      min(first_tile + args.strip_tiles, key_tiles(last_row, extent.tokens, extent.reach));
  if (first_tile >= end_tile) return;

  load_tokens<kDim, kProductRows>(keys, args.x, map, extent.heads, first_row, extent.rows.end);
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();
  Word x[2][kDim / 16][4];
#pragma unroll
  for (int b = 0; b < 2; ++b) load_fragments<kDim>(x[b], keys + (32 * warp + 16 * b) * (kDim + 8));
  __syncthreads();

  const HeadTokens y = head_tokens(args.y, map, extent.heads);
  const WrittenMap m_tiles(args.mixed, map, first_row, extent.rows.end, extent.tokens, 0);
  const auto stage_of = [&](int tile) {
    return stages + (kDots ? tile % 2 * 2 * kTileNumbers : 0);
  };
  const auto load = [&](int n) {
    const int first_key = (first_tile + n) * kTileKeys;
    load_tokens<kDim>(keys + n % 2 * token_numbers(kDim), y, first_key, extent.tokens);
    if (!kDots) return;
    m_tiles.load(stage_of(n), 0, first_key);
    m_tiles.load(stage_of(n) + kTileNumbers, kTileRows, first_key);
  };
  const auto finish = [&](int n) {
    if (!kDots) return;
    const float* lse = args.lse + static_cast<std::size_t>(map) * extent.tokens;
#pragma unroll 1
    for (int r = 0; r < kProductRows; r += kTileRows) {
      finish_softmax_tile<E>(stage_of(n) + r * kStagePitch, first_row + r, extent.rows.end,
                             (first_tile + n) * kTileKeys, lse);
    }
  };
  const int row = first_row + 32 * warp, end_row = min(row + 32, extent.rows.end);
  const int own_tiles = row < end_row ? key_tiles(end_row - 1, extent.tokens, extent.reach) : 0;
  const StoreRows rows[] = {{args.target, map, row, extent.rows.end},
                            {args.target, map, row + 16, extent.rows.end}};
  for_each_streamed_tile<2>(end_tile - first_tile, load, finish, [&](int n) {
    const int tile = first_tile + n;
    if (tile >= own_tiles) return;  // above the diagonal
    Number* const stage = stage_of(n) + 32 * warp * kStagePitch;
    float dots[4] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      HalfTile block;
      multiply_half<E, kDim>(block, x, keys + n % 2 * token_numbers(kDim) + 32 * half * (kDim + 8));
      stage_half<Target, kDots>(block, args.factor, stage + 32 * half, dots);
    }
    if (kDots) store_half_dots(dots, args.dots, map, row, extent.rows.end, tile);
    if (kExtra == ScoreExtra::Statistics) {
      store_stage_partials(stage, args.statistics, map, row, extent.rows.end, tile);
    }
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      if (!rows[b].reach_key(tile * kTileKeys, extent.reach)) continue;
      store_pieces<Target>(stage + 16 * b * kStagePitch, rows[b], map, tile * kTileKeys,
                           args.dropout);
    }
  });
}

template <class E, class Target, int kDim, ScoreExtra kExtra>
void launch_scores(const ScoresArgs& args, cudaStream_t stream) {
  constexpr int kBytes = scores_shared_bytes(kDim, kExtra == ScoreExtra::Dots);
  const Extent& extent = args.extent;
  const dim3 grid(static_cast<unsigned>(ceil_div(extent.last_key_tiles(), args.strip_tiles)),
                  static_cast<unsigned>(ceil_div(extent.rows.size(), kProductRows)),
                  static_cast<unsigned>(extent.maps));
  const auto kernel = scores_kernel<E, Target, kDim, kExtra>;
  allow_shared_bytes(kernel, kBytes);
  launch(kernel, grid, kScoreThreads, kBytes, stream, args);
}

}  // namespace mta::kernels
