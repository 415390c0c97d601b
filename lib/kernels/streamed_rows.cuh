// Rows on their way through a warp of the streamed convolution: copied to its ring in shared
// memory, masked and made weights there, and written.
#pragma once

#include "lib/kernels/map_view.cuh"
#include "lib/kernels/warp_sums.cuh"

#include <type_traits>

namespace mta::kernels {

/// Three steps of two rows: after them every place of StreamSums stands for the same rows again.
constexpr int kGroupSteps = 3, kGroupRows = 2 * kGroupSteps;
/// Groups in the ring: the one before (X of the rows that are being completed), the present one,
/// and two on their way.
constexpr int kRingRows = kRingGroups * kGroupRows;
static_assert(kRingGroups == 4 && kGroupRows == kRingGroupRows);

/// What a warp has to do: rows first_row..end_row-1 of one key tile.
struct StreamSegment {
  int map, tile, first_key, first_row, end_row;
};

/// Where rows lie in the maps of a launch, which all have one shape: a table for a block's segment
/// of rows, in pieces of 16 bytes from the map's begin on. With map_column all that knows how maps
/// lie in memory.
class RowPlaces {
 public:
  /// `table` has room for kStreamRows; the block meets before it is used.
  __device__ RowPlaces(const MapView& view, int first_row, unsigned* table)
      : row_0_(table - first_row) {
    const MapBlocks blocks(view, first_row);
    for (int n = static_cast<int>(threadIdx.x); n < kStreamRows; n += kStreamThreads) {
      const int row = first_row + n,
                tile = blocks.first_tile(row / kMapRows - first_row / kMapRows);
      table[n] =
          static_cast<unsigned>(tile) * kMapPieces + static_cast<unsigned>(row_place(row) / kChunk);
    }
  }
  /// The place in `row` that `column` is in row 0 of the map; `row` is among those of the table.
  template <class Place>
  __device__ Place* operator()(Place* column, int row) const {
    constexpr std::size_t kPieceBytes = kChunk * kNumberBytes;
    return column + row_0_[row] * (kPieceBytes / sizeof(Place));
  }

 private:
  const unsigned* row_0_;
};
__device__ inline Number* map_column(const MapView& view, int map, int key) {
  return map_tiles(view, map) + key_place(key);
}

/// Numbers from a row's begin in the ring: X, then dY from its left halo on, so that the tile's own
/// keys of both stand at whole 32-byte sectors.
__device__ inline int ring_d_y(int halo) { return kTileKeys + halo / kChunk % 2 * kChunk; }

/// Where the lanes of a warp load fragments, as offsets from the first of two rows.
struct StreamLanes {
  int windows;  // dY: (row, block) = (0, 0), (1, 0), (0, 1), (1, 1)
  int columns;  // dY, to be transposed: (0, 0), (0, 1), (1, 0), (1, 1)
  int third_blocks;
  int d_y;
  __device__ explicit StreamLanes(int halo) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, piece = lane % 8 * kChunk,
              block = lane / 8;
    d_y = ring_d_y(halo);
    windows = block % 2 * kRingPitch + d_y + piece + block / 2 * kChunk;
    columns = block / 2 * kRingPitch + d_y + piece + block % 2 * kChunk;
    third_blocks = (block / 2 + block % 2 - 2) * kRingPitch + d_y + piece + 2 * kChunk;
  }
  /// X of rows 0, 1, by lanes 0..15.
  __device__ int keys() const { return windows - d_y; }
  /// The first two blocks of rows -1 and 0, to be transposed; the rows before the first stand
  /// before `above`.
  __device__ const Number* odd_columns(const Number* rows, const Number* above) const {
    return (static_cast<int>(threadIdx.x) % kWarp < 16 ? above : rows) + columns - kRingPitch;
  }
  /// Third blocks of rows -2, -1, -1, 0.
  __device__ const Number* third(const Number* rows, const Number* above) const {
    return (static_cast<int>(threadIdx.x) % kWarp < 24 ? above : rows) + third_blocks;
  }
};

/// Starts the copies of six rows of X and dY: 16-byte pieces, zeros outside the map.
template <int kBlocks>
class StreamCopies {
 public:
  __device__ StreamCopies(const ConvolutionBackwardArgs& args, const StreamSegment& segment,
                          const RowPlaces& places, Number* ring)
      : args_(args),
        segment_(segment),
        places_(places),
        tile_(map_column(is_x() ? args.source : args.d_output, segment.map,
                         segment.first_key + tile_key()) +
              tile_row() * kTileKeys),
        halo_(map_column(args.d_output, segment.map, max(halo_key(), 0))),
        tile_target_(ring + tile_row() * kRingPitch + tile_key() +
                     (is_x() ? 0 : ring_d_y(args.window.halo) + args.window.halo)),
        halo_target_(ring + halo_row() * kRingPitch + ring_d_y(args.window.halo) + halo_column()) {}

  /// Rows row..row+5, the first an even number of rows below the segment's, to places place.. of
  /// the ring.
  __device__ void start(int row, int place) const {
    const int first_key = segment_.first_key,
              whole_from =
                  first_key == 0 ? segment_.end_row : first_key + kTileKeys + kHalo * kChunk;
    const bool whole = row >= whole_from && row + kGroupRows <= segment_.end_row;
    if (whole) {
      copy_rows(row, place, [](int, int, int) { return true; });
    } else {
      copy_rows(row, place,
                [](int own, int key, int end) { return key >= 0 && own >= key && own < end; });
    }
    commit_copies();
  }

 private:
  static constexpr int kHalo = kBlocks - 1;  // pieces of a row left and right of the tile
  /// Made anew where it is used, as most of what follows from it is only at the edges.
  __device__ static int lane() { return in_register(static_cast<int>(threadIdx.x)) % kWarp; }
  // Lanes 0-15 copy a tile of dY, 16-31 of X: eight pieces of two rows.
  __device__ static bool is_x() { return lane() >= 16; }
  __device__ static int tile_row() { return lane() / 8 % 2; }
  __device__ static int tile_key() { return lane() % 8 * kChunk; }
  // The first lanes copy what lies beside dY's tile, for six rows.
  __device__ static int halo_row() { return lane() / kHalo; }
  __device__ int halo_column() const {
    const int column = lane() % kHalo * kChunk;
    return column < args_.window.halo ? column : column + kTileKeys;
  }
  __device__ int halo_key() const { return segment_.first_key - args_.window.halo + halo_column(); }
  template <class Has>
  __device__ void copy_rows(int row, int place, Has&& has) const {
    constexpr int kRowBytes = kRingPitch * kNumberBytes;
#pragma unroll
    for (int r = 0; r < kGroupRows; r += 2) {
      tile_target_.copy_async((place + r) * kRowBytes, places_(tile_, row + r),
                              has(row + r + tile_row(), segment_.first_key + tile_key(),
                                  is_x() ? segment_.end_row : end_of_output()));
    }
    if (lane() >= kGroupRows * kHalo) return;
    halo_target_.copy_async(place * kRowBytes, places_(halo_, row + halo_row()),
                            has(row + halo_row(), halo_key(), end_of_output()));
  }
  /// Rows that dY has: past these are a later chunk's, whose memory still holds older ones.
  __device__ int end_of_output() const {
    return min(args_.extent.rows.end + args_.query_span - 1, args_.extent.tokens);
  }

  const ConvolutionBackwardArgs& args_;
  const StreamSegment& segment_;
  const RowPlaces& places_;
  Number *tile_, *halo_;
  SharedPlace tile_target_, halo_target_;
};

/// Fills rows of the ring with zeros.
__device__ inline void clear_rows(Number* rows, int count) {
  for (int n = static_cast<int>(threadIdx.x) % kWarp; n < count * kRingPitch / kChunk; n += kWarp) {
    reinterpret_cast<uint4*>(rows)[n] = {};
  }
  __syncwarp();
}

/// Zeroes what lies past the diagonal in six rows of the ring, the first of them `row` rows below
/// the tile's first key.
template <int kBlocks>
__device__ void mask_rows(Number* rows, int row, int halo) {
  constexpr int kColumns = loaded_columns(kBlocks);
  const int lane = in_register(static_cast<int>(threadIdx.x)) % kWarp;
  __syncwarp();
#pragma unroll 1
  for (int r = 0; r < kGroupRows; ++r) {
#pragma unroll 1
    for (int column = 2 * lane; column < kTileKeys + kColumns; column += 2 * kWarp) {
      const bool is_x = column < kTileKeys;
      const int key = is_x ? column : column - kTileKeys - halo;
      Number* place = rows + r * kRingPitch + (is_x ? column : key + halo + ring_d_y(halo));
      Word& word = *reinterpret_cast<Word*>(place);
      word = keep_pair(word, key <= row + r, key < row + r);
    }
  }
}

/// Where dX goes: word `lane` of a row's 64 keys.
class StreamTarget {
 public:
  __device__ StreamTarget(const ConvolutionBackwardArgs& args, const StreamSegment& segment,
                          const RowPlaces& places)
      : segment_(segment),
        places_(places),
        column_(reinterpret_cast<Word*>(map_column(args.target, segment.map, segment.first_key)) +
                static_cast<int>(threadIdx.x) % kWarp) {}
  /// Are six rows all of the segment?
  __device__ bool holds(int row) const {
    return row >= segment_.first_row && row + kGroupRows <= segment_.end_row;
  }
  /// Two rows; unless `plain`, what is past the diagonal becomes zero, and rows may not be of the
  /// segment.
  __device__ void store(Word (&done)[2], int row, bool plain) const {
    if (plain) {
      *places_(column_, row) = done[0];
      *places_(column_, row + 1) = done[1];
    } else {
      store_inside(done, row);
    }
  }

 private:
  __device__ void store_inside(Word (&done)[2], int row) const {
    const int lane = in_register(static_cast<int>(threadIdx.x)) % kWarp,
              key = segment_.first_key + 2 * lane;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int own = row + r;
      done[r] = keep_pair(done[r], key <= own, key < own);
      if (own >= segment_.first_row && own < segment_.end_row) *places_(column_, own) = done[r];
    }
  }

  const StreamSegment& segment_;
  const RowPlaces& places_;
  Word* column_;
};

/// Calls `run` for the steps of a group, as compile-time numbers.
template <class Run>
__device__ inline void for_each_step(Run&& run) {
  run(std::integral_constant<int, 0>{});
  run(std::integral_constant<int, 1>{});
  run(std::integral_constant<int, 2>{});
}

/// P = exp(M - lse) in the place of M, and the partial dots of P dP.
template <class E>
class StreamWeights {
 public:
  __device__ StreamWeights(const ConvolutionBackwardArgs& args, const StreamSegment& segment)
      : args_(args), segment_(segment), next_lse_(lse_of(segment.first_row)) {}

  /// In rows row.. of the ring, which must be asked for in order.
  __device__ void make(Number* rows, int row) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const float lse2 = next_lse_ * kLog2e;
    next_lse_ = lse_of(row + kGroupRows);
#pragma unroll
    for (int r = 0; r < kGroupRows; r += 2) {
      const float own = __shfl_sync(0xFFFFFFFFu, lse2, r + lane / 16);
      auto* words = reinterpret_cast<uint2*>(rows + (r + lane / 16) * kRingPitch) + lane % 16;
      const uint2 m = *words;
      *words = {weight_pair<E>(m.x, own), weight_pair<E>(m.y, own)};
    }
  }

  /// This lane's part of the dots of two completed rows, at places place, place + 1 of the ring
  /// (one ring's length less where negative): even lanes of bit 16 the first row's.
  __device__ float dots(const Word (&done)[2], const Number* ring, int place) const {
    float sums[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int at = place + r < 0 ? place + r + kRingRows : place + r;
      const float2 p = unpack<E>(reinterpret_cast<const Word*>(
                       ring + at * kRingPitch)[static_cast<int>(threadIdx.x) % kWarp]),
                   d = unpack<E>(done[r]);
      sums[r] = p.x * d.x + p.y * d.y;
    }
    return exchange_sum(sums[0], sums[1], 16);
  }

  /// Of a group's three steps, rows from `row` on.
  __device__ void store_dots(const float (&parts)[3], int row) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const float third = parts[2] + __shfl_xor_sync(0xFFFFFFFFu, parts[2], 8);
    float sum = exchange_sum(exchange_sum(parts[0], parts[1], 8), third, 4);
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 2);
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 1);
    const int step = (lane & 4) != 0 ? 2 : lane / 8 % 2, own = row + 2 * step + lane / 16;
    const bool twice = (lane & 12) == 12;  // the third step's sums lie in two lanes
    if (lane % 4 != 0 || twice || own < segment_.first_row || own >= segment_.end_row) return;
    args_.dots.partials[args_.dots.index(segment_.map, own, segment_.tile)] = sum;
  }

 private:
  /// Of row `row` + lane; infinite, so that weights are 0, past the segment.
  __device__ float lse_of(int row) const {
    const int own = row + static_cast<int>(threadIdx.x) % kWarp % 8;
    return own < segment_.end_row ? args_.lse[segment_.map * args_.extent.tokens + own] : INFINITY;
  }

  const ConvolutionBackwardArgs& args_;
  const StreamSegment& segment_;
  float next_lse_;  // on its way: what is made of it waits for it
};

}  // namespace mta::kernels
