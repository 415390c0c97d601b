// Stage: the kq convolution of a map, forward, where rows do not stream through a warp
// (kq_convolution_walk.cuh); on scores S as they are, or on the softmax weights exp(M - lse).
#pragma once

#include "lib/kernels/row_sums.cuh"
#include "lib/kernels/toeplitz.cuh"

namespace mta::kernels {

/// Accumulates a warp's 16 output rows: tile row r + a holds row i - (c_q-1) + a of output row i.
/// With `kKeysUpToOutput` terms with keys past the output row are dropped.
template <int kBlocks, bool kKeysUpToOutput>
__device__ void add_convolution(Block& out, const Number* tile, const Word* table, int query_span,
                                int slack, int first_row, int first_key) {
  using Shape = TileShape<kBlocks>;
  const Lane lane = lane_place();
  const int warp_row = static_cast<int>(threadIdx.x) / kWarp * 16;
  const Number* corner = tile + warp_row * Shape::kPitch + square_offset(Shape::kPitch);
  const int past = first_key + 2 * lane.q - (first_row + warp_row + lane.g);
#pragma unroll 1
  for (int a = 0; a < query_span; ++a, corner += Shape::kPitch, table += table_words(kBlocks)) {
    Word band[kBlocks];
    load_band<kBlocks>(band, table, slack);
    add_offset<kBlocks, kKeysUpToOutput>(out, corner, band, past);
  }
}

/// The same; `keys_up_to_output`: Causality::Exact, near the diagonal.
template <int kBlocks>
__device__ void convolve_rows(Block& out, const Number* tile, const Word* table, int query_span,
                              int slack, bool keys_up_to_output, int first_row, int first_key) {
  if (keys_up_to_output) {
    add_convolution<kBlocks, true>(out, tile, table, query_span, slack, first_row, first_key);
  } else {
    add_convolution<kBlocks, false>(out, tile, table, query_span, slack, first_row, first_key);
  }
}

/// Grid: (strips of key tiles, row tiles, maps). A block walks the 64x64 output tiles of a strip;
/// four warps of 16 rows.
template <int kBlocks, MapKind kKind>
__global__ void __launch_bounds__(kConvolutionThreads, 4)
    convolution_kernel(const ConvolutionArgs args) {
  wait_for_previous_kernel();
  using Shape = TileShape<kBlocks>;
  Number* const shared = dynamic_shared<Number>();
  const Extent& extent = args.extent;
  const int map = static_cast<int>(blockIdx.z), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int first_row = extent.rows.begin + static_cast<int>(blockIdx.y) * kTileRows;
  const int last_row = min(first_row + kTileRows, extent.rows.end) - 1;
  const int first_tile = static_cast<int>(blockIdx.x) * args.strip_tiles;
  const int end_tile = min(first_tile + args.strip_tiles, key_tiles(last_row, extent.tokens, 0));
  if (first_tile >= end_tile) return;

  const int halo_rows = args.query_span - 1, tile_numbers = (kTileRows + halo_rows) * Shape::kPitch;
  Number* stage = shared + 2 * tile_numbers + warp * 16 * kStagePitch;
  Word* table = reinterpret_cast<Word*>(shared + 2 * tile_numbers + kTileRows * kStagePitch);
  const TileStream<Shape::kChunks, Shape::kPitch> stream(args.source, map, first_row - halo_rows,
                                                         kTileRows + halo_rows, extent.rows.end,
                                                         extent.tokens, extent.reach);
  const auto first_loaded_key = [&](int tile) { return tile * kTileKeys - args.window.halo; };
  stream.start(shared, first_loaded_key(first_tile));
  commit_copies();
  load_table<kBlocks>(table, args.tables, map % extent.heads, args.query_span);
  float* const lse2 = reinterpret_cast<float*>(table + args.query_span * table_words(kBlocks));
  if (kKind == MapKind::SoftmaxWeights) {
    const float* lse = args.lse + static_cast<std::size_t>(map) * extent.tokens;
    for (int r = static_cast<int>(threadIdx.x); r < kTileRows + halo_rows; r += kConvolutionThreads)
      lse2[r] = lse[max(min(first_row - halo_rows + r, last_row), 0)] * kLog2e;
    __syncthreads();
  }
  const int row = first_row + warp * 16;
  const StoreRows rows(args.target, map, row, extent.rows.end);
  for (int tile = first_tile; tile < end_tile; ++tile) {
    Number* current = shared + (tile - first_tile) % 2 * tile_numbers;
    const int first_key = tile * kTileKeys, loaded_key = first_loaded_key(tile);
    if (tile + 1 < end_tile)
      stream.start(shared + (tile + 1 - first_tile) % 2 * tile_numbers, first_loaded_key(tile + 1));
    commit_copies();
    wait_for_copies<1>();
    if (kKind == MapKind::SoftmaxWeights) {
      stream.finish(current, loaded_key,
                    [&](uint4 chunk, int r) { return softmax_weights<Half>(chunk, lse2[r]); });
    } else if (stream.crosses_edge(loaded_key)) {
      stream.finish(current, loaded_key, [](uint4 chunk, int) { return chunk; });
    }
    __syncthreads();
    Block out = {};
    const bool near_diagonal = first_key + kTileKeys + 8 * kBlocks > first_row;
    convolve_rows<kBlocks>(out, current, table, args.query_span, args.window.slack,
                           extent.reach > 0 && near_diagonal, first_row, loaded_key);
    __syncthreads();  // the tile may be overwritten
    mask_block(out, row, first_key, extent.tokens, 0);
    if (args.statistics.partials != nullptr) {
      store_row_partials(out, args.statistics, map, row, extent.rows.end, first_key);
    }
    if (args.brain_target) {
      store_block<Brain>(out, stage, rows, map, first_key, args.dropout);
    } else {
      store_block<Half>(out, stage, rows, map, first_key, args.dropout);
    }
  }
}

template <int kBlocks>
void ConvolutionKernels<kBlocks>::forward(MapKind kind, const ConvolutionArgs& args,
                                          cudaStream_t stream) {
  const Extent& extent = args.extent;
  const dim3 grid(static_cast<unsigned>(
                      ceil_div(key_tiles(extent.rows.end - 1, extent.tokens, 0), args.strip_tiles)),
                  static_cast<unsigned>(extent.row_tiles()), static_cast<unsigned>(extent.maps));
  const int bytes = convolution_shared_bytes(kBlocks, args.query_span);
  allow_shared_bytes(convolution_kernel<kBlocks, MapKind::Scores>, bytes);
  allow_shared_bytes(convolution_kernel<kBlocks, MapKind::SoftmaxWeights>, bytes);
  if (kind == MapKind::Scores) {
    launch(convolution_kernel<kBlocks, MapKind::Scores>, grid, kConvolutionThreads, bytes, stream,
           args);
  } else {
    launch(convolution_kernel<kBlocks, MapKind::SoftmaxWeights>, grid, kConvolutionThreads, bytes,
           stream, args);
  }
}

}  // namespace mta::kernels
