// Stage: target = factor X Y^T over causal tiles. Scores S = scale Q K^T, and dA = dO V^T.
#pragma once

#include "lib/kernels/map_view.cuh"

namespace mta::kernels {

constexpr int kScoreThreads = 128;  // four warps of 16 rows

/// What a kernel does with a tile besides storing it.
enum class ScoreExtra { Nothing, Statistics, Dots };

/// A 16-row slice of X as A fragments.
template <int kDim>
__device__ void load_rows_as_fragments(Word (&x)[kDim / 16][4], const Number* tile) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const Number* corner = tile + warp * 16 * (kDim + 8) + square_offset(kDim + 8);
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) load_blocks(x[k], corner + 16 * k);
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

/// Blocks a multiprocessor that registers must leave room for: as many as do without spills.
template <int kDim, ScoreExtra kExtra>
constexpr int kScoreBlocks =
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
    4;
#else
    kDim <= 64 && kExtra == ScoreExtra::Nothing ? 5 : 4;
#endif

/// Grid: (strips of key tiles, row tiles, maps). A block walks a strip with its 64 rows of X in
/// registers. `Target` is the type of the map.
template <class E, class Target, int kDim, ScoreExtra kExtra>
__global__ void __launch_bounds__(kScoreThreads, kScoreBlocks<kDim, kExtra>)
    scores_kernel(const ScoresArgs args) {
  wait_for_previous_kernel();
  Number* const shared = dynamic_shared<Number>();
  Number* keys = shared;  // two stages of 64 x (kDim + 8)
  Number* stage = shared + 2 * kTileKeys * (kDim + 8);
  const Extent& extent = args.extent;
  const int map = static_cast<int>(blockIdx.z), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int first_row = extent.rows.begin + static_cast<int>(blockIdx.y) * kTileRows;
  const int last_row = min(first_row + kTileRows, extent.rows.end) - 1;
  const int first_tile = static_cast<int>(blockIdx.x) * args.strip_tiles;
  const int end_tile =
      min(first_tile + args.strip_tiles, key_tiles(last_row, extent.tokens, extent.reach));
  if (first_tile >= end_tile) return;

  Number* mixed = stage + kTileRows * kStagePitch;
  const HeadTokens y = head_tokens(args.y, map, extent.heads);
  const WrittenMap m_tiles(args.mixed, map, first_row, extent.rows.end, extent.tokens, 0);
  const auto load = [&](int tile) {
    const int parity = (tile - first_tile) % 2;
    load_tokens<kDim>(keys + parity * kTileKeys * (kDim + 8), y, tile * kTileKeys, extent.tokens);
    if (kExtra == ScoreExtra::Dots) {
      m_tiles.load(mixed + parity * kTileRows * kStagePitch, 0, tile * kTileKeys);
    }
  };
  load_tokens<kDim>(keys + kTileKeys * (kDim + 8), args.x, map, extent.heads, first_row,
                    extent.rows.end);
  commit_copies();
  load(first_tile);
  commit_copies();
  wait_for_copies<1>();
  __syncthreads();
  Word x[kDim / 16][4];
  load_rows_as_fragments<kDim>(x, keys + kTileKeys * (kDim + 8));
  __syncthreads();

  const int row = first_row + warp * 16;
  const StoreRows rows(args.target, map, row, extent.rows.end);
  for (int tile = first_tile; tile < end_tile; ++tile) {
    const int parity = (tile - first_tile) % 2;
    if (tile + 1 < end_tile) load(tile + 1);
    commit_copies();
    wait_for_copies<1>();
    Number* m = mixed + parity * kTileRows * kStagePitch;
    if (kExtra == ScoreExtra::Dots) {
      finish_softmax_tile<E>(m, first_row, extent.rows.end, tile * kTileKeys,
                             args.lse + static_cast<std::size_t>(map) * extent.tokens);
    }
    __syncthreads();
    Block block;
    multiply_rows<E, kDim>(block, x, keys + parity * kTileKeys * (kDim + 8));
#pragma unroll
    for (int t = 0; t < 8; ++t) {
#pragma unroll
      for (int e = 0; e < 4; ++e) block[t][e] *= args.factor;
    }
    if (kExtra == ScoreExtra::Dots) {
      store_row_dots<E>(block, m, args.dots, map, first_row, extent.rows.end, tile);
    }
    if (kExtra == ScoreExtra::Statistics) {
      store_row_partials(block, args.statistics, map, row, extent.rows.end, tile * kTileKeys);
    }
    store_block<Target>(block, stage + warp * 16 * kStagePitch, rows, map, tile * kTileKeys,
                        args.dropout);
    __syncthreads();
  }
}

template <class E, class Target, int kDim, ScoreExtra kExtra>
void launch_scores(const ScoresArgs& args, cudaStream_t stream) {
  constexpr int kBytes = scores_shared_bytes(kDim, kExtra == ScoreExtra::Dots);
  const Extent& extent = args.extent;
  const dim3 grid(static_cast<unsigned>(ceil_div(extent.last_key_tiles(), args.strip_tiles)),
                  static_cast<unsigned>(extent.row_tiles()), static_cast<unsigned>(extent.maps));
  const auto kernel = scores_kernel<E, Target, kDim, kExtra>;
  allow_shared_bytes(kernel, kBytes);
  launch(kernel, grid, kScoreThreads, kBytes, stream, args);
}

}  // namespace mta::kernels
