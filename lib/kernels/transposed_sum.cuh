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

/// Grid: (key tiles, maps). A block owns 64 keys and walks the rows at or below them.
template <class E, int kDim, bool kSoftmax>
__global__ void __launch_bounds__(kSumThreads) transposed_sum_kernel(const TransposedSumArgs args) {
  wait_for_previous_kernel();
  Number* const shared = dynamic_shared<Number>();
  constexpr int kStageNumbers = kTileRows * kStagePitch + kTileRows * (kDim + 8);
  const Extent& extent = args.extent;
  const int map = static_cast<int>(blockIdx.y), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int first_key = static_cast<int>(blockIdx.x) * kTileKeys;
  // The first row that reaches the tile; tiles of rows start at it, so that no row is read in vain.
  const int begin = max(first_key - extent.reach, extent.rows.begin);
  const int tiles = ceil_div(extent.rows.end - begin, kTileRows);
  if (tiles <= 0) return;
  const WrittenMap weights(args.map, map, begin, extent.rows.end, extent.tokens, extent.reach);
  const HeadTokens x = head_tokens(args.x, map, extent.heads);
  const auto load = [&](int tile) {
    Number* stage = shared + tile % sum_stages(kDim) * kStageNumbers;
    const int offset = tile * kTileRows;
    weights.load(stage, offset, first_key);
    load_tokens<kDim>(stage + kTileRows * kStagePitch, x, begin + offset, extent.rows.end);
  };
  float sums[kDim / 8][4] = {};
  const auto finish = [&](int tile) {
    if (!kSoftmax) return;
    finish_softmax_tile<E>(shared + tile % sum_stages(kDim) * kStageNumbers,
                           begin + tile * kTileRows, extent.rows.end, first_key,
                           args.lse + static_cast<std::size_t>(map) * extent.tokens);
  };
  for_each_streamed_tile<sum_stages(kDim)>(tiles, load, finish, [&](int tile) {
    const Number* stage = shared + tile % sum_stages(kDim) * kStageNumbers;
    // A[m = key, k = row] from rows in memory: transposed blocks, (m, k) in by-row order.
    Word a[4][4];
    const Number* corner = stage + warp * 16 + square_offset_by_row(kStagePitch);
#pragma unroll
    for (int k = 0; k < 4; ++k) load_blocks_transposed(a[k], corner + 16 * k * kStagePitch);
    accumulate_product<E, kDim>(sums, a, stage + kTileRows * kStagePitch);
  });

  const int keys = first_key + warp * 16;
  const bool earlier_chunks = extent.rows.begin > 0 && first_key < extent.rows.begin + extent.reach;
  if (earlier_chunks) {
    visit_sums<kDim>(args.sum, map, extent.tokens, keys, [&](float2& kept, int n, int e) {
      sums[n][e] += kept.x;
      sums[n][e + 1] += kept.y;
    });
  }
  if (extent.rows.end >= extent.tokens) {
    store_tokens<E, kDim>(sums, args.target, map, extent.heads, keys, extent.tokens, args.factor);
  } else {
    visit_sums<kDim>(args.sum, map, extent.tokens, keys, [&](float2& kept, int n, int e) {
      kept = {sums[n][e], sums[n][e + 1]};
    });
  }
}

template <class E, int kDim>
void launch_transposed_sum(const TransposedSumArgs& args, cudaStream_t stream) {
  constexpr int kBytes = sum_shared_bytes(kDim);
  const Extent& extent = args.extent;
  const dim3 grid(static_cast<unsigned>(extent.last_key_tiles()),
                  static_cast<unsigned>(extent.maps));
  const auto kernel = args.lse != nullptr ? transposed_sum_kernel<E, kDim, true>
                                          : transposed_sum_kernel<E, kDim, false>;
  allow_shared_bytes(kernel, kBytes);
  launch(kernel, grid, kSumThreads, kBytes, stream, args);
}

}  // namespace mta::kernels
