// Where a warp of the backward in one pass works, and what it knows of its rows of the logits: lse,
// D = sum over d of dO O, their place in the maps.
#pragma once

#include "lib/kernels/one_pass_backward_tile.cuh"

#include <cstddef>

namespace mta::kernels {

/// A row of C.
struct alignas(kLogitRowBytes) LogitRow {
  float lse2;  // in base 2; infinite past the last token, where all weights are zero
  float dot;   // D
  int tile;    // the first of its block of 16 rows in the maps, of the rows that this block writes
};

/// Where a warp works.
template <int kDim>
struct BackwardPlace {
  using Shape = BackwardShape<kDim>;
  Number* shared;
  int map, first_row, warp, query_span;
  __device__ int lines() const { return 16 * warp; }
  __device__ int end_key() const { return first_row + kTileRows; }
  __device__ Number* score_tile(int t) const {
    return shared + Shape::kScores + t % 2 * Shape::kScoreTile;
  }
  __device__ Number* logit_gradients() const { return shared + Shape::kLogitGradients; }
  __device__ LogitRow& row_of_line(int line) const {
    return reinterpret_cast<LogitRow*>(shared + Shape::kLogitRows)[line];
  }
  /// Row g, or g + 8, of this warp.
  __device__ LogitRow& row(int half) const {
    return row_of_line(lines() + lane_place().g + 8 * half);
  }
  /// Its own rows of a map.
  __device__ MapRows rows_of(const MapView& view, int end_row) const {
    return {view, map, row_of_line(lines()).tile, end_row - first_row - lines()};
  }
  __device__ const Word* table() const {
    return reinterpret_cast<const Word*>(shared + Shape::kTables);
  }
  __device__ const Word* flipped() const {
    return table() + query_span * table_words(kBackwardWindow);
  }
};

/// What a lane reads in device memory of rows g and g + 8 of C: every fourth piece of O.
template <int kDim>
struct OutputRows {
  uint4 pieces[2][kDim / kChunk / 4];
  float lse[2];
};

/// Of a warp's lines; on its way while the tiles are.
template <int kDim>
__device__ void load_output_rows(OutputRows<kDim>& rows, const OnePassBackwardArgs& args,
                                 const BackwardPlace<kDim>& at) {
  const Lane lane = lane_place();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = at.first_row + at.lines() + lane.g + 8 * half;
    const bool is_in = row < args.extent.tokens;
    rows.lse[half] = INFINITY;
    if (is_in) {
      rows.lse[half] = args.lse[static_cast<std::size_t>(at.map) * args.extent.tokens + row];
    }
    const Number* o = tensor_row(args.o, at.map, args.extent.heads, is_in ? row : 0);
#pragma unroll
    for (int n = 0; n < kDim / kChunk / 4; ++n) {
      rows.pieces[half][n] = uint4{};
      if (is_in) {
        rows.pieces[half][n] = *reinterpret_cast<const uint4*>(o + (4 * n + lane.q) * kChunk);
      }
    }
  }
}

/// D, lse and tile of a warp's rows of C, from dO in shared memory and O.
template <class E, int kDim>
__device__ void make_logit_rows(const OutputRows<kDim>& rows, const OnePassBackwardArgs& args,
                                const BackwardPlace<kDim>& at) {
  using Shape = BackwardShape<kDim>;
  const Lane lane = lane_place();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int line = at.lines() + lane.g + 8 * half;
    const Number* d_o = at.shared + Shape::kOutputGradients + line * Shape::kToken;
    float dot = 0;
#pragma unroll
    for (int n = 0; n < kDim / kChunk / 4; ++n) {
      const uint4 x = rows.pieces[half][n],
                  y = *reinterpret_cast<const uint4*>(d_o + (4 * n + lane.q) * kChunk);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float2 u = unpack<E>((&x.x)[e]), v = unpack<E>((&y.x)[e]);
        dot += u.x * v.x + u.y * v.y;
      }
    }
    dot = quad_sum(dot);
    if (lane.q == 0) {
      at.row(half) = {rows.lse[half] * kLog2e, dot, row_tile(args.weights, at.first_row + line)};
    }
  }
  __syncwarp();
}

}  // namespace mta::kernels
