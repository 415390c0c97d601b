// Rows in shared memory whose 32-byte sectors are whole, for the products with q, k, v: how they
// are copied there, and how fragments are read from them.
//
// A copy asks L2 for a sector once only if it comes to lie in a sector of shared memory. So rows
// have no padding of 16 bytes; their sectors change places instead, so that the same sector of four
// rows in a row uses all 32 banks once.
#pragma once

#include "lib/kernels/map_view.cuh"

namespace mta::kernels {

/// Where numbers of rows of kColumns stand, in memory that begins at a multiple of 128 bytes.
template <int kColumns>
struct SectorRows {
  static_assert(kColumns % (2 * kSector) == 0);
  static constexpr int kBytes = kColumns * kNumberBytes;
  static constexpr bool kWholeLines = kColumns % (4 * kSector) == 0;  // of 128 bytes
  /// What is in an exclusive or with the columns of a row. Other rows than whole lines begin in
  /// other banks where they are odd.
  __device__ static int moved(int row) {
    return (kWholeLines ? (row & 1) * 2 * kSector : 0) ^ (row >> 1 & 1) * kSector;
  }
  __device__ static int place(int row, int column) {
    return row * kColumns + (column ^ moved(row));
  }
  /// The place whose sector number differs by an exclusive or with n, a constant: n sectors on from
  /// one in the first sector of a group that changes places.
  template <class Place>
  __device__ static Place further(const Place& place, int n) {
    constexpr int kGroup = kWholeLines ? 4 : 2;  // sectors that change places with each other
    return (place ^ static_cast<unsigned>(n % kGroup * kSectorBytes)) +
           n / kGroup * kGroup * kSectorBytes;
  }
  static constexpr int kSectorBytes = kSector * kNumberBytes;
};

/// 16 bytes of shared memory.
__device__ inline uint4 load_piece(const Number* piece) {
  return *reinterpret_cast<const uint4*>(piece);
}

/// kTokens x kDim numbers into SectorRows by kLoadThreads threads; zeros for tokens outside [0,
/// end). A thread keeps to one 16-byte column, so that whole tiles cost it one addition a copy.
template <int kDim, int kTokens = kTileRows>
__device__ void load_token_rows(Number* target, const HeadTokens& x, int first, int end,
                                int thread = static_cast<int>(threadIdx.x)) {
  constexpr int kChunks = kDim / kChunk, kLines = kLoadThreads / kChunks / 8 * 8;
  static_assert(kTokens % kLines == 0);
  const int line = thread / kChunks, column = thread % kChunks * kChunk;
  if (line >= kLines) return;  // lines are eights, so that the xor is one for all of a thread's
  const int place = SectorRows<kDim>::place(line, column);
  const auto copy = [&](int r, const Number* from, bool valid) {
    copy_async(target + r * kDim + place, from, valid);
  };
  if (first >= 0 && first + kTokens <= end) {
    const Number* from = x.first + column + (first + line) * x.stride;
#pragma unroll
    for (int r = 0; r < kTokens; r += kLines) {
      copy(r, from, true);
      from += kLines * x.stride;
    }
    return;
  }
#pragma unroll 1
  for (int r = 0; r < kTokens; r += kLines) {
    const int wanted = first + r + line, token = max(min(wanted, end - 1), 0);
    copy(r, x.first + column + token * x.stride, token == wanted);
  }
}

/// Where tiles of 64 rows stand that follow each other along the keys, each thread's piece of them.
struct MapStrip {
  const Number* first;  // of the first tile and the first 16 rows
  int step;             // numbers to the next 16 rows
  int whole;            // tiles whose rows are all written and lie at equal steps
};

/// A written map, read in 64x64 tiles from `first_row` >= 0 on, a multiple of kMapRows, by the
/// block's first kLoadThreads threads: each copies its piece of every 16 rows.
class WrittenMap {
 public:
  __device__ WrittenMap(const MapView& view, int map, int first_row, int end, int tokens, int reach)
      : pieces_(map_tiles(view, map) + static_cast<int>(threadIdx.x) * kChunk),
        blocks_(view, first_row),
        first_row_(first_row),
        end_(end),
        tokens_(tokens),
        reach_(reach) {}

  /// Of rows first_row + offset..; `offset` is a multiple of kTileRows, at most the ring's length.
  __device__ MapStrip strip(int offset) const {
    const int row = first_row_ + offset, block = offset / kMapRows;
    const bool has_steps =
        row + kTileRows <= end_ && blocks_.has_steps(block, kTileRows / kMapRows);
    return {pieces_ + tile_numbers(blocks_.shape.first_tile(blocks_.first + block)),
            blocks_.shape.tiles_of(blocks_.first + block) * kMapTile,
            has_steps ? key_tiles(row, tokens_, reach_) : 0};
  }
  /// Tile `tile` of a strip into SectorRows; zeros from row `end` on and past what a row has
  /// written.
  __device__ void load(Number* target, const MapStrip& strip, int offset, int tile) const {
    target += SectorRows<kTileKeys>::place(line(), column());
    if (tile < strip.whole) {
      const Number* source = strip.first + tile * kMapTile;
#pragma unroll
      for (int r = 0; r < kTileRows; r += kMapRows) {
        copy_async(target + r * kTileKeys, source, true);
        source += strip.step;
      }
      return;
    }
#pragma unroll 1
    for (int r = 0; r < kTileRows; r += kMapRows) {
      const int row = offset + r, own = first_row_ + row + line();
      const bool valid = own < end_ && tile < key_tiles(own, tokens_, reach_);
      const int from = blocks_.first_tile(row / kMapRows) + tile;
      copy_async(target + r * kTileKeys, pieces_ + (valid ? tile_numbers(from) : 0), valid);
    }
  }

  /// After the copy: turns this thread's pieces of M into causal softmax weights.
  template <class E>
  __device__ void finish_softmax(Number* tile, int offset, int first_key, const float* lse) const {
    Number* target = tile + SectorRows<kTileKeys>::place(line(), column());
#pragma unroll 2
    for (int r = 0; r < kTileRows; r += kMapRows) {
      const int row = first_row_ + offset + r + line(), causal = row + 1 - first_key - column();
      if (row >= end_) continue;
      uint4* piece = reinterpret_cast<uint4*>(target + r * kTileKeys);
      *piece = keep_first(softmax_weights<E>(*piece, lse[row] * kLog2e), causal);
    }
  }

 private:
  static constexpr int kChunks = kTileKeys / kChunk;
  static_assert(kLoadThreads * kChunk == kMapTile, "a thread has one piece of a tile in memory");
  __device__ static int line() { return static_cast<int>(threadIdx.x) / kChunks; }
  __device__ static int column() { return static_cast<int>(threadIdx.x) % kChunks * kChunk; }

  const Number* pieces_;
  MapBlocks blocks_;
  int first_row_, end_, tokens_, reach_;
};

/// Waits until at most `pending` of the latest groups of copies are still under way.
__device__ inline void wait_for_copies(int pending) {
  static_assert(kMaxSumAhead == 3);
  if (pending == 0) {
    wait_for_copies<0>();
  } else if (pending == 1) {
    wait_for_copies<1>();
  } else {
    wait_for_copies<2>();
  }
}

/// Walks tiles 0..tiles-1 with `stages` of them in shared memory, 2 to 4; all three are
/// called with a tile and its stage: load starts copies, finish may change what this thread copied,
/// use reads all of it. One barrier a tile: a stage is loaded again only after the barrier that
/// follows its last use. The first kStarted tiles have been started, in a group of copies each.
template <int kStarted = 0, class Load, class Finish, class Use>
__device__ inline void for_each_staged_tile(int stages, int tiles, Load&& load, Finish&& finish,
                                            Use&& use) {
#pragma unroll 1
  for (int tile = kStarted; tile < stages - 1; ++tile) {
    if (tile < tiles) load(tile, tile);
    commit_copies();
  }
  int free = stages - 1;  // the stage that nobody reads after the next barrier
  for (int tile = 0, stage = 0; tile < tiles; ++tile) {
    wait_for_copies(stages - 2);
    finish(tile, stage);
    __syncthreads();
    if (tile + stages - 1 < tiles) load(tile + stages - 1, free);
    commit_copies();
    use(tile, stage);
    free = stage;
    stage = stage + 1 == stages ? 0 : stage + 1;
  }
}

/// This lane's part of 16x16 squares of SectorRows<kColumns>, as four blocks of 8x8. Rows 4..7 of
/// each block come with the block of the neighbour columns, so that a block's rows use all banks;
/// lanes that have them exchange the two.
template <int kColumns, bool kByColumns>
class Squares {
 public:
  /// Of the 16 rows from `rows` on, and 32 columns or more from `column` on. kByColumns: blocks
  /// (rows 0.., columns 0..), (8.., 0..), (0.., 8..), (8.., 8..); else (0.., 0..), (0.., 8..),
  /// (8.., 0..), (8.., 8..).
  __device__ explicit Squares(const Number* rows, int column = 0)
      : first_(rows + (lane_offset() ^ column)) {}
  /// Columns 16 n.. of the rows `offset` bytes further.
  __device__ void load(Word (&r)[4], int n, int offset) const {
    SectorRows<kColumns>::further(first_, n).load_blocks(r, offset);
    exchange(r, lane_place().g >= 4);
  }
  /// The same, each block transposed.
  __device__ void load_transposed(Word (&r)[4], int n, int offset) const {
    SectorRows<kColumns>::further(first_, n).load_blocks_transposed(r, offset);
    exchange(r, lane_place().q >= 2);
  }

 private:
  __device__ static int lane_offset() {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, row = lane % 8;
    const int lower = kByColumns ? lane / 8 % 2 : lane / 16,
              right = kByColumns ? lane / 16 : lane / 8 % 2;
    return SectorRows<kColumns>::place(8 * lower + row, (right ^ row / 4) * kChunk);
  }
  __device__ static void exchange(Word (&r)[4], bool swapped) {
    constexpr int kOther = kByColumns ? 2 : 1;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      Word &x = r[kByColumns ? n : 2 * n], &y = r[(kByColumns ? n : 2 * n) + kOther];
      const Word kept = x;
      x = swapped ? y : x;
      y = swapped ? kept : y;
    }
  }

  SharedPlace first_;
};

}  // namespace mta::kernels
