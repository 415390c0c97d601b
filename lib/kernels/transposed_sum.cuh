// Stage: target_j = factor sum_i map[i, j] x_i. dV = A^T dO, and dK = scale dS^T Q.
#pragma once

#include "lib/kernels/weighted_sum.cuh"

namespace mta::kernels {

/// Adds to, or reads, the sums that chunks hand to each other: fp32 [maps, T, d].
template <int kDim, class Visit>
__device__ void visit_sums(float* sum, int map, int tokens, int first, Visit&& visit) {
  const Lane lane = lane_place();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int token = first + lane.g + 8 * half;
    if (token >= tokens) continue;
    float* row = sum + (static_cast<std::size_t>(map) * tokens + token) * kDim;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      visit(*reinterpret_cast<float2*>(row + 8 * n + 2 * lane.q), n, 2 * half);
    }
  }
}

/// Adds what earlier chunks have left of 16 keys from `key` on, and writes them: to the target
/// after the last chunk, else for the next one.
template <class E, int kDim>
__device__ void finish_sums(float (&sums)[kDim / 8][4], const TransposedSumArgs& args, int map,
                            int key, bool earlier_chunks) {
  const Extent& extent = args.extent;
  if (earlier_chunks) {
    visit_sums<kDim>(args.sum, map, extent.tokens, key, [&](float2& kept, int n, int e) {
      sums[n][e] += kept.x;
      sums[n][e + 1] += kept.y;
    });
  }
  if (extent.rows.end >= extent.tokens) {
    store_tokens<E, kDim>(sums, args.target, map, extent.heads, key, extent.tokens, args.factor);
  } else {
    visit_sums<kDim>(args.sum, map, extent.tokens, key, [&](float2& kept, int n, int e) {
      kept = {sums[n][e], sums[n][e + 1]};
    });
  }
}

/// Grid: sum_grid(maps, blocks of kProductRows keys). A block owns its keys and walks the rows at
/// or below them.
template <class E, int kDim, bool kSoftmax>
__global__ void __launch_bounds__(kSumThreads, kSumBlocks<kDim>)
    transposed_sum_kernel(const TransposedSumArgs args) {
  wait_for_previous_kernel();
  Number* const shared = dynamic_shared<Number>();
  const Extent& extent = args.extent;
  const int map = map_in_turn(), warp = static_cast<int>(threadIdx.x) / kWarp;
  if (map >= extent.maps) return;
  const int first_key = static_cast<int>(blockIdx.y) * kProductRows;
  const int end_key = min(first_key + kProductRows, extent.tokens);
  // The first row that reaches the block, at the beginning of its block in memory; tiles of rows
  // start there, so that few rows are read in vain.
  const int begin = max(first_key - round_up(extent.reach, kMapRows), extent.rows.begin);
  const int tiles = ceil_div(extent.rows.end - begin, kTileRows);
  if (tiles <= 0) return;
  const WrittenMap weights(args.map, map, begin, extent.rows.end, extent.tokens, extent.reach);
  const HeadTokens x = head_tokens(args.x, map, extent.heads);
  const auto load = [&](int tile) {
    const int offset = tile * kTileRows;
    Number* const stage = shared + tile % 2 * sum_stage_numbers(kDim);
    weights.load<2>(stage, weights.strip(offset), offset, key_tile(first_key));
    load_token_rows<kDim>(stage + 2 * kMapRowsNumbers, x, begin + offset, extent.rows.end);
  };
  const auto finish = [&](int tile) {
    if (!kSoftmax) return;
    const float* lse = args.lse + static_cast<std::size_t>(map) * extent.tokens;
    Number* stage = shared + tile % 2 * sum_stage_numbers(kDim);
#pragma unroll 1
    for (int key = first_key; key < end_key; key += kTileKeys, stage += kMapRowsNumbers) {
      weights.finish_softmax<E>(stage, tile * kTileRows, key, lse);
    }
  };
  const int own_key = first_key + 32 * warp;
  // Rows from which on the warp's keys are reached; none where it has no keys.
  const int own_rows = own_key < end_key ? own_key - extent.reach : extent.rows.end;
  float sums[2][kDim / 8][4] = {};
  for_each_streamed_tile<2>(tiles, load, finish, [&](int tile) {
    if (min(begin + (tile + 1) * kTileRows, extent.rows.end) <= own_rows) return;
    const Number* stage = shared + tile % 2 * sum_stage_numbers(kDim);
    const Squares<kTileKeys, false> own(stage + warp / 2 * kMapRowsNumbers, warp % 2 * 2 * kSector);
    const Squares<kDim, true> tokens(stage + 2 * kMapRowsNumbers);
#pragma unroll 1
    for (int k = 0; k < kTileRows / 16; ++k) {
      Word a[2][4];  // A[m = key, k = row] from rows in memory
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        own.load_transposed(a[m], m, 16 * k * SectorRows<kTileKeys>::kBytes);
      }
      accumulate_both<E, kDim>(sums, a, tokens, 16 * k * SectorRows<kDim>::kBytes);
    }
  });

  const bool earlier_chunks = extent.rows.begin > 0 && first_key < extent.rows.begin + extent.reach;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    finish_sums<E, kDim>(sums[m], args, map, own_key + 16 * m, earlier_chunks);
  }
}

template <class E, int kDim>
void launch_transposed_sum(const TransposedSumArgs& args, cudaStream_t stream) {
  constexpr int kBytes = sum_shared_bytes(kDim);
  const Extent& extent = args.extent;
  const dim3 grid =
      sum_grid(extent.maps, ceil_div(extent.last_key_tiles() * kTileKeys, kProductRows));
  const auto kernel = args.lse != nullptr ? transposed_sum_kernel<E, kDim, true>
                                          : transposed_sum_kernel<E, kDim, false>;
  allow_shared_bytes(kernel, kBytes);
  launch(kernel, grid, kSumThreads, kBytes, stream, args);
}

}  // namespace mta::kernels
