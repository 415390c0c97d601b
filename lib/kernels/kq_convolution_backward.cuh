// Stage: the kq convolution's gradients: of its input (the transposed convolution) and of its
// kernel.
//
// Both read the same tile of the output's gradient dY, with c_q-1 rows below and the halo of the
// flipped window:
//   dX[i', j'] = sum_{a, b} flipped[a, b] dY[i'+a, j'-left+b]           flipped[a, b] = W[c_q-1-a,
//   c_k-1-b] d flipped[a, b] = sum_{i', j'} X[i', j'] dY[i'+a, j'-left+b]
// Causality::Exact keeps the term when j' <= i'+a: the row written forward.
#pragma once

#include "lib/kernels/row_sums.cuh"
#include "lib/kernels/toeplitz.cuh"

namespace mta::kernels {

/// A warp's share of the kernel's gradient: every second query offset, over half of the tile's
/// rows.
///
///   sums[16 keys of X, 8 columns of dY] += X^T[16, 16 rows] dY[16 rows shifted by a, 8]
///
/// for each pair of neighbouring 8-key blocks of X, and for each block of dY's columns that one of
/// the pair may meet: `difference` counts blocks from the pair's first. The weights' gradients are
/// the sums' diagonals. Neither operand's fragments need more than a load, as the pairs of X begin
/// at even blocks and dY's blocks are taken one by one; the differences are independent chains.
template <int kBlocks>
struct KernelSums {
  static constexpr int kOffsets = offsets_a_block(kBlocks) / kGradientWarps,
                       kDifferences = kernel_sum_differences(kBlocks);
  float value[kOffsets][kDifferences][4];  // key g or g+8 of the pair, column 2q or 2q+1
};

/// dX of a warp's 16 rows.
template <class E, int kBlocks, bool kKeysUpToOutput>
__device__ void convolve_rows_transposed(Block& out, const Number* tile, const Word* table,
                                         int query_span, int slack, int first_row, int first_key) {
  using Shape = TileShape<kBlocks>;
  const Lane lane = lane_place();
  const int warp_row = static_cast<int>(threadIdx.x) / kWarp * 16;
  const Number* corner = tile + warp_row * Shape::kPitch + square_offset(Shape::kPitch);
#pragma unroll 1
  for (int a = 0; a < query_span; ++a, corner += Shape::kPitch, table += table_words(kBlocks)) {
    Word band[kBlocks], y[Shape::kChunks + Shape::kChunks % 2][2];
    load_band<kBlocks>(band, table, slack);
    const int past = in_register(first_key + 2 * lane.q - (first_row + warp_row + lane.g + a));
#pragma unroll
    for (int b = 0; b < kBlocks - 1; b += 2) load_block_pair<Shape::kChunks>(y, b, corner);
#pragma unroll
    for (int t = 0; t < 8; ++t) {
      // Each pair of blocks shortly before its first use: few registers hold them.
      if ((t + kBlocks) % 2 == 1) load_block_pair<Shape::kChunks>(y, t + kBlocks - 1, corner);
      if constexpr (kKeysUpToOutput) {
        float term[4] = {};
        multiply_band<E, kBlocks>(term, y, t, band);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          if (past + 8 * t + e % 2 <= e / 2 * 8) out[t][e] += term[e];
        }
      } else {
        multiply_band<E, kBlocks>(out[t], y, t, band);
      }
    }
  }
}

/// Adds this tile to the sums of the warp's rows and offsets.
template <class E, int kBlocks, bool kKeysUpToOutput>
__device__ void accumulate_kernel_gradient(KernelSums<kBlocks>& sums, const Number* tile,
                                           const Number* own, int first_offset, int query_span,
                                           int first_row, int first_key) {
  using Shape = TileShape<kBlocks>;
  constexpr int kXPairs = kTileKeys / 16, kYPairs = (Shape::kChunks + 1) / 2;
  const Lane lane = lane_place();
  const int warp = static_cast<int>(threadIdx.x) / kWarp,
            begin = warp / kGradientWarps * kGradientRows;
#pragma unroll 1
  for (int r = begin; r < begin + kGradientRows; r += 16) {
    Word x[kXPairs][4];
#pragma unroll
    for (int p = 0; p < kXPairs; ++p) {
      load_blocks_transposed(x[p],
                             own + r * kStagePitch + square_offset_by_row(kStagePitch) + 16 * p);
    }
#pragma unroll
    for (int n = 0; n < KernelSums<kBlocks>::kOffsets; ++n) {
      const int a = first_offset + kGradientWarps * n + warp % kGradientWarps;
      if (a >= query_span) break;
      const Number* corner = tile + (r + a) * Shape::kPitch + square_offset(Shape::kPitch);
      const int past = in_register(first_key + lane.g - (first_row + r + a + 2 * lane.q));
#pragma unroll
      for (int y_pair = 0; y_pair < kYPairs; ++y_pair) {
        Word y[4];
        load_blocks_transposed(y, corner + last_pair_offset<Shape::kChunks>(2 * y_pair));
#pragma unroll
        for (int p = 0; p < kXPairs; ++p) {
          const auto kept = [&](int e) {
            if (!kKeysUpToOutput) return x[p][e];
            const int by = past + 16 * p + e % 2 * 8 - e / 2 * 8;
            return keep_pair(x[p][e], by <= 0, by <= 1);
          };
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int difference = 2 * (y_pair - p) + half;
            if (difference < 0 || difference >= KernelSums<kBlocks>::kDifferences) continue;
            mma_k16<E>(sums.value[n][difference], kept(0), kept(1), kept(2), kept(3), y[2 * half],
                       y[2 * half + 1]);
          }
        }
      }
    }
  }
}

/// Adds the diagonals of all warps' sums to this block's slot, in a fixed order. `scratch` is
/// shared memory.
template <int kBlocks>
__device__ void finish_kernel_gradient(const KernelSums<kBlocks>& sums, float* scratch, float* slot,
                                       int first_offset, int query_span, const KeyWindow& window) {
  using Sums = KernelSums<kBlocks>;
  constexpr int kParts = kConvolutionThreads / kWarp / kGradientWarps,  // of the rows
      kColumns = 8 * Sums::kDifferences, kSquare = 16 * kColumns;
  const Lane lane = lane_place();
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int n = 0; n < Sums::kOffsets; ++n) {
    float* square =
        scratch +
        ((kGradientWarps * n + warp % kGradientWarps) * kParts + warp / kGradientWarps) * kSquare;
#pragma unroll
    for (int d = 0; d < Sums::kDifferences; ++d) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        square[(lane.g + e / 2 * 8) * kColumns + 8 * d + 2 * lane.q + e % 2] = sums.value[n][d][e];
      }
    }
  }
  __syncthreads();
  const int offsets = min(offsets_a_block(kBlocks), query_span - first_offset);
  for (int tap = static_cast<int>(threadIdx.x); tap < offsets * window.span;
       tap += kConvolutionThreads) {
    const int n = tap / window.span, b = tap % window.span;
    float sum = 0;
    for (int part = 0; part < kParts; ++part) {
      for (int key = 0; key < 16; ++key) {
        sum += scratch[(n * kParts + part) * kSquare + key * kColumns + key + window.slack + b];
      }
    }
    const int a = query_span - 1 - (first_offset + n);  // back from the flipped kernel
    slot[a * window.span + window.span - 1 - b] += sum;
  }
}

/// Blocks a multiprocessor that registers must leave room for: as many as do without spills.
template <int kBlocks>
constexpr int kBackwardBlocks =
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
    kBlocks > 2 ? 2 : 3;
#else
    kBlocks > 3   ? 2
    : kBlocks > 2 ? 3
                  : 4;
#endif

/// Grid: (strips, row tiles x offset groups, maps). The blocks of group 0 write dX; each adds its
/// offsets' gradient.
template <class E, int kBlocks, MapKind kKind>
__global__ void __launch_bounds__(kConvolutionThreads, kBackwardBlocks<kBlocks>)
    convolution_backward_kernel(const ConvolutionBackwardArgs args) {
  wait_for_previous_kernel();
  using Shape = TileShape<kBlocks>;
  Number* const shared = dynamic_shared<Number>();
  const Extent& extent = args.extent;
  const int map = static_cast<int>(blockIdx.z), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int row_tiles = extent.row_tiles(), row_tile = static_cast<int>(blockIdx.y) % row_tiles;
  const int first_offset = static_cast<int>(blockIdx.y) / row_tiles * offsets_a_block(kBlocks);
  const int first_row = extent.rows.begin + row_tile * kTileRows;
  const int last_row = min(first_row + kTileRows, extent.rows.end) - 1;
  const int first_tile = static_cast<int>(blockIdx.x) * args.strip_tiles;
  const int end_tile =
      min(first_tile + args.strip_tiles, key_tiles(last_row, extent.tokens, extent.reach));
  if (first_tile >= end_tile) return;

  const int rows = kTileRows + args.query_span - 1,
            stage_numbers = backward_stage_numbers(kBlocks, args.query_span);
  Word* table = reinterpret_cast<Word*>(shared + backward_tile_bytes(kBlocks, args.query_span) / 2);
  // Rows past these are of a later chunk: their memory still holds older rows.
  const int end_of_input = min(extent.rows.end + args.query_span - 1, extent.tokens);
  constexpr int kMostRows = kTileRows + kMaxQuerySpan - 1;
  const TileStream<Shape::kChunks, Shape::kPitch, kMostRows, false> d_output(
      args.d_output, map, first_row, rows, end_of_input, extent.tokens, 0);
  using Source = TileStream<kTileKeys / kChunk, kStagePitch, kTileRows, false>;
  const Source source(args.source, map, d_output, kTileRows, extent.rows.end, extent.reach);
  const auto start = [&](int tile) {
    Number* stage = shared + (tile - first_tile) % 2 * stage_numbers;
    d_output.start(stage, tile * kTileKeys - args.window.halo);
    source.start(stage + rows * Shape::kPitch, tile * kTileKeys);
  };
  start(first_tile);
  commit_copies();
  load_table<kBlocks>(table, args.tables, map % extent.heads, args.query_span);
  float* const lse2 = reinterpret_cast<float*>(table + args.query_span * table_words(kBlocks));
  if (kKind == MapKind::SoftmaxWeights) {
    const float* lse = args.lse + static_cast<std::size_t>(map) * extent.tokens;
    for (int r = static_cast<int>(threadIdx.x); r < kTileRows; r += kConvolutionThreads)
      lse2[r] = lse[min(first_row + r, last_row)] * kLog2e;
    __syncthreads();
  }
  KernelSums<kBlocks> sums = {};
  for (int tile = first_tile; tile < end_tile; ++tile) {
    const int first_key = tile * kTileKeys;
    Number* d_y = shared + (tile - first_tile) % 2 * stage_numbers;
    Number* own = d_y + rows * Shape::kPitch;
    wait_for_copies<0>();
    if (d_output.crosses_edge(first_key - args.window.halo)) {
      d_output.finish(d_y, first_key - args.window.halo, [](uint4 chunk, int) { return chunk; });
    }
    source.finish(own, first_key, [&](uint4 chunk, int r) {
      return kKind == MapKind::Scores ? convert_chunk<Half, E>(chunk)
                                      : softmax_weights<E>(chunk, lse2[r]);
    });
    __syncthreads();
    // Nobody stores through the other stage any more.
    if (tile + 1 < end_tile) start(tile + 1);
    commit_copies();
    const bool exact = extent.reach > 0 && first_key + kTileKeys > first_row;
    if (exact) {
      accumulate_kernel_gradient<E, kBlocks, true>(sums, d_y, own, first_offset, args.query_span,
                                                   first_row, first_key);
    } else {
      accumulate_kernel_gradient<E, kBlocks, false>(sums, d_y, own, first_offset, args.query_span,
                                                    first_row, first_key);
    }
    if (first_offset > 0) {
      __syncthreads();
      continue;
    }
    Block out = {};
    if (exact) {
      convolve_rows_transposed<E, kBlocks, true>(out, d_y, table, args.query_span,
                                                 args.window.slack, first_row, first_key);
    } else {
      convolve_rows_transposed<E, kBlocks, false>(out, d_y, table, args.query_span,
                                                  args.window.slack, first_row, first_key);
    }
    mask_block(out, first_row + warp * 16, first_key, extent.tokens, extent.reach);
    if (kKind == MapKind::SoftmaxWeights && args.dots.partials != nullptr) {
      store_row_dots<E>(out, own, args.dots, map, first_row, extent.rows.end, tile);
    }
    __syncthreads();  // all have read X: a warp's 16 rows of it become its stage
    const StoreRows target(args.target, map, source.blocks().first_tile(warp),
                           first_row + warp * 16, extent.rows.end);
    if (target.reach_key(first_key, extent.reach)) {
      store_block<E>(out, own + warp * 16 * kStagePitch, target, map, first_key, {});
    }
  }
  __syncthreads();
  float* slot = args.sums +
                (static_cast<std::size_t>(map) * args.slots + row_tile * args.strips + blockIdx.x) *
                    args.query_span * args.window.span;
  finish_kernel_gradient<kBlocks>(sums, reinterpret_cast<float*>(shared), slot, first_offset,
                                  args.query_span, args.window);
}

template <class E, int kBlocks>
void launch_convolution_backward(MapKind kind, const ConvolutionBackwardArgs& args,
                                 cudaStream_t stream) {
  const Extent& extent = args.extent;
  const int groups = ceil_div(args.query_span, offsets_a_block(kBlocks));
  const dim3 grid(static_cast<unsigned>(ceil_div(extent.last_key_tiles(), args.strip_tiles)),
                  static_cast<unsigned>(extent.row_tiles() * groups),
                  static_cast<unsigned>(extent.maps));
  const int bytes = convolution_backward_shared_bytes(kBlocks, args.query_span);
  allow_shared_bytes(convolution_backward_kernel<E, kBlocks, MapKind::Scores>, bytes);
  allow_shared_bytes(convolution_backward_kernel<E, kBlocks, MapKind::SoftmaxWeights>, bytes);
  if (kind == MapKind::Scores) {
    launch(convolution_backward_kernel<E, kBlocks, MapKind::Scores>, grid, kConvolutionThreads,
           bytes, stream, args);
  } else {
    launch(convolution_backward_kernel<E, kBlocks, MapKind::SoftmaxWeights>, grid,
           kConvolutionThreads, bytes, stream, args);
  }
}

template <int kBlocks>
void ConvolutionKernels<kBlocks>::backward(MapKind kind, const ConvolutionBackwardArgs& args,
                                           ElementType type, cudaStream_t stream) {
  if (type == ElementType::BFloat16) {
    launch_convolution_backward<Brain, kBlocks>(kind, args, stream);
  } else {
    launch_convolution_backward<Half, kBlocks>(kind, args, stream);
  }
}

}  // namespace mta::kernels
