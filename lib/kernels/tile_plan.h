// Index arithmetic of tiles, halos, rings and chunks: shared by the kernels and the CPU twin,
// tested on the CPU.
//
// A map is [rows i, keys j]. It is cut into tiles of 64 keys (anchored at key 0) and 64 rows
// (anchored at the first row of a stage's range). Memory holds a ring of rows: row i lies at slot i
// mod ring.
#pragma once

#include "lib/kernels/host_device.h"

namespace mta::kernels {

constexpr int kTileRows = 64;
constexpr int kTileKeys = 64;
constexpr int kProductRows = 2 * kTileRows;  // of a block that multiplies q, k or v: 32 a warp
constexpr int kFusedRows = 32;   // of a block that convolves and mixes all heads of a unit
constexpr int kChunk = 8;        // keys in 16 bytes: the unit of loads and of column halos
constexpr int kMixingWarps = 4;  // of a mixing block: each takes every fourth of its rows
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
/// The same without a division for the first two times around, of more instructions in all.
MTA_HOST_DEVICE constexpr int early_ring_slot(int row, int ring) {
  return row < ring ? row : row < 2 * ring ? row - ring : row % ring;
}

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
