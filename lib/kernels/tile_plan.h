// Index arithmetic of tiles, halos, rings and chunks: shared by the kernels and the CPU twin,
// tested on the CPU.
//
// A map is [rows i, keys j]. It is cut into tiles of 64 keys (anchored at key 0) and 64 rows
// (anchored at the first row of a stage's range). Memory holds a ring of rows: row i lies at slot i
// mod ring. In memory the tiles are of 16 rows (`MapShape`).
#pragma once

#include "lib/kernels/host_device.h"

namespace mta::kernels {

constexpr int kTileRows = 64;
constexpr int kTileKeys = 64;
constexpr int kProductRows = 2 * kTileRows;  // of a block that multiplies q, k or v: 32 a warp
constexpr int kFusedRows = 32;            // of a block that convolves and mixes all heads of a unit
constexpr int kMapRows = 16;              // of a tile in memory
constexpr int kGroupRows = kMapRows / 2;  // that a warp copies at a time where rows stream
constexpr int kChunk = 8;                 // keys in 16 bytes: the unit of loads and of column halos
constexpr int kSegmentKeys = 2 * kTileKeys;  // of the rows that a warp of a streamed convolution
constexpr int kLongestSegment = 256;         // walks, and how many rows these are at most
constexpr int kMixingWarps = 4;  // of a mixing block: each takes every fourth of its rows
constexpr int kMaxSumAhead = 3;  // tiles on their way to a block that sums over keys or rows
constexpr int kLagUnit = 16;     // lags of stages are multiples of the matrix unit's rows
constexpr int kMaxBlocks = 6;    // of a key window: c_k = 32 with the worst padding
constexpr int kBuiltBlocks[] = {2, 3, kMaxBlocks};  // that a convolution is built for
constexpr int kBuiltParts[] = {1, 2, 4};            // 16-head blocks that a mixing is built for

MTA_HOST_DEVICE constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
MTA_HOST_DEVICE constexpr int round_up(int a, int b) { return ceil_div(a, b) * b; }
MTA_HOST_DEVICE constexpr int min_of(int a, int b) { return a < b ? a : b; }
MTA_HOST_DEVICE constexpr int max_of(int a, int b) { return a > b ? a : b; }

/// Where an output of 8 neighbouring keys reads along the keys:
///
///   outputs                    j0 ........ j0+7
///   inputs    j0-halo [slack] j0-left ...................... j0-left+7+span-1 [zero weights]
///             |<-------------------- 8 * blocks columns ----------------------------------->|
struct KeyWindow {
  int left;    // zeros on the left side of the map: p forward, c_k-1-p backward
  int span;    // c_k
  int halo;    // columns loaded left of a tile: `left` rounded up to 8
  int slack;   // halo - left: the first column that an output may read
  int blocks;  // 8-column blocks that one block of 8 outputs reads
};

MTA_HOST_DEVICE constexpr KeyWindow key_window(int left, int span) {
  const int halo = round_up(left, kChunk);
  const int slack = halo - left;
  return {left, span, halo, slack, ceil_div(slack + kChunk - 1 + span, kChunk)};
}

/// Forward reads keys j-p+b; the transposed convolution reads j+p-b = j-(c_k-1-p)+(c_k-1-b).
MTA_HOST_DEVICE constexpr KeyWindow transposed(const KeyWindow& w) {
  return key_window(w.span - 1 - w.left, w.span);
}

/// Columns of a loaded tile: its own 64 and the window's halo on both sides.
MTA_HOST_DEVICE constexpr int loaded_columns(int blocks) {
  return kTileKeys + kChunk * (blocks - 1);
}

/// Row i's place in a ring of rows; i >= 0.
MTA_HOST_DEVICE constexpr int ring_slot(int row, int ring) { return row % ring; }
/// The same without a division for the first two times around, in more code.
MTA_HOST_DEVICE constexpr int early_ring_slot(int row, int ring) {
  return row < ring ? row : row < 2 * ring ? row - ring : row % ring;
}

constexpr int kMapTile = kMapRows * kTileKeys;  // numbers of a tile in memory, 2 KB
constexpr int kMapPieces = kMapTile / kChunk;   // the same in pieces of 16 bytes

/// How a map lies in memory: in tiles of 16 rows x 64 keys, each contiguous, row after row; tile
/// after tile along the keys; block after block of 16 rows. Where all rows of a map are kept, its
/// blocks have tiles up to their last row's diagonal and kMapRows - 1 keys past it, and no more:
///
///   block   tiles               block b has (b + 1) / 4 + 1
///   0 .. 2  0
///   3 .. 6  1  2
///   7 ..10  3  4  5   ...
struct MapShape {
  int blocks;  // of kMapRows rows
  int width;   // tiles of the first block
  int growth;  // 1: four blocks have a tile more than the four above them; 0: all have as many
  MTA_HOST_DEVICE constexpr int ring() const { return blocks * kMapRows; }
  /// The first tile of a block; of one past the last: all tiles.
  MTA_HOST_DEVICE constexpr int first_tile(int block) const {
    const int next = block + 1, fours = next >> 2;
    return block * width + growth * fours * (next - 2 * fours - 2);  // sum of b / 4 up to `block`
  }
  /// From a block's first tile to the next block's: its tiles.
  MTA_HOST_DEVICE constexpr int tiles_of(int block) const {
    return width + growth * ((block + 1) >> 2);
  }
  MTA_HOST_DEVICE constexpr int tiles() const { return first_tile(blocks); }
};
/// Of `rows` rows, or a few more.
MTA_HOST_DEVICE constexpr MapShape map_shape(int rows, int key_tiles, bool is_triangular) {
  return {ceil_div(rows, kMapRows), is_triangular ? 1 : key_tiles, is_triangular ? 1 : 0};
}

/// The tile of a key along the keys, also for keys before the first.
MTA_HOST_DEVICE constexpr int key_tile(int key) { return key >> 6; }
static_assert(kTileKeys == 1 << 6);
/// Where a key stands in a row of tiles, from the row's key 0 on.
MTA_HOST_DEVICE constexpr int key_place(int key) {
  return key_tile(key) * kMapTile + (key & (kTileKeys - 1));
}
/// Where a row, or its slot, stands in its block's tiles.
MTA_HOST_DEVICE constexpr int row_place(int row) { return (row & (kMapRows - 1)) * kTileKeys; }

/// Is (i, j) an entry of a causal map whose rows reach `reach` keys past the diagonal?
MTA_HOST_DEVICE constexpr bool in_map(int row, int key, int tokens, int reach) {
  return row >= 0 && row < tokens && key >= 0 && key < tokens && key <= row + reach;
}

/// How many 64-key tiles (from key 0) row `row` touches.
MTA_HOST_DEVICE constexpr int key_tiles(int row, int tokens, int reach) {
  return ceil_div(min_of(row + reach + 1, tokens), kTileKeys);
}

/// The same after rows are written: row i is written to the end of its last tile, so a reader may
/// load that much.
MTA_HOST_DEVICE constexpr int written_keys(int row, int tokens, int reach) {
  return key_tiles(row, tokens, reach) * kTileKeys;
}

struct RowRange {
  int begin, end;
  MTA_HOST_DEVICE constexpr int size() const { return end - begin; }
};

/// The transposed convolution of row i' reads rows i'..i'+c_q-1, so it runs `lag` rows behind its
/// input.
MTA_HOST_DEVICE constexpr int lag_of(int query_span) { return round_up(query_span - 1, kLagUnit); }

/// The rows of a stage that lags by `lag` while the chunk's own rows are [begin, end): the last
/// chunk catches up.
MTA_HOST_DEVICE constexpr RowRange lagged(RowRange chunk, int lag, int tokens) {
  return {max_of(chunk.begin - lag, 0), chunk.end >= tokens ? tokens : max_of(chunk.end - lag, 0)};
}

}  // namespace mta::kernels
