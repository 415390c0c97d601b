// Stage: the kq convolution's gradients: of its input (the transposed convolution) and of its
// kernel.
//
// Both read the same tile of the output's gradient dY, with c_q-1 rows below and the halo of the
// flipped window:
//   dX[i', j'] = sum_{a, b} flipped[a, b] dY[i'+a, j'-left+b]           flipped[a, b] = W[c_q-1-a,
//   c_k-1-b] d flipped[a, b] = sum_{i', j'} X[i', j'] dY[i'+a, j'-left+b]
// Causality::Exact keeps the term when j' <= i'+a: the row written forward.
#pragma once

#include "lib/kernels/toeplitz.cuh"

namespace mta::kernels {

template <int kBlocks>
struct KernelSums {
  static constexpr int kPairs = kernel_sum_pairs(kBlocks);
  float value[offsets_a_block(kBlocks)][kPairs]
             [4];  // window column x = 16 pair + (g or g+8), output lane 2q or 2q+1
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
  for (int a = 0; a < query_span; ++a) {
    Word band[kBlocks], y[Shape::kChunks + Shape::kChunks % 2][2];
    load_band<kBlocks>(band, table + a * table_words(kBlocks), slack);
    load_row_blocks<Shape::kChunks, Shape::kPitch>(y, corner + a * Shape::kPitch);
#pragma unroll
    for (int t = 0; t < 8; ++t) {
      if constexpr (kKeysUpToOutput) {
        float term[4] = {};
        multiply_band<E, kBlocks>(term, y, t, band);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int row = first_row + warp_row + lane.g + e / 2 * 8,
                    key = first_key + 8 * t + 2 * lane.q + e % 2;
          if (key <= row + a) out[t][e] += term[e];
        }
      } else {
        multiply_band<E, kBlocks>(out[t], y, t, band);
      }
    }
  }
}

/// The offset of 16-column square e in by-row order; the last one of an odd number of blocks reads
/// its left half twice, since its right half would lie past the row.
template <int kCount>
__device__ inline int last_quad_offset(int e) {
  const bool right_half = static_cast<int>(threadIdx.x) / 8 % 2 == 1;
  return 2 * e + 1 == kCount && right_half ? 16 * e - 8 : 16 * e;
}

/// Adds this tile to the sums: sums[x, n] += sum over the warp's 16 rows and eight blocks t of
/// dY[row+a, 8t+x] X[row, 8t+n].
template <class E, int kBlocks, bool kKeysUpToOutput>
__device__ void accumulate_kernel_gradient(KernelSums<kBlocks>& sums, const Number* tile,
                                           const Number* own, int first_offset, int query_span,
                                           int first_row, int first_key) {
  using Shape = TileShape<kBlocks>;
  constexpr int kPairs = KernelSums<kBlocks>::kPairs, kQuads = (Shape::kChunks + 1) / 2;
  const Lane lane = lane_place();
  const int warp_row = static_cast<int>(threadIdx.x) / kWarp * 16;
  Word x[8][2];  // B fragments: [t][0] = rows 2q.., [t][1] = rows 2q+8.. of column 8t + g
#pragma unroll
  for (int t = 0; t < 8; t += 2) {
    Word square[4];
    load_blocks_transposed(square,
                           own + warp_row * kStagePitch + square_offset(kStagePitch) + 8 * t);
    x[t][0] = square[0], x[t][1] = square[1], x[t + 1][0] = square[2], x[t + 1][1] = square[3];
  }
  const Number* corner = tile + warp_row * Shape::kPitch + square_offset_by_row(Shape::kPitch);
#pragma unroll
  for (int n = 0; n < offsets_a_block(kBlocks); ++n) {
    const int a = first_offset + n;
    if (a >= query_span) break;
    // A fragments of columns 16 e..: the two blocks of a fragment must be neighbours in registers,
    // so outputs at odd blocks t get fragments of their own.
    Word even[kQuads + 1][4];
#pragma unroll
    for (int e = 0; e < kQuads; ++e) {
      load_blocks_transposed(even[e],
                             corner + a * Shape::kPitch + last_quad_offset<Shape::kChunks>(e));
    }
    even[kQuads][0] = even[kQuads][2] =
        0;  // no output reads it: keeps the last odd fragment finite
    const auto add = [&](int t, const Word(&fragment)[4], int pair) {
      Word low = x[t][0], high = x[t][1];
      if (kKeysUpToOutput) {
        const int key = first_key + 8 * t + lane.g, row = first_row + warp_row + 2 * lane.q + a;
        low = keep_pair(low, key <= row, key <= row + 1);
        high = keep_pair(high, key <= row + 8, key <= row + 9);
      }
      mma_k16<E>(sums.value[n][pair], fragment[0], fragment[1], fragment[2], fragment[3], low,
                 high);
    };
#pragma unroll
    for (int e = 0; e < kQuads; ++e) {
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) {
        const int t = 2 * (e - pair);
        if (t >= 0 && t < 8) add(t, even[e], pair);
      }
    }
#pragma unroll
    for (int e = 0; e < kQuads; ++e) {
      const Word odd[4] = {even[e][1], even[e + 1][0], even[e][3], even[e + 1][2]};
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) {
        const int t = 2 * (e - pair) + 1;
        if (t >= 0 && t < 8) add(t, odd, pair);
      }
    }
  }
}

/// Adds the diagonals of all warps' sums to this block's slot, in a fixed order. `scratch` is
/// shared memory.
template <int kBlocks>
__device__ void finish_kernel_gradient(const KernelSums<kBlocks>& sums, float* scratch, float* slot,
                                       int first_offset, int query_span, const KeyWindow& window) {
  constexpr int kPairs = KernelSums<kBlocks>::kPairs, kOffsets = offsets_a_block(kBlocks);
  constexpr int kWarps = kConvolutionThreads / kWarp,
                kSquare = 16 * kPairs * 8;  // [x][output lane]
  const Lane lane = lane_place();
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int n = 0; n < kOffsets; ++n) {
#pragma unroll
    for (int pair = 0; pair < kPairs; ++pair) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int column = 16 * pair + lane.g + e / 2 * 8;
        scratch[((n * kWarps + warp) * 16 * kPairs + column) * 8 + 2 * lane.q + e % 2] =
            sums.value[n][pair][e];
      }
    }
  }
  __syncthreads();
  const int offsets = min(kOffsets, query_span - first_offset);
  for (int tap = static_cast<int>(threadIdx.x); tap < offsets * window.span;
       tap += kConvolutionThreads) {
    const int n = tap / window.span, b = tap % window.span;
    float sum = 0;
    for (int w = 0; w < kWarps; ++w) {
      for (int output = 0; output < 8; ++output) {
        sum += scratch[(n * kWarps + w) * kSquare + (b + window.slack + output) * 8 + output];
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
    kBlocks > 3 ? 2 : 3;
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
  const TileStream<Shape::kChunks, Shape::kPitch> d_output(args.d_output, map, first_row, rows,
                                                           end_of_input, extent.tokens, 0);
  const TileStream<kTileKeys / kChunk, kStagePitch> source(
      args.source, map, first_row, kTileRows, extent.rows.end, extent.tokens, extent.reach);
  const auto start = [&](int tile) {
    Number* stage = shared + (tile - first_tile) % 2 * stage_numbers;
    d_output.start(stage, tile * kTileKeys - args.window.halo);
    source.start(stage + rows * Shape::kPitch, tile * kTileKeys);
  };
  start(first_tile);
  commit_copies();
  load_table<kBlocks>(table, args.tables, map % extent.heads, args.query_span);
  const float* lse = args.lse + static_cast<std::size_t>(map) * extent.tokens;
  KernelSums<kBlocks> sums = {};
  for (int tile = first_tile; tile < end_tile; ++tile) {
    const int first_key = tile * kTileKeys;
    Number* d_y = shared + (tile - first_tile) % 2 * stage_numbers;
    Number* own = d_y + rows * Shape::kPitch;
    if (tile + 1 < end_tile) start(tile + 1);
    commit_copies();
    wait_for_copies<1>();
    if (d_output.crosses_edge(first_key - args.window.halo)) {
      d_output.finish(d_y, first_key - args.window.halo, [](uint4 chunk, int) { return chunk; });
    }
    source.finish(own, first_key, [&](uint4 chunk, int row) {
      return kKind == MapKind::Scores ? convert_chunk<Half, E>(chunk)
                                      : softmax_weights<E>(chunk, lse[row] * kLog2e);
    });
    __syncthreads();
    const bool exact = extent.reach > 0 && first_key + kTileKeys > first_row;
    if (exact) {
      accumulate_kernel_gradient<E, kBlocks, true>(sums, d_y, own, first_offset, args.query_span,
                                                   first_row, first_key);
    } else {
      accumulate_kernel_gradient<E, kBlocks, false>(sums, d_y, own, first_offset, args.query_span,
                                                    first_row, first_key);
    }
    if (first_offset == 0) {
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
      const StoreRows target(args.target, map, first_row + warp * 16, extent.rows.end);
      // Each warp's 16 rows of `own` are read by that warp alone: they become its stage.
      store_block<E>(out, own + warp * 16 * kStagePitch, target, map, first_key, {});
    }
    __syncthreads();
  }
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
