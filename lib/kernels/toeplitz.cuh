// A convolution along the keys as products with Toeplitz blocks: what both directions share.
//
// For one query offset a, eight outputs j0..j0+7 need the tile columns x = 0..8*kBlocks-1 of their
// window. Their weights are a banded matrix B[x, n] = w[x - slack - n], the same for every block of
// eight outputs:
//
//        n ->  0  1  2  ...           (slack 3, span 5)
//   x = 3     w0
//       4     w1 w0
//       5     w2 w1 w0
//       6     w3 w2 w1 ...
// so that out[16 rows, 8] += tile[16 rows shifted by a, 8*kBlocks] B runs on the matrix unit.
#pragma once

#include "lib/kernels/map_view.cuh"
#include "lib/kernels/support.h"

namespace mta::kernels {

constexpr int kConvolutionThreads = 128;  // four warps of 16 output rows

template <int kBlocks>
struct TileShape {
  static constexpr int kColumns = loaded_columns(kBlocks);
  static constexpr int kChunks = kColumns / kChunk;
  static constexpr int kPitch = tile_pitch(kColumns);
};

/// Copies tiles of one map and one range of rows to shared memory while others are worked on. A
/// thread keeps to one 16-byte column of the tile, so that it can finish what it copied without a
/// barrier.
template <int kChunks, int kPitch, int kMostRows = kTileRows + kMaxQuerySpan - 1>
class TileStream {
 public:
  __device__ TileStream(const MapView& view, int map, int first_row, int rows, int end_row,
                        int tokens, int reach)
      : lines_(map_lines(view, map)),
        slots_(view, first_row),
        pitch_(view.pitch),
        first_row_(first_row),
        rows_(rows),
        end_row_(end_row),
        tokens_(tokens),
        reach_(reach),
        whole_rows_(first_row >= 0 && first_row + rows <= end_row &&
                    slots_.first + rows <= view.ring) {}

  /// Starts the copy of keys first_key.. of all rows; 16-byte pieces outside the map (and past
  /// `reach`) become zeros.
  __device__ void start(Number* tile, int first_key) const {
    const int key = first_key + column() * kChunk;
    tile += column() * kChunk;
    if (is_whole(first_key)) {
      const Number* source =
          lines_ + static_cast<std::size_t>(slots_.first + first_line()) * pitch_ + key;
      tile += first_line() * kPitch;
#pragma unroll
      for (int pass = 0; pass < kMostPasses; ++pass) {
        if (first_line() + pass * kLinesAPass < rows_) copy_async(tile, source, true);
        tile += kLinesAPass * kPitch, source += static_cast<std::ptrdiff_t>(kLinesAPass) * pitch_;
      }
      return;
    }
#pragma unroll 1
    for (int r = first_line(); r < rows_; r += kLinesAPass) {
      const bool valid = keys_left(r, key) > 0;
      copy_async(tile + r * kPitch,
                 lines_ + (valid ? static_cast<std::size_t>(slots_(r)) * pitch_ + key : 0), valid);
    }
  }

  /// Does a tile have pieces that are partly outside?
  __device__ bool crosses_edge(int first_key) const {
    const int end = first_key + kChunks * kChunk;
    return end > first_row_ + reach_ + 1 || end > tokens_;
  }

  /// After the copy: `transform(chunk, row of the tile)` of what this thread copied, zero outside
  /// the map.
  template <class Transform>
  __device__ void finish(Number* tile, int first_key, Transform&& transform) const {
    if (is_whole(first_key)) {
      finish_pieces<true>(tile, first_key, transform);
    } else {
      finish_pieces<false>(tile, first_key, transform);
    }
  }

 private:
  static constexpr int kLinesAPass = kConvolutionThreads / kChunks,
                       kMostPasses = ceil_div(kMostRows, kLinesAPass);

  template <bool kWhole, class Transform>
  __device__ void finish_pieces(Number* tile, int first_key, Transform&& transform) const {
    const int key = first_key + column() * kChunk;
    tile += first_line() * kPitch + column() * kChunk;
#pragma unroll
    for (int pass = 0; pass < kMostPasses; ++pass, tile += kLinesAPass * kPitch) {
      const int r = first_line() + pass * kLinesAPass;
      if (r >= rows_) return;
      const int left = kWhole ? kChunk : keys_left(r, key);
      if (left <= 0) continue;
      uint4* piece = reinterpret_cast<uint4*>(tile);
      uint4 chunk = transform(*piece, r);
      if (left < kChunk) chunk = keep_first(chunk, left);
      *piece = chunk;
    }
  }
  /// Is all of a tile inside, and one row after the other in memory?
  __device__ bool is_whole(int first_key) const {
    return whole_rows_ && first_key >= 0 && !crosses_edge(first_key);
  }

  /// Made anew for each tile: in loops that are short of registers it is better than kept.
  __device__ static int thread() { return in_register(static_cast<int>(threadIdx.x)); }
  __device__ static int column() { return thread() % kChunks; }
  /// The last few threads have no column of their own.
  __device__ int first_line() const {
    const int line = thread() / kChunks;
    return line < kLinesAPass ? line : rows_;
  }
  __device__ int keys_left(int r, int key) const {
    const int row = first_row_ + r;
    if (row < 0 || row >= end_row_ || key < 0) return 0;
    return min(tokens_, row + reach_ + 1) - key;
  }

  const Number* lines_;
  RowSlots slots_;
  int pitch_, first_row_, rows_, end_row_, tokens_, reach_;
  bool whole_rows_;  // all in the map, and one after the other in memory
};

/// Copies a head's pair tables [c_q, table_words] to shared memory.
template <int kBlocks>
__device__ void load_table(Word* target, const Word* tables, int head, int query_span) {
  const int words = query_span * table_words(kBlocks);
  const Word* source = tables + static_cast<std::size_t>(head) * words;
  for (int n = static_cast<int>(threadIdx.x); n < words; n += static_cast<int>(blockDim.x))
    target[n] = source[n];
}

/// The B fragments of one query offset: word b covers rows x = 8b + 2q, 8b + 2q + 1 of column n =
/// g.
template <int kBlocks>
__device__ inline void load_band(Word (&band)[kBlocks], const Word* table, int slack) {
  const Lane lane = lane_place();
  const Word* words = table + kTableOrigin + 2 * lane.q - lane.g - slack;
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) band[b] = words[8 * b];
}

/// The offset of the last pair of blocks when their number is odd: its right half would lie past
/// the row, so it reads the left one twice.
template <int kCount>
__device__ inline int last_pair_offset(int b) {
  const bool right_half = static_cast<int>(threadIdx.x) % kWarp >= 16;
  return b + 1 == kCount && right_half ? 8 * b - 8 : 8 * b;
}

/// Sixteen rows of a tile as 8-column blocks: [b][0] = row g, [b][1] = row g + 8, columns 8b + 2q
/// and + 1. Loads blocks b and b + 1, b even.
template <int kCount>
__device__ inline void load_block_pair(Word (&blocks)[kCount + kCount % 2][2], int b,
                                       const Number* corner) {
  Word square[4];
  load_blocks(square, corner + last_pair_offset<kCount>(b));
  blocks[b][0] = square[0];
  blocks[b][1] = square[1];
  blocks[b + 1][0] = square[2];
  blocks[b + 1][1] = square[3];
}
/// All of them.
template <int kCount>
__device__ inline void load_row_blocks(Word (&blocks)[kCount + kCount % 2][2],
                                       const Number* corner) {
#pragma unroll
  for (int b = 0; b < kCount; b += 2) load_block_pair<kCount>(blocks, b, corner);
}

/// out += window of output block t times the band. Pairs of blocks are taken as load_row_blocks
/// left them, two neighbours from an even one on: other pairs would have to be copied together.
template <class E, int kBlocks, int kCount>
__device__ inline void multiply_band(float (&out)[4], const Word (&x)[kCount][2], int t,
                                     const Word (&band)[kBlocks]) {
  const int single = t % 2;  // before the first pair
  if (single == 1) mma_k8<E>(out, x[t][0], x[t][1], band[0]);
#pragma unroll
  for (int b = single; b + 1 < kBlocks; b += 2) {
    mma_k16<E>(out, x[t + b][0], x[t + b][1], x[t + b + 1][0], x[t + b + 1][1], band[b],
               band[b + 1]);
  }
  if ((kBlocks - single) % 2 == 1)
    mma_k8<E>(out, x[t + kBlocks - 1][0], x[t + kBlocks - 1][1], band[kBlocks - 1]);
}

/// Adds what one query offset gives to sixteen rows. `past`: by how much key first_key + 2q is past
/// the lane's first output row, where keys past the output row are to be dropped.
template <int kBlocks, bool kKeysUpToOutput, int kOutputs>
__device__ inline void add_offset(float (&out)[kOutputs][4], const Number* corner,
                                  const Word (&band)[kBlocks], int past) {
  constexpr int kChunks = kOutputs + kBlocks - 1;
  Word x[kChunks + kChunks % 2][2];
  load_row_blocks<kChunks>(x, corner);
  if constexpr (kKeysUpToOutput) {
    past = in_register(past);
#pragma unroll
    for (int b = 0; b < kChunks; ++b) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int by = past + 8 * b - 8 * half;
        x[b][half] = keep_pair(x[b][half], by <= 0, by < 0);
      }
    }
  }
#pragma unroll
  for (int t = 0; t < kOutputs; ++t) multiply_band<Half, kBlocks>(out[t], x, t, band);
}

}  // namespace mta::kernels
