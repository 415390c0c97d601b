// Shared memory that a block of each kernel takes, by formula: used by the kernels, and to tell
// what fits on a card.
#pragma once

#include "lib/kernels/tile_plan.h"

#include <string>
#include <vector>

namespace mta::kernels {

constexpr int kNumberBytes = 2;  // of fp16 and bf16
constexpr int kWordBytes = 4;    // of two of them, and of fp32

/// The least that any covered card gives a block: compute capability 8.6 and 8.9, 99 KB.
constexpr int kLeastSharedBytes = 99 * 1024;

constexpr int kStagePitch =
    kTileKeys + 8;  // a shared row of 64 numbers, padded so that 8 rows hit 8 banks
constexpr int kTileNumbers = kTileRows * kStagePitch;

/// Do `blocks` of them fit on a multiprocessor that gives one block `shared_bytes`? Each block
/// costs 1 KB more than it asks for.
MTA_HOST_DEVICE constexpr bool blocks_fit(int blocks, int bytes, int shared_bytes) {
  constexpr int kReserved = 1024;
  return blocks * (bytes + kReserved) <= shared_bytes + kReserved;
}

/// Pads a row of `columns` numbers to an odd number of 16-byte pieces: eight rows then use all 32
/// banks once.
MTA_HOST_DEVICE constexpr int tile_pitch(int columns) {
  return columns / kChunk % 2 == 0 ? columns + kChunk : columns;
}

// --- products with q, k, v; `dim` is the head size ---

/// 64 tokens, and 64x64 numbers of a map, in SectorRows (sector_rows.cuh).
MTA_HOST_DEVICE constexpr int token_rows_numbers(int dim) { return kTileKeys * dim; }
constexpr int kMapRowsNumbers = kTileRows * kTileKeys;

/// Stages of keys; with dots, of 128 rows by 64 keys of M, too.
constexpr int kScoreStages = 3;
MTA_HOST_DEVICE constexpr int scores_shared_bytes(int dim, bool dots) {
  return kNumberBytes * kScoreStages * (token_rows_numbers(dim) + (dots ? 2 * kMapRowsNumbers : 0));
}

/// A stage of a sum: 128 rows by 64 keys of the map, or 64 rows by 128 keys as two tiles, and 64
/// tokens.
MTA_HOST_DEVICE constexpr int sum_stage_numbers(int dim) {
  return 2 * kMapRowsNumbers + token_rows_numbers(dim);
}
/// With `ahead` tiles on their way while one is used.
MTA_HOST_DEVICE constexpr int sum_shared_bytes(int dim, int ahead) {
  return kNumberBytes * (ahead + 1) * sum_stage_numbers(dim);
}
/// The most tiles ahead with which `blocks` fit on a multiprocessor that gives one block
/// `shared_bytes`, but at least one.
MTA_HOST_DEVICE constexpr int most_sum_ahead(int dim, int blocks, int shared_bytes) {
  int ahead = kMaxSumAhead;
  while (ahead > 1 && !blocks_fit(blocks, sum_shared_bytes(dim, ahead), shared_bytes)) --ahead;
  return ahead;
}

// --- kq convolution; `blocks` of 8 columns in the key window that a kernel is built for ---

/// A head's Toeplitz band for one query offset: word n holds the taps n-14 and n-13, zero outside
/// 0..c_k-1.
MTA_HOST_DEVICE constexpr int table_words(int blocks) { return 8 * blocks + 16; }

/// A tile with its halo.
MTA_HOST_DEVICE constexpr int halo_tile_numbers(int blocks, int query_span) {
  return (kTileRows + query_span - 1) * tile_pitch(loaded_columns(blocks));
}

/// Two tiles, the stages of the stores, the head's tables, lse of the tile's rows.
MTA_HOST_DEVICE constexpr int convolution_shared_bytes(int blocks, int query_span) {
  return kNumberBytes * (2 * halo_tile_numbers(blocks, query_span) + kTileNumbers) +
         kWordBytes * (query_span * table_words(blocks) + kTileRows + query_span - 1);
}

/// Query offsets whose kernel gradients one block holds in registers, a warp every
/// kGradientWarps-th of them over kGradientRows rows of a tile: kernel_sum_differences sums of 16x8
/// each.
MTA_HOST_DEVICE constexpr int offsets_a_block(int blocks) { return blocks <= 3 ? 6 : 4; }
constexpr int kGradientWarps = 2, kGradientRows = kTileRows / 2;
MTA_HOST_DEVICE constexpr int kernel_sum_differences(int blocks) { return blocks + 1; }

/// One stage: a tile of dY with its halo, and the block's own tile of X.
MTA_HOST_DEVICE constexpr int backward_stage_numbers(int blocks, int query_span) {
  return halo_tile_numbers(blocks, query_span) + kTileNumbers;
}
/// Before the tables: two stages; the sums of all four warps take their place at the end.
MTA_HOST_DEVICE constexpr int backward_tile_bytes(int blocks, int query_span) {
  const int sums = kWordBytes * offsets_a_block(blocks) * (kTileRows / kGradientRows) *
                   kernel_sum_differences(blocks) * 16 * 8;
  return max_of(2 * kNumberBytes * backward_stage_numbers(blocks, query_span), sums);
}
MTA_HOST_DEVICE constexpr int convolution_backward_shared_bytes(int blocks, int query_span) {
  return backward_tile_bytes(blocks, query_span) +
         kWordBytes * (query_span * table_words(blocks) + kTileRows);
}

// --- the same where rows stream through a warp ---

/// Query offsets whose sums and bands a warp has in registers, and blocks of the key window: also
/// of the convolution with mixing where its rows stream.
constexpr int kMaxStreamedSpan = 6, kMaxStreamedBlocks = 3;
/// Can rows stream, by these numbers?
MTA_HOST_DEVICE constexpr bool rows_fit_a_warp(int query_span, const KeyWindow& window) {
  return query_span <= kMaxStreamedSpan && window.blocks <= kMaxStreamedBlocks;
}
constexpr int kStreamWarps = 4;  // of a block, a map each
constexpr int kStreamThreads = 32 * kStreamWarps;
/// A warp's ring backward: slots of eight rows, the one before, the present one and those on their
/// way; in a slot X's rows, then dY's. A row of 128 keys has room before it, for its left halo and
/// the right halo of the row before, so that its own keys stand at whole 32-byte sectors. Where dY
/// is made of M and dP the ring is followed by M's rows, of the present slot and the next.
MTA_HOST_DEVICE constexpr int ring_groups(bool with_mixed) { return with_mixed ? 3 : 4; }
constexpr int kHaloRoom = (kMaxStreamedBlocks - 1) * kChunk;
constexpr int kRingPitch = kSegmentKeys + kHaloRoom;
constexpr int kSlotNumbers = 2 * kGroupRows * kRingPitch + kHaloRoom;
constexpr int kMixedGroups = ring_groups(true) - 1;
constexpr int kMixedNumbers = kMixedGroups * kGroupRows * kRingPitch + kHaloRoom;
MTA_HOST_DEVICE constexpr int stream_numbers(bool with_mixed) {
  return ring_groups(with_mixed) * kSlotNumbers + (with_mixed ? kMixedNumbers : 0);
}
/// Groups from a segment's first on that are asked for: its own, and what the ring runs ahead.
constexpr int kStreamGroups = kLongestSegment / kGroupRows + ring_groups(false);
/// What each warp has, which its sums follow, and the places of groups.
MTA_HOST_DEVICE constexpr int streamed_shared_bytes(bool with_mixed) {
  constexpr int kSums = kWordBytes * kMaxStreamedSpan * 8 * kMaxStreamedBlocks * 8;
  static_assert(kSums <= kNumberBytes * stream_numbers(false));
  return kStreamWarps * kNumberBytes * stream_numbers(with_mixed) + kWordBytes * kStreamGroups;
}

/// Forward a warp's ring has groups of rows, each 128 keys with their halo in whole 32-byte
/// sectors: the one before, the present one and two on their way.
constexpr int kWalkWarps = 4;  // of a block, a map each
constexpr int kWalkThreads = 32 * kWalkWarps;
constexpr int kWalkGroups = 4;
constexpr int kWalkPitch = kSegmentKeys + (kMaxStreamedBlocks - 1) * kChunk;
MTA_HOST_DEVICE constexpr int walk_numbers(int groups) {
  return groups * kGroupRows * kWalkPitch + 2 * kChunk;
}
constexpr int kWalkNumbers = walk_numbers(kWalkGroups);
MTA_HOST_DEVICE constexpr int walked_shared_bytes() {
  return kWalkWarps * kNumberBytes * kWalkNumbers;
}

// --- forward in one pass ---

constexpr int kOnePassRows = kTileRows + 16;  // of scores: c_q-1 above the outputs, of 16 at a time
constexpr int kMaxOnePassBlocks = 3;          // of the key window

/// 64 tokens in rows of dim + 8 numbers.
MTA_HOST_DEVICE constexpr int token_numbers(int dim) { return kTileKeys * (dim + 8); }

/// The queries and their scores with a tile of keys, a tile of keys and one of values, the head's
/// table.
MTA_HOST_DEVICE constexpr int one_pass_shared_bytes(int dim, int blocks, int query_span) {
  return kNumberBytes * (kOnePassRows * (dim + 8 + tile_pitch(loaded_columns(blocks))) +
                         2 * token_numbers(dim)) +
         kWordBytes * query_span * table_words(blocks);
}

// --- backward in one pass ---

constexpr int kMaxBackwardSpan = 6;  // c_q: the kernel's gradient stays in registers
/// Lines of a score tile: warps read up to c_q-1 lines past their own.
constexpr int kScoreLines = kOnePassRows + kMaxBackwardSpan - 1;
/// Keys of a tile: two blocks must fit on a multiprocessor.
MTA_HOST_DEVICE constexpr int one_pass_backward_keys(int dim) { return dim <= 64 ? 64 : 32; }
constexpr int kLogitRowBytes = 16;  // what is known of a row of the logits
/// The rows of q and of the output's gradient, three tiles of keys and values, two of scores and
/// one of the logits' gradient, each with 16 more keys in front, the logits' rows, the head's two
/// tables.
MTA_HOST_DEVICE constexpr int one_pass_backward_shared_bytes(int dim, int query_span) {
  const int keys = one_pass_backward_keys(dim);
  return kNumberBytes * ((2 * kOnePassRows + 3 * keys) * (dim + 8) +
                         (2 * kScoreLines + kOnePassRows) * tile_pitch(keys + 16)) +
         kOnePassRows * kLogitRowBytes + 2 * kWordBytes * query_span * table_words(3);
}

// --- a kq convolution and the head mixing after it, in one kernel ---

constexpr int kUnitHeads = 16;      // of a mixing block
constexpr int kFusedBlocks = 2;     // at a time on a multiprocessor: one alone waits at its barrier
constexpr int kMaxFusedBlocks = 3;  // of the key window

constexpr int kSector = 16;  // numbers in 32 bytes: what L2 is asked for

/// Numbers from one head's tile to the next's: room to begin one 16-byte piece later, and an odd
/// number of sectors, so that one row of four heads uses all 32 banks once.
MTA_HOST_DEVICE constexpr int fused_head_numbers(int blocks, int query_span) {
  const int numbers = (kFusedRows + query_span - 1) * loaded_columns(blocks) + kChunk;
  return (ceil_div(numbers, kSector) | 1) * kSector;
}
/// Where a tile begins whose first column is `halo` keys left of a multiple of 64: so that a sector
/// of a map is a sector of shared memory, as a copy fetches it twice otherwise. (Rows of 80 numbers
/// are whole sectors, of 72 only every second one is.)
MTA_HOST_DEVICE constexpr int fused_lead(int halo) { return halo % kSector == 0 ? 0 : kChunk; }
/// Where a convolved row begins in its row of the tile: one row of eight heads then uses all banks.
/// Not before the tile, where the row above still has its last piece.
MTA_HOST_DEVICE constexpr int convolved_lead(int head) { return head / 4 % 2 * kChunk; }
MTA_HOST_DEVICE constexpr int fused_shared_bytes(int blocks, int query_span) {
  return kNumberBytes * kUnitHeads * fused_head_numbers(blocks, query_span);
}
/// Do kFusedBlocks fit on a multiprocessor that gives one block `shared_bytes`?
MTA_HOST_DEVICE constexpr bool fused_stages_fit(int blocks, int query_span, int shared_bytes) {
  if (blocks > kMaxFusedBlocks) return false;
  return blocks_fit(kFusedBlocks, fused_shared_bytes(blocks <= 2 ? 2 : kMaxFusedBlocks, query_span),
                    shared_bytes);
}
/// Forward, where rows stream: each head has a warp's ring, and two places for what a step leaves:
/// convolved rows, a piece longer than they are, so that one row of eight heads uses all banks; the
/// row statistics of each tile, a number of each row, and one more for the same reason.
constexpr int kConvolvedNumbers = kGroupRows * kSegmentKeys + kChunk;
MTA_HOST_DEVICE constexpr int unit_walk_numbers(int groups) {
  return kUnitHeads * (walk_numbers(groups) + 2 * kConvolvedNumbers);
}
constexpr int kUnitWalkNumbers = unit_walk_numbers(kWalkGroups);
constexpr int kStepPartials = kGroupRows + 1;
MTA_HOST_DEVICE constexpr int unit_walk_shared_bytes() {
  constexpr int kPartialBytes = 8;
  return kNumberBytes * kUnitWalkNumbers +
         2 * (kSegmentKeys / kTileKeys) * kUnitHeads * kStepPartials * kPartialBytes;
}
/// Backward a ring has a group less, and behind the convolved rows each warp has a row of dA, of
/// all heads in a key tile, on its way; the block has the fragments of W and of its transpose.
constexpr int kUnmixGroups = kWalkGroups - 1;
constexpr int kRowNumbers = kUnitHeads * kTileKeys;
constexpr int kFragmentNumbers = 32 * kChunk;
constexpr int kUnmixNumbers = unit_walk_numbers(kUnmixGroups);
MTA_HOST_DEVICE constexpr int unmix_walk_shared_bytes() {
  return kNumberBytes * (kUnmixNumbers + kUnitHeads * kRowNumbers + 2 * kFragmentNumbers);
}
/// The largest query span that does; 0: none.
int fused_query_span(int blocks, int shared_bytes);

// --- head mixing; `pieces` of 16 bytes that a lane holds of a tile ---

/// Backward before softmax dP and C, of wide groups M, after it R and dA, forward one map: four
/// pieces a map and part.
MTA_HOST_DEVICE constexpr int mixing_shared_bytes(int pieces, int stages) {
  return stages * pieces * kMixingWarps * 32 * 16;
}
/// Tiles of a lane's pieces in shared memory: the next one is on its way where two fit.
MTA_HOST_DEVICE constexpr int mixing_stages(int pieces, int shared_bytes) {
  return mixing_shared_bytes(pieces, 2) <= shared_bytes ? 2 : 1;
}

/// The same where no convolution stands beside the mixing: a lane holds S, backward also dA. The
/// forward kernels do little with a tile, so more of them are on their way.
constexpr int kAloneForwardStages = 4, kAloneBackwardStages = 2;
/// Tables of a number of each head in the block's rows: lse, backward also the dots.
MTA_HOST_DEVICE constexpr int alone_table_bytes(int tables, int rows) {
  return tables * rows * kUnitHeads * kWordBytes;
}

/// A kernel, at its largest spans, and the bytes that it takes on a card which gives a block
/// `shared_bytes`.
struct SharedMemoryRow {
  std::string kernel;
  int bytes;
};
std::vector<SharedMemoryRow> shared_memory_table(int shared_bytes);

}  // namespace mta::kernels
