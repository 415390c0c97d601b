// Rows on their way through a warp of the streamed convolution: copied to its ring in shared
// memory eight at a time, masked and made weights or gradients there, and written.
#pragma once

#include "lib/kernels/group_places.cuh"

#include <type_traits>

namespace mta::kernels {

/// The ring in bytes: slots, in them the first row's room and its own keys, of X and from kOutputs
/// on of dY, and from kMixed on of M.
constexpr int kSlotBytes = kSlotNumbers * kNumberBytes;
constexpr int kRowBytes = kRingPitch * kNumberBytes, kRoomBytes = kHaloRoom * kNumberBytes;
constexpr int kOutputs = kGroupRows * kRowBytes, kMixed = ring_groups(true) * kSlotBytes;
constexpr int kPieceBytes = kChunk * kNumberBytes, kTileBytes = kTileKeys * kNumberBytes;
/// From a row to the next in device memory, inside a tile.
constexpr int kMapRowNumbers = kTileKeys;

/// Places of slots, in bytes.
template <bool kHasMixed>
struct StreamRing {
  static constexpr int kBytes = ring_groups(kHasMixed) * kSlotBytes;
  static constexpr int kAhead = ring_groups(kHasMixed) - 2;  // groups on their way
  __device__ static int before(int place) { return (place == 0 ? kBytes : place) - kSlotBytes; }
  template <int kSlots>
  __device__ static int after(int place) {
    const int further = place + kSlots * kSlotBytes;
    return further < kBytes ? further : further - kBytes;
  }
};

/// Where a lane's first piece stands in a slot's rows.
__device__ inline int first_piece() {
  constexpr int kPieces = kSegmentKeys / kChunk;
  return own_lane() / kPieces * kRowBytes + kRoomBytes + own_lane() % kPieces * kPieceBytes;
}

/// Where the lanes of a warp load fragments of a slot's rows. A window of eight outputs is 16
/// bytes further than the one before it, and so is a window's next block of columns.
struct StreamLanes {
  SharedPlace windows;        // dY: windows 0-7, 8-15; both one block on
  SharedPlace columns;        // dY, to be transposed: windows 0-7, one block on; 8-15, one block on
  SharedPlace thirds;         // third blocks of windows 0-7, 8-15; of the row above
  SharedPlace third_columns;  // third blocks of windows 0-7, of the row above; of 8-15
  // The lane's own first piece of X, from which windows 0-7, 8-15 are transposed by lanes 0..15.
  SharedPlace own;
  __device__ StreamLanes(const SharedPlace& ring, int halo)
      : windows(ring), columns(ring), thirds(ring), third_columns(ring), own(ring) {
    const int piece = lane() % 8 * kPieceBytes, low = lane() / 8 % 2, high = lane() / 16,
              window = kOutputs + kRoomBytes - halo * kNumberBytes + piece;
    windows += window + low * kTileBytes + high * kPieceBytes;
    columns += window + low * kPieceBytes + high * kTileBytes;
    thirds += window + 2 * kPieceBytes + low * kTileBytes - high * kRowBytes;
    third_columns += window + 2 * kPieceBytes + high * kTileBytes - low * kRowBytes;
    own += first_piece();
  }
  __device__ void operator+=(int bytes) {
    windows += bytes, columns += bytes, thirds += bytes, third_columns += bytes, own += bytes;
  }
  /// Does this lane load the row above, of third blocks and of their columns?
  __device__ static bool is_above() { return own_lane() / 16 == 1; }
  __device__ static bool is_column_above() { return own_lane() / 8 % 2 == 1; }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
};

/// Pieces of 16 bytes of a group that a lane copies, and works on before others read them: in each
/// second row of the 128 keys, the first lanes also what lies beside dY's own.
template <int kBlocks>
struct StreamPieces {
  static constexpr int kHalo = kBlocks - 1;              // pieces of a row beside the tiles
  static constexpr int kPieces = kSegmentKeys / kChunk;  // of a row of the tiles
  static constexpr int kRowsAPass = kWarp / kPieces;
  __device__ static int row() { return own_lane() / kPieces; }
  __device__ static int column() { return own_lane() % kPieces * kChunk; }
  __device__ static bool has_halo() { return own_lane() < kGroupRows * kHalo; }
  __device__ static int halo_row() { return own_lane() / kHalo % kGroupRows; }
  __device__ static int halo_piece() { return own_lane() % kHalo; }
  /// Where such a piece stands, from the own keys on.
  __device__ static int halo_column(int piece, int halo) {
    const int column = piece * kChunk - halo;
    return column < 0 ? column : column + kSegmentKeys;
  }
  /// Where its piece beside the tiles stands in a slot's rows.
  __device__ static int halo_place(int halo) {
    return halo_row() * kRowBytes + kRoomBytes + halo_column(halo_piece(), halo) * kNumberBytes;
  }
};

/// Rows that dY has: past these are a later chunk's, whose memory still holds older ones.
__device__ inline int end_of_output(const ConvolutionBackwardArgs& args) {
  return min(args.extent.rows.end + args.query_span - 1, args.extent.tokens);
}

/// Where the rows of M from `row` on stand.
__device__ inline int mixed_place(int row) {
  static_assert(kMixedGroups == 2);
  return kMixed + (row & kGroupRows) * kRowBytes;
}

/// Copies groups of X and dY to the ring: zeros outside the map. `kHasMixed`: and of M, as of dY.
template <int kBlocks, bool kHasMixed>
class StreamCopies {
  using Pieces = StreamPieces<kBlocks>;

 public:
  __device__ StreamCopies(const ConvolutionBackwardArgs& args, const RowSegment& segment,
                          const SegmentPlaces& places, const SharedPlace& ring)
      : args_(args), segment_(segment), places_(places), ring_(ring) {}

  /// The group that begins with row `row`, to the slot at `place`; `own`: of this lane, there.
  __device__ void start(int row, int place, const SharedPlace& own) const {
    const int below = in_register(row) - segment_.first_key;
    const bool whole = segment_.first_key > 0 && row + kGroupRows <= segment_.end_row &&
                       below >= kSegmentKeys + Pieces::kHalo * kChunk;
    if (whole) {
      copy(row, place, own, [](int, int, int) { return true; });
    } else {
      copy(row, place, own, [&](int line, int key, int end) {
        return key >= 0 && row + line >= key && row + line < end;
      });
    }
    commit_copies();
  }

 private:
  __device__ int key(int column) const { return segment_.first_key + column; }
  template <class Has>
  __device__ void copy(int row, int place, const SharedPlace& own, Has&& has) const {
    const std::ptrdiff_t at = places_(places_.group(row));
    const int column = Pieces::column();
    const std::ptrdiff_t first = at + Pieces::row() * kMapRowNumbers + key_place(column);
    const Number *const x = args_.source.data + first, *const d_y = args_.d_output.data + first;
#pragma unroll
    for (int r = 0; r < kGroupRows; r += Pieces::kRowsAPass) {
      const int line = Pieces::row() + r;
      own.copy_async(r * kRowBytes, x + r * kMapRowNumbers,
                     has(line, key(column), segment_.end_row));
      const bool has_output = has(line, key(column), end_of_output(args_));
      own.copy_async(kOutputs + r * kRowBytes, d_y + r * kMapRowNumbers, has_output);
      if constexpr (kHasMixed) {
        own.copy_async(mixed_place(row) - place + r * kRowBytes,
                       args_.mixed.data + first + r * kMapRowNumbers, has_output);
      }
    }
    if (!Pieces::has_halo()) return;
    const int halo_column = Pieces::halo_column(Pieces::halo_piece(), args_.window.halo),
              own_halo = Pieces::halo_place(args_.window.halo);
    const std::ptrdiff_t halo = at + Pieces::halo_row() * kMapRowNumbers + key_place(halo_column);
    const bool has_halo = has(Pieces::halo_row(), key(halo_column), end_of_output(args_));
    ring_.copy_async(in_register(place + kOutputs + own_halo), args_.d_output.data + halo,
                     has_halo);
    if constexpr (kHasMixed) {
      ring_.copy_async(mixed_place(row) + own_halo, args_.mixed.data + halo, has_halo);
    }
  }

  const ConvolutionBackwardArgs& args_;
  const RowSegment& segment_;
  const SegmentPlaces places_;
  const SharedPlace ring_;
};

/// Zeroes the last row of dY in a slot, with what lies beside it.
__device__ inline void clear_last_row(const SharedPlace& slot) {
  constexpr int kBytes = kRowBytes + kRoomBytes;
  static_assert(kBytes <= kWarp * kPieceBytes);
  const int place = own_lane() * kPieceBytes;
  if (place < kBytes) slot.store(kSlotBytes - kBytes + place, {});
  __syncwarp();
}

/// Zeroes what lies past the diagonal in the pieces that it crosses: of a slot whose first row is
/// that of the segment's key `key`, those from this key on. Pieces further on are zero.
template <int kBlocks>
__device__ void mask_rows(const SharedPlace& slot, int key, int halo) {
  const int line = own_lane() % kGroupRows, map = own_lane() / kGroupRows;
  const int end = kSegmentKeys + (map == 0 ? 0 : (kBlocks - 1) * kChunk - halo);
  if (map >= 2 || key >= end) return;
  const int place = map * kOutputs + line * kRowBytes + kRoomBytes + key * kNumberBytes;
  slot.store(place, keep_first(slot.load(place), line + 1));
  static_assert(kGroupRows == kChunk);
}

/// Where dX goes: word `lane` of a row's 64 keys, of each of two tiles.
class StreamTarget {
 public:
  static constexpr int kRowWords = kMapRowNumbers / 2, kTileWords = kMapTile / 2;
  __device__ StreamTarget(const ConvolutionBackwardArgs& args, const RowSegment& segment)
      : segment_(segment), target_(args.target.data) {}
  /// The lane's word at a place of the launch's maps.
  __device__ Word* in(std::ptrdiff_t place) const {
    return reinterpret_cast<Word*>(target_ + place) + own_lane();
  }
  /// By how much the lane's first key of the first tile is past the diagonal of a row.
  __device__ int past(int row) const { return segment_.first_key + 2 * own_lane() - row; }
  /// Is there such a tile of the row, which is one of the segment?
  __device__ bool has(int row, int tile) const {
    return row >= segment_.first_key + tile * kTileKeys && row >= segment_.first_row &&
           row < segment_.end_row;
  }

 private:
  const RowSegment& segment_;
  Number* const target_;
};

/// Calls `run` for the rows of a group, as compile-time numbers.
template <class Run, int... kRows>
__device__ inline void for_each_row(Run&& run, std::integer_sequence<int, kRows...>) {
  (run(std::integral_constant<int, kRows>{}), ...);
}
template <class Run>
__device__ inline void for_each_row(Run&& run) {
  for_each_row(run, std::make_integer_sequence<int, kGroupRows>{});
}

/// Row `row`'s number of those that the first eight lanes have.
__device__ inline float of_row(float x, int row) { return __shfl_sync(0xFFFFFFFFu, x, row); }

/// P = exp(M - lse) in the place of M, and the partial dots of P dP, a group's on the matrix unit:
/// the diagonal of P dP^T. Any order of keys will do that is the same for both, so a lane reads
/// pieces q, q+4 .. of row g whole, of odd rows two further, for the banks: the words of a piece as
/// the left operand
///
///   rows 0-7 of it   words 0, 2        rows 8-15   words 1, 3
///
/// so that dP's words lie as 0, 2, 1, 3 in a piece, and the first product's rows 0-7, the second's
/// rows 8-15 are wanted. dP lies in the slot before, of whose dY the group's first step has read
/// the last row, and no other is wanted.
template <class E, int kSpan>
class StreamWeights {
 public:
  __device__ StreamWeights(const ConvolutionBackwardArgs& args, const RowSegment& segment,
                           const SharedPlace& ring)
      : args_(args), segment_(segment), ring_(ring), words_(ring) {
    ask_for_lse(segment.first_row);
  }

  /// Of the group that begins with row `row`, in the slot at `place`, from this lane's pieces of
  /// it; groups must be asked for in order. Pieces past the diagonal become zero, unless `kPlain`
  /// says that there are none.
  template <bool kPlain>
  __device__ void make(const SharedPlace& pieces, int place, int row) {
    const Lane at = own_place();
    words_ = ring_ + (StreamRing<false>::before(place) + kOutputs + kRoomBytes +
                      (4 * at.g + at.q % 2 * 2 + at.q / 2) * kWordBytes);
    using Pieces = StreamPieces<1>;
    const float lse2 = next_lse_ * kLog2e;
    ask_for_lse(row + kGroupRows);
    const bool past = !kPlain && segment_.first_key + Pieces::column() > row;
#pragma unroll
    for (int r = 0; r < kGroupRows; r += Pieces::kRowsAPass) {
      const float row_lse2 = of_row(lse2, Pieces::row() + r);
      pieces.store(r * kRowBytes,
                   softmax_weights<E>(pieces.load(r * kRowBytes), past ? INFINITY : row_lse2));
    }
  }

  /// This lane's word of a tile's row `line` of those that the group completes.
  __device__ void keep(Word done, int line, int tile) const {
    words_.store_word(line * kRowBytes + tile * kTileBytes, done);
  }

  /// The dots of the rows that the group from `first_row` on, in the slot at `place`, has
  /// completed.
  __device__ void store_dots(int first_row, int place) const {
    __syncwarp();
    const Lane at = own_place();
    const int row = first_row - kBehind + at.g,
              before = StreamRing<false>::before(place) + kOutputs;
    const SharedPlace rows =
        ring_ + (at.g * kRowBytes + kRoomBytes + (at.q + at.g % 2 * 2) * kPieceBytes);
    // P of rows above the group's own stands in the slot before.
    const SharedPlace p_rows = rows + ((row < first_row ? before : place) - kBehind * kRowBytes),
                      d_p_rows = rows + before;
    constexpr int kLoads = kSegmentKeys / kChunk / 4;
    const int last = (kLoads - 1) * 4 * kPieceBytes - (at.g % 2 == 1 && at.q >= 2 ? kOwnBytes : 0);
    float first[4] = {}, second[4] = {};
#pragma unroll
    for (int n = 0; n < kLoads; ++n) {
      const int offset = n + 1 < kLoads ? n * 4 * kPieceBytes : last;  // around a row
      const uint4 p = p_rows.load(offset), d = d_p_rows.load(offset);
      mma_k16<E>(first, p.x, p.y, p.z, p.w, d.x, d.y);
      mma_k16<E>(second, p.x, p.y, p.z, p.w, d.z, d.w);
    }
    if (at.q != at.g / 2 || row < segment_.first_row || row >= segment_.end_row) return;
    const int result = segment_.first_key / kSegmentKeys;
    args_.dots.partials[args_.dots.index(map(), row, result)] =
        at.g % 2 == 0 ? first[0] + second[2] : first[1] + second[3];
  }

 private:
  static constexpr int kBehind = kSpan - 1;
  static constexpr int kOwnBytes = kSegmentKeys * kNumberBytes;
  __device__ static Lane own_place() { return {own_lane() / 4, own_lane() % 4}; }
  __device__ int map() const { return in_register(segment_.map); }
  /// Infinite, so that weights are 0, past the segment.
  __device__ void ask_for_lse(int first_row) {
    const int row = first_row + own_lane() % kGroupRows;
    next_lse_ = row < segment_.end_row ? args_.lse[map() * args_.extent.tokens + row] : INFINITY;
  }

  const ConvolutionBackwardArgs& args_;
  const RowSegment& segment_;
  float next_lse_;  // on its way: what is made of it waits for it
  const SharedPlace ring_;
  SharedPlace words_;  // this lane's of dP's first row
};

/// In their place where neither X nor dY is made of others.
struct NoSoftmax {
  __device__ NoSoftmax(const ConvolutionBackwardArgs&, const RowSegment&, const SharedPlace&) {}
};

}  // namespace mta::kernels
