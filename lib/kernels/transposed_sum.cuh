// Stage: target_j = factor sum_i map[i, j] x_i. dV = A^T dO, and dK = scale dS^T Q, in one launch
// where both maps are there.
#pragma once

#include "lib/kernels/weighted_sum.cuh"

namespace mta::kernels {

/// Warps that share 32 keys, each with a part of the columns: sums of 128 columns would leave room
/// for eight warps a multiprocessor.
template <int kDim>
constexpr int kSumParts = kDim > 96 ? 2 : 1;

/// Adds to, or reads, the sums that chunks hand to each other: fp32 [maps, T, d], kBlocks * 8
/// columns of them.
template <int kDim, int kBlocks, class Visit>
__device__ void visit_sums(float* sum, int map, int tokens, int first, Visit&& visit) {
  const Lane lane = lane_place();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int token = first + lane.g + 8 * half;
    if (token >= tokens) continue;
    float* row = sum + (static_cast<std::size_t>(map) * tokens + token) * kDim;
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
      visit(*reinterpret_cast<float2*>(row + 8 * n + 2 * lane.q), n, 2 * half);
    }
  }
}

/// Adds what earlier chunks have left of 16 keys from `key` on, and writes them: to the target
/// after the last chunk, else for the next one. `column`: the first of the sums'.
template <class E, int kDim, int kBlocks>
__device__ void finish_sums(float (&sums)[kBlocks][4], const TransposedSum& of,
                            const Extent& extent, int map, int key, int column,
                            bool earlier_chunks) {
  float* const kept_sums = of.sum + column;
  if (earlier_chunks) {
    visit_sums<kDim, kBlocks>(kept_sums, map, extent.tokens, key, [&](float2& kept, int n, int e) {
      sums[n][e] += kept.x;
      sums[n][e + 1] += kept.y;
    });
  }
  if (extent.rows.end >= extent.tokens) {
    TensorView target = of.target;
    target.data = static_cast<Number*>(target.data) + column;
    store_tokens<E, 8 * kBlocks>(sums, target, map, extent.heads, key, extent.tokens, of.factor);
  } else {
    visit_sums<kDim, kBlocks>(kept_sums, map, extent.tokens, key, [&](float2& kept, int n, int e) {
      kept = {sums[n][e], sums[n][e + 1]};
    });
  }
}

/// Copies of tiles of 64 rows by up to 128 keys of a map, and of the rows' tokens, into a stage.
/// Where there are threads enough, half of them copy the map and half the tokens.
template <int kDim>
struct TransposedTiles {
  WrittenMap map;
  HeadTokens x;
  Extent extent;
  int begin, first_key;  // of rows, of keys

  __device__ static bool copies_map() {
    return kSumParts<kDim> == 1 || static_cast<int>(threadIdx.x) < kLoadThreads;
  }
  /// Tiles of 64 keys that rows reach: none of a warp's keys is in others.
  __device__ int key_tiles_of(int tile) const {
    const int last_row = min(begin + (tile + 1) * kTileRows, extent.rows.end) - 1;
    return key_tiles(last_row, extent.tokens, extent.reach) > key_tile(first_key) + 1 ? 2 : 1;
  }
  __device__ void load(Number* stage, int tile) const {
    const int offset = tile * kTileRows;
    if (copies_map()) {
      const MapStrip strip = map.strip(offset);
      const int count = key_tiles_of(tile);
#pragma unroll 1
      for (int n = 0; n < count; ++n) {
        map.load(stage + n * kMapRowsNumbers, strip, offset, key_tile(first_key) + n);
      }
    }
    if (kSumParts<kDim> == 1 || !copies_map()) {
      load_token_rows<kDim>(stage + 2 * kMapRowsNumbers, x, begin + offset, extent.rows.end,
                            static_cast<int>(threadIdx.x) % kLoadThreads);
    }
  }
  /// After the copy, where the map is M: weights in its place.
  template <class E>
  __device__ void finish_softmax(Number* stage, int tile, const float* lse) const {
    if (!copies_map()) return;
    const int count = key_tiles_of(tile);
#pragma unroll 1
    for (int n = 0; n < count; ++n) {
      map.finish_softmax<E>(stage + n * kMapRowsNumbers, tile * kTileRows,
                            first_key + n * kTileKeys, lse);
    }
  }
};

/// sums += A^T X for 32 keys, the warp-th of the stage's, over its 64 rows; X's columns from
/// `offset` bytes on.
template <class E, int kDim, int kBlocks>
__device__ void accumulate_rows(float (&sums)[2][kBlocks][4], const Number* stage, int warp,
                                int offset) {
  const Squares<kTileKeys, false> own(stage + warp / 2 * kMapRowsNumbers, warp % 2 * 2 * kSector);
  const Squares<kDim, true> tokens(stage + 2 * kMapRowsNumbers);
#pragma unroll 1
  for (int k = 0; k < kTileRows / 16; ++k) {
    Word a[2][4];  // A[m = key, k = row] from rows in memory
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      own.load_transposed(a[m], m, 16 * k * SectorRows<kTileKeys>::kBytes);
    }
    accumulate_both<E, kDim>(sums, a, tokens, 16 * k * SectorRows<kDim>::kBytes + offset);
  }
}

/// Grid: sum_grid(maps of all sums, blocks of kProductRows keys). A block owns its keys and walks
/// the rows at or below them.
template <class E, int kDim, bool kSoftmax>
__global__ void __launch_bounds__(kSumThreads* kSumParts<kDim>, kSumBlocks<kDim>)
    transposed_sum_kernel(const TransposedSumArgs args) {
  wait_for_previous_kernel();
  constexpr int kBlocks = kDim / kSumParts<kDim> / 8;
  static_assert(kSumParts<kDim> == 1 || 8 * kBlocks % (4 * kSector) == 0, "whole lines");
  Number* const shared = dynamic_shared<Number>();
  const Extent& extent = args.extent;
  const int place = map_in_turn(), warp = static_cast<int>(threadIdx.x) / kWarp % 4,
            part = static_cast<int>(threadIdx.x) / kSumThreads;
  if (place >= args.count * extent.maps) return;
  const TransposedSum& of = args.sums[place < extent.maps ? 0 : 1];
  const int map = place < extent.maps ? place : place - extent.maps;
  const int first_key = static_cast<int>(blockIdx.y) * kProductRows;
  // The first row that reaches the block, at the beginning of its block in memory; tiles of rows
  // start there, so that few rows are read in vain.
  const int begin = max(first_key - round_up(extent.reach, kMapRows), extent.rows.begin);
  const int tiles = ceil_div(extent.rows.end - begin, kTileRows);
  if (tiles <= 0) return;
  const TransposedTiles<kDim> source = {
      WrittenMap(of.map, map, begin, extent.rows.end, extent.tokens, extent.reach),
      head_tokens(of.x, map, extent.heads), extent, begin, first_key};
  const auto at = [&](int stage) { return shared + stage * sum_stage_numbers(kDim); };
  const auto load = [&](int tile, int stage) { source.load(at(stage), tile); };
  const auto finish = [&](int tile, int stage) {
    if (!kSoftmax) return;
    source.template finish_softmax<E>(at(stage), tile,
                                      args.lse + static_cast<std::size_t>(map) * extent.tokens);
  };
  const int own_key = first_key + 32 * warp;
  // Rows from which on the warp's keys are reached; none where it has no keys.
  const int own_rows = own_key < extent.tokens ? own_key - extent.reach : extent.rows.end;
  float sums[2][kBlocks][4] = {};
  for_each_staged_tile(args.ahead + 1, tiles, load, finish, [&](int tile, int stage) {
    if (min(begin + (tile + 1) * kTileRows, extent.rows.end) <= own_rows) return;
    accumulate_rows<E, kDim>(sums, at(stage), warp, part * 8 * kBlocks * kNumberBytes);
  });

  const bool earlier_chunks = extent.rows.begin > 0 && first_key < extent.rows.begin + extent.reach;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    finish_sums<E, kDim>(sums[m], of, extent, map, own_key + 16 * m, part * 8 * kBlocks,
                         earlier_chunks);
  }
}

template <class E, int kDim>
void launch_transposed_sum(TransposedSumArgs args, cudaStream_t stream) {
  const Extent& extent = args.extent;
  const dim3 grid = sum_grid(args.count * extent.maps,
                             ceil_div(extent.last_key_tiles() * kTileKeys, kProductRows));
  const auto kernel = args.lse != nullptr ? transposed_sum_kernel<E, kDim, true>
                                          : transposed_sum_kernel<E, kDim, false>;
  args.ahead = sum_ahead(kDim, args.ahead, grid, ceil_div(extent.rows.size(), kTileRows));
  const int bytes = sum_shared_bytes(kDim, args.ahead);
  allow_shared_bytes(kernel, bytes);
  launch(kernel, grid, kSumThreads * kSumParts<kDim>, bytes, stream, args);
}

}  // namespace mta::kernels
