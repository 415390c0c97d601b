// Rows on their way through a warp of the convolution that walks down them: copied to its ring in
// shared memory, masked and made weights there, and written with what is known of them.
#pragma once

#include "lib/kernels/group_places.cuh"
#include "lib/kernels/kept_weights.cuh"
#include "lib/kernels/toeplitz.cuh"
#include "lib/kernels/warp_sums.cuh"

namespace mta::kernels {

/// Where eight rows begin in the maps of a launch, which all have one shape: in pieces of 16 bytes
/// from the map's key 0 on.
class WalkPlaces {
 public:
  /// From row `begin` on.
  __device__ WalkPlaces(const MapView& view, int begin)
      : blocks_(view, begin), first_(begin / kMapRows) {}
  /// Kept in a register, where the compiler would keep what it is made from, which takes more.
  __device__ unsigned operator()(int row) const {
    const int block = row / kMapRows - first_;
    return static_cast<unsigned>(
        in_register(blocks_.first_tile(block) * kMapPieces + row_place(row) / kChunk));
  }

 private:
  MapBlocks blocks_;
  int first_;
};

/// Where a lane loads fragments, from a row's first loaded key on: of windows 0-7, of 8-15, of both
/// one block on; the third blocks of windows 0-7 and 8-15, then of the row above.
__device__ inline int walked_windows() {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  return (lane % 16 + lane / 16) * kChunk;
}
__device__ inline int walked_thirds() {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  return (lane % 16 + 2) * kChunk - lane / 16 * kWalkPitch;
}

/// A lane's pieces of eight rows: one of each second row of the tiles, and the first lanes have one
/// of what lies beside them.
template <int kBlocks>
struct WalkPieces {
  static constexpr int kHalo = kBlocks - 1;              // pieces of a row beside the tiles
  static constexpr int kPieces = kSegmentKeys / kChunk;  // of a row of the tiles
  static constexpr int kRowsAPass = kWarp / kPieces;
  int row, key, halo_row, halo_key;
  int column, halo_column;  // from a row's first loaded key on
  bool has_halo;            // a piece of the map
  __device__ WalkPieces(int first_key, int halo) {
    const int lane = own_lane();
    row = lane / kPieces;
    column = lane % kPieces * kChunk + halo;
    key = first_key - halo + column;
    halo_row = lane / kHalo % kGroupRows;
    halo_column = lane % kHalo * kChunk;
    if (halo_column >= halo) halo_column += kSegmentKeys;
    halo_key = first_key - halo + halo_column;
    has_halo = lane < kGroupRows * kHalo && halo_key >= 0;
  }
};

/// A segment's input, eight rows at a time: copied in 16-byte pieces, zeros outside the map, and
/// finished by the lane that copied it. The ring has kGroups slots.
template <int kBlocks, MapKind kKind, int kGroups = kWalkGroups>
class WalkInput {
  static constexpr bool kWeights = kKind == MapKind::SoftmaxWeights;
  using Pieces = WalkPieces<kBlocks>;

 public:
  /// `begin`: the first row that is asked for.
  __device__ WalkInput(const ConvolutionArgs& args, const RowSegment& segment, int begin,
                       Number* ring)
      : args_(args),
        segment_(segment),
        pieces_(segment.first_key, args.window.halo),
        // The tiles' own keys begin a 32-byte sector.
        ring_(ring + args.window.halo / kChunk % 2 * kChunk),
        own_(source(pieces_.key, pieces_.row)),
        halo_(source(max(pieces_.halo_key, 0), pieces_.halo_row)),
        own_target_(ring_ + pieces_.row * kWalkPitch + pieces_.column),
        halo_target_(ring_ + pieces_.halo_row * kWalkPitch + pieces_.halo_column) {
    if (kWeights) next_lse_ = lse_of(begin);
    if (segment.first_key == 0) clear_rows();  // left of key 0 and above row 0
  }

  /// Starts the copies of rows row.., which are at `place`, to a slot of the ring; rows from the
  /// segment's end on are none.
  __device__ void start(int row, unsigned place, int slot) const {
    if (row < segment_.end_row) {
      if (is_whole(row)) {
        copy_rows(row, place, slot, [](int, int) { return true; });
      } else {
        copy_rows(row, place, slot,
                  [&](int own, int key) { return key <= own && own < segment_.end_row; });
      }
    }
    commit_copies();
  }

  /// Of what this lane has copied, M becomes exp(M - lse), and what is past the diagonal zero. Rows
  /// must be asked for in order.
  __device__ void finish(int row, int slot) {
    const bool whole = is_whole(row);
    if (!kWeights && whole) return;
    float lse2 = 0;
    if (kWeights) {
      lse2 = __int_as_float(in_register(__float_as_int(next_lse_ * kLog2e)));
      __syncwarp();  // asked for before, the next number would be waited for with this one
      next_lse_ = lse_of(row + kGroupRows);
    }
    if (whole) {
      finish_rows<true>(row, slot, lse2);
    } else {
      finish_rows<false>(row, slot, lse2);
    }
  }

  /// A slot's first loaded key.
  __device__ const Number* rows(int slot) const { return ring_ + slot * kSlot; }

 private:
  static constexpr int kSlot = kGroupRows * kWalkPitch;  // numbers

  __device__ void clear_rows() const {
    constexpr int kNumbers = kGroups * kSlot;
    for (int n = static_cast<int>(threadIdx.x) % kWarp; n < kNumbers / kChunk; n += kWarp) {
      reinterpret_cast<uint4*>(ring_)[n] = {};
    }
    __syncwarp();
  }
  __device__ Number* source(int key, int row) const {
    return map_column(args_.source, segment_.map, key) + row * kTileKeys;
  }
  /// Are rows row.. all of the segment, and all loaded keys causal?
  __device__ bool is_whole(int row) const {
    return row >= segment_.first_key + kSegmentKeys + Pieces::kHalo * kChunk &&
           row + kGroupRows <= segment_.end_row;
  }
  template <class Has>
  __device__ void copy_rows(int row, unsigned place, int slot, Has&& has) const {
    const std::size_t first = std::size_t{place} * kChunk;
    const auto copy = [&](const SharedPlace& target, int r, const Number* piece, bool valid) {
      target.copy_async((slot * kSlot + r * kWalkPitch) * kNumberBytes,
                        valid ? piece : args_.source.data, valid);
    };
#pragma unroll
    for (int r = 0; r < kGroupRows; r += Pieces::kRowsAPass) {
      copy(own_target_, r, own_ + first + r * kTileKeys, has(row + r + pieces_.row, pieces_.key));
    }
    if (!pieces_.has_halo) return;
    copy(halo_target_, 0, halo_ + first, has(row + pieces_.halo_row, pieces_.halo_key));
  }

  template <bool kWhole>
  __device__ void finish_rows(int row, int slot, float lse2) const {
    Number* const rows = ring_ + slot * kSlot;
    const auto finish_piece = [&](Number* place, float own_lse2, int causal) {
      uint4* piece = reinterpret_cast<uint4*>(place);
      uint4 chunk = *piece;
      if (kWeights) chunk = softmax_weights<Half>(chunk, own_lse2);
      *piece = kWhole ? chunk : keep_first(chunk, causal);
    };
    Number* const own = rows + pieces_.row * kWalkPitch + pieces_.column;
#pragma unroll
    for (int r = 0; r < kGroupRows; r += Pieces::kRowsAPass) {
      finish_piece(own + r * kWalkPitch, lse_in(lse2, r + pieces_.row),
                   row + r + pieces_.row + 1 - pieces_.key);
    }
    const float halo_lse2 = lse_in(lse2, pieces_.halo_row);
    if (!pieces_.has_halo) return;
    finish_piece(rows + pieces_.halo_row * kWalkPitch + pieces_.halo_column, halo_lse2,
                 row + pieces_.halo_row + 1 - pieces_.halo_key);
  }
  /// Of row `row` + lane; infinite, so that weights are 0, past the segment.
  __device__ float lse_of(int row) const {
    const int own = row + static_cast<int>(threadIdx.x) % kGroupRows;
    return own < segment_.end_row ? args_.lse[segment_.map * args_.extent.tokens + own] : INFINITY;
  }
  __device__ static float lse_in(float lse2, int r) {
    return kWeights ? __shfl_sync(0xFFFFFFFFu, lse2, r) : 0;
  }

  const ConvolutionArgs& args_;
  const RowSegment& segment_;
  Pieces pieces_;
  Number *ring_, *own_, *halo_;
  SharedPlace own_target_, halo_target_;
  float next_lse_ = 0;  // on its way: what is made of it waits for it
};

/// The sums over all lanes of one number of each of eight rows of two tiles. A lane gets that of
/// tile lane / 16, row summed_row(lane).
template <class Of>
__device__ inline float sum_rows(Of&& of) {
  float fours[2];
#pragma unroll
  for (int four = 0; four < 2; ++four) {
    float pairs[2];
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      const int r = 4 * four + 2 * pair;
      const float upper = exchange_sum(of(r, 0), of(r, 1), 16),
                  lower = exchange_sum(of(r + 1, 0), of(r + 1, 1), 16);
      pairs[pair] = exchange_sum(upper, lower, 8);
    }
    fours[four] = exchange_sum(pairs[0], pairs[1], 4);
  }
  const float both = exchange_sum(fours[0], fours[1], 2);
  return both + __shfl_xor_sync(0xFFFFFFFFu, both, 1);
}
static_assert(kGroupRows == 8);
__device__ inline int summed_row(int lane) {
  return (lane >> 3 & 1) | (lane >> 1 & 2) | (lane << 1 & 4);
}
/// The even lane that gets a row's.
__device__ inline int summing_lane(int row, int tile) {
  return tile << 4 | (row & 1) << 3 | (row & 2) << 1 | (row & 4) >> 1;
}

/// A lane's words of eight rows of two tiles.
using WalkedRows = Word[kGroupRows][2];

/// 2^(x - maximum) of a word's two numbers, added up.
__device__ inline float exponentials(Word word, float maximum) {
  const float2 x = unpack<Half>(word);
  return exp2_fast(fmaf(x.x, kLog2e, -maximum)) + exp2_fast(fmaf(x.y, kLog2e, -maximum));
}

/// A segment's output, eight rows at a time: word `lane` of each row's two tiles.
template <MapKind kKind, class E>
class WalkOutput {
 public:
  __device__ WalkOutput(const ConvolutionArgs& args, const RowSegment& segment)
      : args_(args),
        segment_(segment),
        target_(reinterpret_cast<Word*>(map_tiles(args.target, segment.map) +
                                        key_place(segment.first_key)) +
                lane()) {}

  /// Rows row.., which are at `place`, zero past the diagonal: weights after dropout, logits with
  /// their statistics where these are wanted.
  __device__ void write(WalkedRows& rows, int row, unsigned place) const {
    if (kKind == MapKind::SoftmaxWeights && args_.dropout.threshold > 0) drop_rows(rows, row);
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
      const int past = segment_.first_key + tile * kTileKeys - row;
      if (past > 0) continue;  // there is no such tile
      const bool at_diagonal = past + kTileKeys > 1;
      if (at_diagonal) keep_causal(rows, tile, past, 0);
      store_tile(rows, tile, row, place);
      if (kKind == MapKind::Scores && at_diagonal) keep_causal(rows, tile, past, kMinusInfinity);
    }
    if (kKind == MapKind::Scores && args_.statistics.partials != nullptr)
      store_statistics(rows, row, place);
  }

 private:
  __device__ static int lane() { return in_register(static_cast<int>(threadIdx.x)) & (kWarp - 1); }
  __device__ Word* at(unsigned place) const { return target_ + std::size_t{place} * (kChunk / 2); }
  __device__ void store_tile(const WalkedRows& rows, int tile, int row, unsigned place) const {
    Word* const target = at(place) + tile * (kMapTile / 2);
    if (row + kGroupRows <= segment_.end_row) {
#pragma unroll
      for (int r = 0; r < kGroupRows; ++r) target[r * (kTileKeys / 2)] = rows[r][tile];
    } else {
#pragma unroll
      for (int r = 0; r < kGroupRows; ++r) {
        if (row + r < segment_.end_row) target[r * (kTileKeys / 2)] = rows[r][tile];
      }
    }
  }
  /// Is there such a tile of the row?
  __device__ bool has(int row, int tile) const {
    return row < segment_.end_row && row >= segment_.first_key + tile * kTileKeys;
  }
  /// What is past the diagonal in a tile, whose first key is `past` the first row's, becomes
  /// `other`.
  __device__ static void keep_causal(WalkedRows& rows, int tile, int past, Word other) {
    const int own = past + 2 * lane();
#pragma unroll
    for (int r = 0; r < kGroupRows; ++r) {
      rows[r][tile] = causal(rows[r][tile], own - r, other);
    }
  }
  /// The same of a word whose first key is `past` the row's.
  __device__ static Word causal(Word word, int past, Word other) {
    const Word kept = keep_pair(0xFFFFFFFFu, past <= 0, past < 0);
    return (word & kept) | (other & ~kept);
  }
  /// Of M's rows, of which what is not causal is minus infinity. A row whose sum of the
  /// exponentials themselves stays in fp32's middle has it relative to 0, and only others need
  /// their maximum.
  __device__ void store_statistics(const WalkedRows& rows, int row, unsigned place) const {
    const float sum = sum_rows([&](int r, int tile) { return exponentials(rows[r][tile], 0); });
    const int own = row + summed_row(lane()), tile = lane() / 16;
    const bool is_wanted = has(own, tile);
    const bool is_relative = is_wanted && !needs_no_maximum(sum);
    if (is_wanted && !is_relative && lane() % 2 == 0) *statistics(own, tile) = {0, sum};
    const unsigned relative = __ballot_sync(0xFFFFFFFFu, is_relative);
    if (relative != 0) store_relative_statistics(row, place, relative);
  }
  /// The same relative to a row's maximum, from what this lane has stored; `wanted` has a bit for
  /// the lane that has added the row up.
  __device__ void store_relative_statistics(int row, unsigned place, unsigned wanted) const {
    const Word* const stored = at(place);
#pragma unroll 1
    for (int n = 0; n < 2 * kGroupRows; ++n) {
      const int own = row + n / 2, tile = n % 2;
      if ((wanted >> summing_lane(n / 2, tile) & 1) == 0) continue;
      const Word word =
          causal(stored[(n / 2 * kTileKeys + tile * kMapTile) / 2],
                 segment_.first_key + tile * kTileKeys + 2 * lane() - own, kMinusInfinity);
      const float2 x = unpack<Half>(word);
      const float maximum = warp_max(fmaxf(x.x, x.y)) * kLog2e,
                  sum = warp_sum(exponentials(word, maximum));
      if (lane() == 0) *statistics(own, tile) = {maximum, maximum == -INFINITY ? 0.0f : sum};
    }
  }
  __device__ float2* statistics(int row, int tile) const {
    const RowStatistics& all = args_.statistics;
    return all.partials + all.index(segment_.map, row, segment_.first_key / kTileKeys + tile);
  }
  /// A block of random words decides a quad's eight keys of one row and tile, so its lanes draw for
  /// two rows of two tiles and gather the bits.
  __device__ void drop_rows(WalkedRows& rows, int row) const {
    const Lane place = lane_place();
    const float scale = dropout_scale(args_.dropout.threshold);
    const auto unsigned_of = [](int n) { return static_cast<std::uint32_t>(in_register(n)); };
#pragma unroll
    for (int r = 0; r < kGroupRows; r += 2) {
      DropoutArgs dropout = args_.dropout;
      auto low = static_cast<Word>(dropout.seed), high = static_cast<Word>(dropout.seed >> 32);
      asm volatile("" : "+r"(low), "+r"(high));  // keeps the generator's ten keys out of registers
      const DropoutBlock block = dropout_block(
          std::uint64_t{high} << 32 | low, dropout_stream(dropout),
          unsigned_of(dropout.first_map + segment_.map), unsigned_of(row + r + place.q / 2),
          unsigned_of(segment_.first_key + place.q % 2 * kTileKeys + place.g * kChunk));
      Word quad = kept_bits(block, dropout.threshold) << (8 * place.q);
      quad |= __shfl_xor_sync(0xFFFFFFFFu, quad, 1);
      quad |= __shfl_xor_sync(0xFFFFFFFFu, quad, 2);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        Word& word = rows[r + n / 2][n % 2];
        const Word two = quad >> (8 * n + 2 * place.q);
        const float2 x = unpack<E>(word);
        word = keep_pair(pack<E>(x.x * scale, x.y * scale), (two & 1) != 0, (two & 2) != 0);
      }
    }
  }

  const ConvolutionArgs& args_;
  const RowSegment& segment_;
  Word* target_;
};

}  // namespace mta::kernels
