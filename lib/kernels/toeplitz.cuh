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
/// tile's own 64 keys are copied 16 rows at a time, a whole tile in memory with a piece for each
/// thread; its halos of kSides columns 16 bytes wide come after them. A thread finishes what it
/// copied, without a barrier.
template <int kChunks, int kPitch, int kMostRows = kTileRows + kMaxQuerySpan - 1,
          bool kRowsAbove = true>
class TileStream {
 public:
  /// Rows from the last multiple of kMapRows on must be no more than kMostRows, rounded up to it;
  /// without `kRowsAbove` first_row is such a multiple.
  __device__ TileStream(const MapView& view, int map, int first_row, int rows, int end_row,
                        int tokens, int reach)
      : tiles_(map_tiles(view, map)),
        blocks_(view, first_row),
        first_row_(first_row),
        rows_(rows),
        end_row_(end_row),
        tokens_(tokens),
        reach_(reach) {}

  /// The same rows of another map.
  template <int kOtherChunks, int kOtherPitch, int kOtherRows>
  __device__ TileStream(const MapView& view, int map,
                        const TileStream<kOtherChunks, kOtherPitch, kOtherRows, kRowsAbove>& other,
                        int rows, int end_row, int reach)
      : tiles_(map_tiles(view, map)),
        blocks_(other.blocks_),
        first_row_(other.first_row_),
        rows_(rows),
        end_row_(end_row),
        tokens_(other.tokens_),
        reach_(reach) {}

  /// Starts the copy of keys first_key.. of all rows; 16-byte pieces outside the map (and past
  /// `reach`) become zeros.
  __device__ void start(Number* tile, int first_key) const {
    if (is_whole(first_key)) {
      start_whole(tile, first_key);
    } else {
      start_edge(tile, first_key);
    }
  }

  /// The blocks in memory of its rows.
  __device__ const MapBlocks& blocks() const { return blocks_; }

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
  template <int, int, int, bool>
  friend class TileStream;

  static constexpr int kOwnChunks = kTileKeys / kChunk, kSides = kChunks - kOwnChunks;
  static constexpr int kPasses = ceil_div(kMostRows, kMapRows);
  // Of the halos: a thread keeps to a column. The last few threads may have none.
  static constexpr int kSideLines = kSides > 0 ? kConvolutionThreads / max_of(kSides, 1) : 1,
                       kSidePasses = kSides > 0 ? ceil_div(kMostRows, kSideLines) : 0;
  static_assert(kConvolutionThreads * kChunk == kMapTile);

  /// All of a tile is inside, and its blocks of rows are at equal steps in memory.
  __device__ void start_whole(Number* tile, int first_key) const {
    const int n = thread(), line = n / kOwnChunks - above();
    const int block = blocks_.first;
    const Number* source =
        tiles_ + n * kChunk +
        tile_numbers(blocks_.shape.first_tile(block) + key_tile(first_key + kTileKeys - 1));
    const std::ptrdiff_t step = tile_numbers(blocks_.shape.tiles_of(block));
    Number* target = tile + line * kPitch + own_column(n, first_key) * kChunk;
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      if (pass == 4 && above() == 0) source += tile_numbers(blocks_.shape.growth);
      if (has_row(line + pass * kMapRows)) {
        copy_async(target + pass * kMapRows * kPitch, source, true);
      }
      source += step;
    }
    const int column = side_column(n, first_key), key = first_key + column * kChunk;
#pragma unroll
    for (int pass = 0; pass < kSidePasses; ++pass) {
      const int r = side_line(n) + pass * kSideLines;
      if (r < rows_) copy_async(tile + r * kPitch + column * kChunk, tiles_ + place(r, key), true);
    }
  }
  __device__ void start_edge(Number* tile, int first_key) const {
    const int n = thread();
    const auto start_piece = [&](int r, int column) {
      const int key = first_key + column * kChunk;
      const bool valid = keys_left(r, key) > 0;
      copy_async(tile + r * kPitch + column * kChunk, tiles_ + (valid ? place(r, key) : 0), valid);
    };
#pragma unroll 1
    for (int r = n / kOwnChunks - above(); r < rows_; r += kMapRows) {
      if (r >= 0) start_piece(r, own_column(n, first_key));
    }
    if constexpr (kSides > 0) {
#pragma unroll 1
      for (int r = side_line(n); r < rows_; r += kSideLines) {
        start_piece(r, side_column(n, first_key));
      }
    }
  }

  template <bool kWhole, class Transform>
  __device__ void finish_pieces(Number* tile, int first_key, Transform&& transform) const {
    const int n = thread();
    const auto finish_piece = [&](int r, int column) {
      const int left = kWhole ? kChunk : keys_left(r, first_key + column * kChunk);
      if (left <= 0) return;
      uint4* piece = reinterpret_cast<uint4*>(tile + r * kPitch + column * kChunk);
      uint4 chunk = transform(*piece, r);
      if (left < kChunk) chunk = keep_first(chunk, left);
      *piece = chunk;
    };
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int r = n / kOwnChunks - above() + pass * kMapRows;
      if (has_row(r)) finish_piece(r, own_column(n, first_key));
    }
#pragma unroll
    for (int pass = 0; pass < kSidePasses; ++pass) {
      const int r = side_line(n) + pass * kSideLines;
      if (r < rows_) finish_piece(r, side_column(n, first_key));
    }
  }

  /// Is all of a tile inside, and are its rows at equal steps in memory?
  __device__ bool is_whole(int first_key) const {
    return first_row_ >= 0 && first_row_ + rows_ <= end_row_ && first_key >= 0 &&
           !crosses_edge(first_key) && blocks_.has_steps(0, ceil_div(above() + rows_, kMapRows));
  }
  /// Made anew for each tile: in loops that are short of registers it is better than kept.
  __device__ static int thread() { return in_register(static_cast<int>(threadIdx.x)); }
  /// Rows of the first block in memory that are above the first row.
  __device__ int above() const { return kRowsAbove ? first_row_ & (kMapRows - 1) : 0; }
  __device__ bool has_row(int r) const {
    return static_cast<unsigned>(r) < static_cast<unsigned>(rows_);
  }
  /// Columns of the tile before its own keys.
  __device__ static int left_columns(int first_key) {
    return kSides == 0 ? 0 : (-first_key & (kTileKeys - 1)) / kChunk;
  }
  __device__ static int own_column(int n, int first_key) {
    return n % kOwnChunks + left_columns(first_key);
  }
  __device__ static int side_column(int n, int first_key) {
    const int side = n / kSideLines;
    return side < left_columns(first_key) ? side : side + kOwnChunks;
  }
  /// The last few threads have no column of their own.
  __device__ int side_line(int n) const {
    return n < max_of(kSides, 1) * kSideLines ? n % kSideLines : rows_;
  }
  /// A piece in memory, from the map's tiles on.
  __device__ std::ptrdiff_t place(int r, int key) const {
    const int line = above() + r;
    return tile_numbers(blocks_.first_tile(line / kMapRows)) + row_place(line) + key_place(key);
  }
  __device__ int keys_left(int r, int key) const {
    const int row = first_row_ + r;
    if (row < 0 || row >= end_row_ || key < 0) return 0;
    return min(tokens_, row + reach_ + 1) - key;
  }

  const Number* tiles_;
  MapBlocks blocks_;
  int first_row_, rows_, end_row_, tokens_, reach_;
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
__device__ inline void load_band(Word (&band)[kBlocks], const Word* table, int slack,
                                 const Lane& lane = lane_place()) {
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
