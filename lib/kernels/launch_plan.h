// How a call's work is cut into chunks and blocks: numbers that change its speed and the order of
// its sums, nothing else.
#pragma once

#include "lib/kernels/tile_plan.h"

namespace mta::kernels {

/// 0 leaves a number to the kernels, which choose by the rows of a chunk: `filled`. Keys are
/// multiples of 64, up to kMaxStripKeys.
struct LaunchPlan {
  int chunk_rows = 0;  ///< most rows of a chunk, a multiple of 64; 0: what the workspace holds
  int score_keys = 0;  ///< keys that a block of S or dA walks, with its rows in registers
  int convolution_keys = 0;  ///< the same of a convolution; backward it then writes its sums
  int mixing_keys = 0;       ///< the same of a mixing
  int mixing_rows = 0;       ///< rows of a mixing block, a multiple of 4, up to kMaxMixingRows
  int fused_heads = 0;       ///< fewest heads of a mixing block that is fused with the convolution
                             ///< before it, up to kNeverFused
  int sum_parts = 0;  ///< blocks that share the keys of a weighted sum's rows, up to kMaxSumParts
  int sum_ahead = 0;  ///< tiles on their way to a block of a sum while it uses one, up to
                      ///< kMaxSumAhead and what fits; 0: by how many blocks there are
};
constexpr int kMaxStripKeys = 4096;
constexpr int kMaxMixingRows = 64;
constexpr int kNeverFused = 17;  // a mixing block has 16 heads
constexpr int kMaxSumParts = 16;

/// Rows of a chunk from which there are blocks for all multiprocessors even when each does more.
constexpr int kLongChunk = 1024;

/// The plan of chunks of `rows` rows. Long strips write fewer sums and fill their pipeline less
/// often: with strips of 512 keys in place of 256 a convolution before the softmax, forward and
/// backward, took 2.48 ms in place of 2.54 in long chunks (H200, B4 H16 T2048 d64 6x11, 2 GiB), and
/// more in chunks of 64 to 512 rows.
MTA_HOST_DEVICE constexpr LaunchPlan filled(LaunchPlan plan, int rows) {
  const bool is_long = rows >= kLongChunk;
  if (plan.score_keys == 0) plan.score_keys = 512;
  if (plan.convolution_keys == 0) plan.convolution_keys = is_long ? 512 : 256;
  if (plan.mixing_keys == 0) plan.mixing_keys = 256;
  if (plan.mixing_rows == 0) plan.mixing_rows = is_long ? 16 : 8;
  if (plan.fused_heads == 0) plan.fused_heads = kNeverFused / 2 + 1;  // a block more than half full
  return plan;
}

/// Blocks that share the keys of a weighted sum of `rows` rows of `maps` maps: where those of all
/// rows would leave most of a card idle, while each goes through a long row alone.
MTA_HOST_DEVICE constexpr int sum_parts(int maps, int rows, int key_tiles) {
  constexpr int kEnough = 640, kFewest = 3, kLeastTiles = 16;  // blocks, parts, tiles of a part
  const int parts = min_of(kEnough / max_of(maps * ceil_div(rows, kProductRows), 1),
                           min_of(key_tiles / kLeastTiles, kMaxSumParts));
  return parts < kFewest ? 1 : parts;
}

/// Rows that a warp walks down a column of keys, of a chunk of `rows` with `columns` in all its
/// maps: a segment reads up to eight rows more and fills its pipeline, but half of rows x columns
/// are causal, and the card should have `enough` warps.
MTA_HOST_DEVICE constexpr int segment_rows(int rows, int columns, int shortest, int enough) {
  int segment = kLongestSegment;
  while (segment > shortest && static_cast<long long>(rows) * columns < 2LL * segment * enough) {
    segment /= 2;
  }
  return segment;
}
/// Of the streamed convolution's backward, columns of 128 keys: several warps for each place that
/// the card has.
MTA_HOST_DEVICE constexpr int streamed_rows(int rows, int columns) {
  return segment_rows(rows, columns, 64, 2560);
}
/// Of its forward: a warp is done sooner, and the last ones run alone.
MTA_HOST_DEVICE constexpr int walked_rows(int rows, int columns) {
  return segment_rows(rows, columns, 32, 6000);
}

}  // namespace mta::kernels
