// The kernel's gradient in the backward in one pass: products of S and dC of a tile in shared
// memory, added up along the walk, and the diagonals of the sums at its end.
//
// For one query offset: 16 keys of S (M) by 32 keys of dC (N), over 64 rows (K). A tap is a
// diagonal of this square, summed over all squares along the keys:
//
//   dC columns  |<-- d = 0 --->|<-- d = 1 -->|<-- d = 2 -->|<-- d = 3 -->|
//   S columns                  |<------- m = 0 .. 15 ----->|
//
// Squares start at even 8-key columns, so every fragment serves as it was loaded, and the four
// blocks d are four chains of products side by side.
#pragma once

#include "lib/kernels/one_pass_backward_tile.cuh"

namespace mta::kernels {

constexpr int kSumWarps = 2;  // each holds every other query offset
constexpr int kSumOffsets = kMaxBackwardSpan / kSumWarps;
constexpr int kSumColumns = 4;  // 8-key columns of dC that 16 keys of S meet
constexpr int kSumAccumulators = kSumOffsets * kSumColumns;
constexpr int kSumSquare = 16 * kChunk * kSumColumns;  // numbers [m][column] of a query offset
constexpr int kSumBytes = kWordBytes * kMaxBackwardSpan * kSumSquare;

/// sums[4 n + d] += S^T dC of 64 rows and kColumns * 8 keys, for query offset first_offset + 2 n.
/// `scores`: the line of S, in fp16, of row 0.
template <class E, int kColumns, int kAccumulators>
__device__ void accumulate_kernel_sums(float (&sums)[kAccumulators][4], const Number* gradients,
                                       const Number* scores, int first_offset, int query_span) {
  static_assert(kAccumulators >= kSumAccumulators);
  constexpr int kPitch = tile_pitch(kChunk * (kColumns + kFrontColumns)), kPairs = kColumns / 2;
  const Number* from_s = scores + square_offset_by_row(kPitch);
  const Number* from_d = gradients + first_offset * kPitch + square_offset(kPitch);
#pragma unroll 1
  for (int row = 0; row < kTileRows; row += 16) {
    Word s[kPairs][4];
#pragma unroll
    for (int pair = 0; pair < kPairs; ++pair) {
      load_blocks_transposed(s[pair], from_s + 16 * pair);
#pragma unroll
      for (int n = 0; n < 4; ++n) s[pair][n] = convert<Half, E>(s[pair][n]);
    }
#pragma unroll
    for (int n = 0; n < kSumOffsets; ++n) {
      if (first_offset + kSumWarps * n >= query_span) break;
      float(*const sum)[4] = sums + kSumColumns * n;
#pragma unroll
      for (int pair = 0; pair <= kPairs; ++pair) {
        Word d[4];  // blocks 0 and 1 of this pair, 2 and 3 of the one before
        load_blocks_transposed(d, from_d + kSumWarps * n * kPitch + 16 * pair);
        const auto multiply = [&](const Word(&x)[4], int block) {
          mma_k16<E>(sum[block], x[0], x[1], x[2], x[3], d[0], d[1]);
          mma_k16<E>(sum[block + 1], x[0], x[1], x[2], x[3], d[2], d[3]);
        };
        if (pair < kPairs) multiply(s[pair], 0);
        if (pair > 0) multiply(s[pair - 1], 2);
      }
    }
    from_s += 16 * kPitch, from_d += 16 * kPitch;
  }
}

/// Puts a warp's sums into `scratch` [query offset][m][column].
template <int kAccumulators>
__device__ void put_kernel_sums(const float (&sums)[kAccumulators][4], float* scratch,
                                int first_offset) {
  const Lane lane = lane_place();
#pragma unroll
  for (int n = 0; n < kSumOffsets; ++n) {
    float* square = scratch + (first_offset + kSumWarps * n) * kSumSquare;
#pragma unroll
    for (int e = 0; e < 4 * kSumColumns; ++e) {
      const int m = lane.g + e / 2 % 2 * 8, column = e / 4 * kChunk + 2 * lane.q + e % 2;
      square[m * kChunk * kSumColumns + column] = sums[kSumColumns * n + e / 4][e % 4];
    }
  }
}

/// Adds the diagonals of all sums to this block's slot, in a fixed order.
__device__ inline void finish_kernel_sums(const float* scratch, float* slot, int query_span,
                                          const KeyWindow& window) {
  for (int tap = static_cast<int>(threadIdx.x); tap < query_span * window.span;
       tap += static_cast<int>(blockDim.x)) {
    const int a = tap / window.span, b = tap % window.span;
    const float* diagonal = scratch + a * kSumSquare + b + window.slack;
    float sum = 0;
#pragma unroll
    for (int m = 0; m < 16; ++m) sum += diagonal[m * (kChunk * kSumColumns + 1)];
    // Back from the flipped kernel.
    slot[(query_span - 1 - a) * window.span + window.span - 1 - b] += sum;
  }
}

}  // namespace mta::kernels
