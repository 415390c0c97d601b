// One head's tile in the kernels that convolve and mix all heads of a block: copied with its halo
// by one warp, and convolved in place.
#pragma once

#include "lib/kernels/convolved_rows.cuh"

namespace mta::kernels {

/// Numbers of 64 rows, two in a lane.
class RowNumbers {
 public:
  __device__ RowNumbers() {}
  /// factor * source[first_row + r], where there is such a row.
  __device__ RowNumbers(const float* source, int first_row, int tokens, float factor) {
    const int row = first_row + static_cast<int>(threadIdx.x) % kWarp;
    low_ = source[max(min(row, tokens - 1), 0)] * factor;
    high_ = source[max(min(row + kWarp, tokens - 1), 0)] * factor;
  }
  /// Row r's, which is among the kCount from `first` on; all lanes call together.
  template <int kCount>
  __device__ float of(int r, int first) const {
    const float low = first < kWarp ? __shfl_sync(0xFFFFFFFFu, low_, r % kWarp) : 0,
                high = first + kCount > kWarp ? __shfl_sync(0xFFFFFFFFu, high_, r % kWarp) : 0;
    return r < kWarp ? low : high;
  }

 private:
  float low_ = 0, high_ = 0;
};

/// Copies one head's tile with its halo, and finishes what it copied: a lane has a piece of every
/// four rows of the tile's own 64 keys, and one of every sixteen rows of the halos' columns. Lines
/// are rows from a block's first in memory on: the tile's rows begin `above` lines further.
template <int kBlocks>
class HeadTile {
  using Shape = TileShape<kBlocks>;

 public:
  /// Rows first_row + 0..rows-1, to a multiple of kMapRows, keys from `first_key` on; those from
  /// `end_row` on, and all of them where there is no such head, are zero.
  __device__ HeadTile(const MapView& view, int first_row, int rows, int end_row, int first_key,
                      int tokens, int reach)
      : blocks_(view, first_row),
        first_row_(first_row),
        rows_(rows),
        end_row_(end_row),
        first_key_(first_key),
        tokens_(tokens),
        reach_(reach) {}

  /// `map` as in map_tiles. Pieces outside the map (and past `reach`) become zeros.
  __device__ void start(Number* tile, const Number* map, bool is_head) const {
    if (is_head && is_whole()) {
      start_whole(tile, map);
    } else {
      start_edge(tile, map, is_head);
    }
  }

  /// After the copy: exp(M - lse) of what this lane copied, zero outside the map. All lanes call
  /// together; lse2 has a number of each line.
  __device__ void weigh(Number* tile, const RowNumbers& lse2) const {
    const auto weights = [](uint4 chunk, float own) { return softmax_weights<Half>(chunk, own); };
    if (!is_whole()) {
      finish_edge(
          tile, [&](int line) { return lse2.of<2 * kWarp>(line, 0); }, weights);
      return;
    }
    const auto finish = [&](int line, int column, float own) {
      if (!has_line(line)) return;
      uint4* piece = reinterpret_cast<uint4*>(place(tile, line, column));
      *piece = weights(*piece, own);
    };
#pragma unroll
    for (int block = 0; block < kMostBlocks; ++block) {
      if (kMapRows * block >= above() + rows_) break;
#pragma unroll
      for (int line = kMapRows * block; line < kMapRows * block + kMapRows; line += kLines) {
        if (line + kLines <= above()) continue;
        finish(line + own_line(), own_column(), lse2.of<kLines>(line + own_line(), line));
      }
      const float side = lse2.of<kMapRows>(kMapRows * block + side_line(), kMapRows * block);
      if (has_side()) finish(kMapRows * block + side_line(), side_column(), side);
    }
  }
  /// The same for M as it is.
  __device__ void mask(Number* tile) const {
    if (!crosses_edge()) return;
    finish_edge(
        tile, [](int) { return 0.0f; }, [](uint4 chunk, float) { return chunk; });
  }

 private:
  static constexpr int kOwnChunks = kTileKeys / kChunk, kLines = kWarp / kOwnChunks;
  static constexpr int kMostBlocks = kFusedRows / kMapRows + 1;
  static_assert(kMaxQuerySpan - 1 <= kMapRows && (kBlocks - 1) * kMapRows <= kWarp);

  /// All of the tile is inside: only the first block may have lines above it.
  __device__ void start_whole(Number* tile, const Number* map) const {
    constexpr int kPitch = kFusedPitch<kBlocks>, kRowBytes = kPitch * kNumberBytes;
    const SharedPlace own(place(tile, own_line(), own_column())),
        side(place(tile, side_line(), side_column()));
    const int side_piece = row_place(side_line()) + key_place(first_key_ + side_column() * kChunk) -
                           own_key_tile() * kMapTile;
#pragma unroll
    for (int block = 0; block < kMostBlocks; ++block) {
      if (kMapRows * block >= above() + rows_) break;
      const Number* from = map + tile_numbers(blocks_.first_tile(block) + own_key_tile());
#pragma unroll
      for (int n = 0; n < kMapRows; n += kLines) {
        if (block > 0 || n + own_line() >= above()) {
          own.copy_async((kMapRows * block + n) * kRowBytes, from + lane() * kChunk + n * kTileKeys,
                         true);
        }
      }
      if (has_side() && (block > 0 || side_line() >= above())) {
        side.copy_async(kMapRows * block * kRowBytes, from + side_piece, true);
      }
    }
  }
  __device__ void start_edge(Number* tile, const Number* map, bool is_head) const {
    for_each_line([&](int line, int column) {
      const int key = first_key_ + column * kChunk;
      const bool valid = is_head && has_line(line) && keys_left(line, key) > 0;
      const std::ptrdiff_t from =
          tile_numbers(blocks_.first_tile(line / kMapRows)) + row_place(line) + key_place(key);
      if (has_line(line)) copy_async(place(tile, line, column), map + (valid ? from : 0), valid);
    });
  }
  /// `transform(chunk, number_of(line))` of what this lane copied, zero outside the map. All lanes
  /// ask for numbers together, also those that have no such line.
  template <class NumberOf, class Transform>
  __device__ void finish_edge(Number* tile, NumberOf&& number_of, Transform&& transform) const {
    for_each_line([&](int line, int column) {
      const float number = number_of(line);
      const int left = has_line(line) ? keys_left(line, first_key_ + column * kChunk) : 0;
      if (left <= 0) return;
      uint4* piece = reinterpret_cast<uint4*>(place(tile, line, column));
      *piece = keep_first(transform(*piece, number), left);
    });
  }
  /// visit(line, column) of all that this lane copies, and of lines that the tile does not have.
  template <class Visit>
  __device__ void for_each_line(Visit&& visit) const {
#pragma unroll 1
    for (int line = own_line(); line < kMostBlocks * kMapRows; line += kLines) {
      visit(line, own_column());
    }
#pragma unroll 1
    for (int line = side_line(); line < kMostBlocks * kMapRows; line += kMapRows) {
      visit(has_side() ? line : kMostBlocks * kMapRows, side_column());
    }
  }

  /// Are there pieces that are partly outside?
  __device__ bool crosses_edge() const {
    const int end = first_key_ + Shape::kColumns;
    return end > first_row_ + reach_ + 1 || end > tokens_;
  }
  /// Are all pieces inside?
  __device__ bool is_whole() const {
    return first_row_ >= 0 && first_row_ + rows_ <= end_row_ && first_key_ >= 0 && !crosses_edge();
  }
  __device__ int above() const { return first_row_ & (kMapRows - 1); }
  __device__ bool has_line(int line) const {
    return static_cast<unsigned>(line - above()) < static_cast<unsigned>(rows_);
  }
  __device__ Number* place(Number* tile, int line, int column) const {
    return tile + (line - above()) * kFusedPitch<kBlocks> + column * kChunk;
  }
  __device__ int keys_left(int line, int key) const {
    const int row = first_row_ + line - above();
    if (row < 0 || row >= end_row_ || key < 0) return 0;
    return min(tokens_, row + reach_ + 1) - key;
  }
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
  __device__ int left_columns() const { return (-first_key_ & (kTileKeys - 1)) / kChunk; }
  __device__ int own_key_tile() const { return key_tile(first_key_ + kTileKeys - 1); }
  __device__ static int own_line() { return lane() / kOwnChunks; }
  __device__ int own_column() const { return lane() % kOwnChunks + left_columns(); }
  __device__ static bool has_side() { return lane() < (kBlocks - 1) * kMapRows; }
  __device__ static int side_line() { return lane() % kMapRows; }
  __device__ int side_column() const {
    const int side = lane() / kMapRows;
    return side < left_columns() ? side : side + kOwnChunks;
  }

  MapBlocks blocks_;
  int first_row_, rows_, end_row_, first_key_, tokens_, reach_;
};

/// Sixteen rows of a head, whose first input row is `tile`'s first. `bands` are the head's tables,
/// in memory: the next offset's are on their way while one is used.
template <int kBlocks, bool kKeysUpToOutput>
__device__ inline void convolve_head(Block& out, const Number* tile, const Word* bands,
                                     int query_span, int slack, int first_row, int first_key) {
  const Lane lane = lane_place();
  const Number* corner = tile + square_offset(kFusedPitch<kBlocks>);
  const int past = first_key + 2 * lane.q - (first_row + lane.g);
  Word band[kBlocks];
  load_band<kBlocks>(band, bands, slack);
#pragma unroll 1
  for (int left = query_span - 1; left > 0; --left, corner += kFusedPitch<kBlocks>) {
    Word next[kBlocks];
    bands += table_words(kBlocks);
    load_band<kBlocks>(next, bands, slack);
    add_offset<kBlocks, kKeysUpToOutput>(out, corner, band, past);
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) band[b] = next[b];
  }
  add_offset<kBlocks, kKeysUpToOutput>(out, corner, band, past);
}

/// Thirty-two keys of sixteen rows, rounded to fp16: the lane's words of row g, and of row g + 8.
struct ConvolvedKeys {
  uint4 row[2];
  __device__ explicit ConvolvedKeys(const float (*out)[4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const auto word = [&](int t) { return pack<Half>(out[t][2 * half], out[t][2 * half + 1]); };
      row[half] = {word(0), word(1), word(2), word(3)};
    }
  }
};

/// Writes both halves of sixteen rows over the first ones that they were made from.
template <int kPitch>
__device__ inline void store_convolved(Number* target, const ConvolvedKeys (&keys)[2]) {
  const Lane lane = lane_place();
  Number* row = target + lane.g * kPitch + lane.q * kChunk;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      *reinterpret_cast<uint4*>(row + 8 * half * kPitch + 32 * h) = keys[h].row[half];
    }
  }
}

}  // namespace mta::kernels
