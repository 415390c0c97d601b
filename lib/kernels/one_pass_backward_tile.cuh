// What a warp of the backward in one pass does with 16 lines of a tile in shared memory: products,
// convolutions with fixed windows of 24 keys, and rows of the maps.
//
// kColumns: 8-key columns that are new in a tile; before them lie the 16 keys of the front.
#pragma once

#include "lib/kernels/one_pass_tile.cuh"

#include <cstddef>

namespace mta::kernels {

constexpr int kFrontKeys = 16;  // of a tile that the tile before has made
constexpr int kFrontColumns = kFrontKeys / kChunk;
constexpr int kBackwardWindow = 3;  // 8-key columns: from one before the output to one after it

/// Shared memory of a block, in numbers, and the keys of a tile.
template <int kDim>
struct BackwardShape {
  static constexpr int kKeys = one_pass_backward_keys(kDim);
  static constexpr int kColumns = kKeys / kChunk;
  static constexpr int kPitch = tile_pitch(kKeys + kFrontKeys);
  static constexpr int kToken = kDim + 8;
  static constexpr int kQueries = 0;
  static constexpr int kOutputGradients = kQueries + kOnePassRows * kToken;
  static constexpr int kNewKeys = kOutputGradients + kOnePassRows * kToken;  // for S
  static constexpr int kOldKeys = kNewKeys + kKeys * kToken;                 // for dQ
  static constexpr int kValues = kOldKeys + kKeys * kToken;
  static constexpr int kScores = kValues + kKeys * kToken;  // two tiles
  static constexpr int kScoreTile = kScoreLines * kPitch;
  static constexpr int kLogitGradients = kScores + 2 * kScoreTile;
  static constexpr int kLogitRows = kLogitGradients + kOnePassRows * kPitch;
  static constexpr int kTables =  // forward, flipped
      kLogitRows + kOnePassRows * kLogitRowBytes / kNumberBytes;
  static_assert(kNumberBytes * kTables == one_pass_backward_shared_bytes(kDim, 0));
  static constexpr int kMapBytes = kNumberBytes * (kLogitRows - kScores);
};

/// One warp copies kTokens tokens into rows of kDim + 8 numbers; zeros for tokens outside [0, end).
/// Each lane keeps to one 16-byte column.
template <int kDim, int kTokens>
__device__ void copy_tokens(Number* target, const HeadTokens& x, int first, int end) {
  constexpr int kChunks = kDim / kChunk, kLines = kWarp / kChunks;
  static_assert(kTokens % kLines == 0);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, line = lane / kChunks;
  if (line >= kLines) return;  // the last few lanes have no column of their own
  const int column = lane % kChunks * kChunk;
  target += line * (kDim + 8) + column;
  if (first >= 0 && first + kTokens <= end) {
    const Number* from = x.first + column + (first + line) * x.stride;
#pragma unroll
    for (int r = 0; r < kTokens; r += kLines) {
      copy_async(target + r * (kDim + 8), from, true);
      from += kLines * x.stride;
    }
    return;
  }
#pragma unroll 1
  for (int r = 0; r < kTokens; r += kLines) {
    const int wanted = first + line + r, token = max(min(wanted, end - 1), 0);
    copy_async(target, x.first + column + token * x.stride, token == wanted);
    target += kLines * (kDim + 8);
  }
}

/// out = the band of each query offset a times the lines that start a below, from column kFirst on.
template <class E, int kFirst, int kColumns>
__device__ void convolve_lines(float (&out)[kColumns][4], const Number* lines, const Word* table,
                               int query_span, int slack) {
  constexpr int kPitch = tile_pitch(kChunk * (kColumns + kFrontColumns));
  const Number* corner = lines + square_offset(kPitch);
  const Word* words = band_words(table, slack);
#pragma unroll
  for (int t = 0; t < kColumns; ++t) {
#pragma unroll
    for (int e = 0; e < 4; ++e) out[t][e] = 0;
  }
#pragma unroll
  for (int a = 0; a < kMaxBackwardSpan; ++a) {  // unrolled: all places are constants
    if (a >= query_span) break;
    convolve_offset<E, kBackwardWindow, kPitch, kFirst>(out, corner + a * kPitch,
                                                        words + a * table_words(kBackwardWindow));
  }
}

/// sums += X Y for 16 rows of X, as words of a map, and kColumns * 8 keys of Y.
template <class E, int kDim, int kColumns, int kAccumulators>
__device__ void accumulate_lines(float (&sums)[kAccumulators][4], const Word (&x)[kColumns][2],
                                 const Number* y) {
  const Number* corner = y + square_offset(kDim + 8);
#pragma unroll
  for (int k = 0; k < kColumns / 2; ++k) {
#pragma unroll
    for (int n = 0; n < kDim / 16; ++n) {
      Word b[4];
      load_blocks_transposed(b, corner + 16 * k * (kDim + 8) + 16 * n);
      mma_k16<E>(sums[2 * n], x[2 * k][0], x[2 * k][1], x[2 * k + 1][0], x[2 * k + 1][1], b[0],
                 b[1]);
      mma_k16<E>(sums[2 * n + 1], x[2 * k][0], x[2 * k][1], x[2 * k + 1][0], x[2 * k + 1][1], b[2],
                 b[3]);
    }
  }
}

/// Where a warp writes the 16 rows of a block in memory, which begins at a tile of the map.
struct MapRows {
  Number* tiles;
  int first_tile, count;
  __device__ MapRows(const MapView& view, int map, int tile, int rows)
      : tiles(map_tiles(view, map)), first_tile(tile), count(rows) {}
};

/// Writes 16 rows of a map, keys first_key.. up to `end_key`, in 16-byte pieces of whole lines,
/// from `stage`, 16 lines of shared memory that this warp has put there.
template <int kPitch, int kColumns>
__device__ void store_lines(const Number* stage, const MapRows& rows, int first_key, int end_key) {
  constexpr int kLines = kWarp / kColumns;  // at a time
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int line = lane / kColumns, column = lane % kColumns * kChunk, key = first_key + column;
  __syncwarp();
  const Number* piece = stage + line * kPitch + column;
  Number* target = rows.tiles + tile_numbers(rows.first_tile + key_tile(key)) + row_place(line) +
                   (key & (kTileKeys - 1));
  const bool is_in = key >= 0 && key < end_key;
#pragma unroll
  for (int r = 0; r < 16; r += kLines) {
    if (is_in && r + line < rows.count) {
      *reinterpret_cast<uint4*>(target + r * kTileKeys) =
          *reinterpret_cast<const uint4*>(piece + r * kPitch);
    }
  }
  __syncwarp();
}

}  // namespace mta::kernels
