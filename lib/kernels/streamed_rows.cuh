// Rows on their way through a warp of the streamed convolution: copied to its ring in shared
// memory eight at a time, masked and made weights or gradients there, and written.
#pragma once

#include "lib/kernels/group_places.cuh"

#include <type_traits>

namespace mta::kernels {

/// Four steps of two rows: half of a tile in memory, and after them every place of StreamSums
/// stands for the same rows again.
constexpr int kGroupSteps = kGroupRows / 2, kRingRows = kRingGroups * kGroupRows;
static_assert(kGroupRows * 8 == 2 * kWarp, "a lane has two pieces of a group's keys");
constexpr int kRowBytes = kRingPitch * kNumberBytes, kGroupBytes = kGroupRows * kRowBytes,
              kRingBytes = kRingGroups * kGroupBytes;
/// Of M beside them, whose ring has rows half as long.
constexpr int kMixedRowBytes = kMixedPitch * kNumberBytes;
static_assert(kRowBytes == 2 * kMixedRowBytes);
/// From a row to the next in device memory, inside a tile.
constexpr int kMapRowNumbers = kTileKeys;

/// What a warp has to do: rows first_row..end_row-1 of one key tile.
struct StreamSegment {
  int map, tile, first_key, first_row, end_row;
};

/// A row in the ring, in bytes: X's 64 keys, room, dY's own keys with the halo before them and
/// after them, so that the tile's own keys of both stand at whole 32-byte sectors.
constexpr int kOwnKeys = (kTileKeys + 2 * kChunk) * kNumberBytes;
constexpr int kBlockBytes = kChunk * kNumberBytes;
/// Where the own keys begin in a row of M.
constexpr int kMixedOwnKeys = 2 * kChunk * kNumberBytes;

/// Where the lanes of a warp load fragments of a group's rows; step by step that is 2 kRowBytes
/// further.
struct StreamLanes {
  SharedPlace windows;  // dY: (row, block) = (0, 0), (1, 0), (0, 1), (1, 1)
  SharedPlace columns;  // dY, to be transposed: (0, 0), (0, 1), (1, 0), (1, 1)
  SharedPlace third;    // third blocks of rows -2, -1, -1, 0
  SharedPlace keys;     // X: rows 0, 1, by lanes 0..15
  __device__ StreamLanes(Number* ring, int halo)
      : windows(ring), columns(ring), third(ring), keys(ring) {
    const int piece = lane() % 8 * kBlockBytes, block = lane() / 8,
              window = piece + kOwnKeys - halo * kNumberBytes;
    windows += block % 2 * kRowBytes + window + block / 2 * kBlockBytes;
    columns += block / 2 * kRowBytes + window + block % 2 * kBlockBytes;
    third += (block / 2 + block % 2 - 2) * kRowBytes + window + 2 * kBlockBytes;
    keys += block % 2 * kRowBytes + piece;
  }
  __device__ void operator+=(int bytes) {
    windows += bytes, columns += bytes, third += bytes, keys += bytes;
  }
  /// By how much a load begins later whose first lanes want rows before the group's: at the ring's
  /// begin these are at its end.
  __device__ static int wrap(int lanes, bool at_begin) {
    return at_begin && lane() < lanes ? kRingBytes : 0;
  }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
};

/// Pieces of 16 bytes of a group that a lane copies, and works on before others read them: in rows
/// row() and kHalfRows further of the 64 keys, the first lanes also what lies beside dY's own.
template <int kBlocks>
struct StreamPieces {
  static constexpr int kHalo = kBlocks - 1;  // pieces of a row left and right of the tile
  static constexpr int kHalfRows = kGroupRows / 2;
  __device__ static int row() { return own_lane() / 8; }
  __device__ static int column() { return own_lane() % 8 * kChunk; }
  __device__ static bool has_halo() { return own_lane() < kGroupRows * kHalo; }
  __device__ static int halo_row() { return own_lane() / kHalo % kGroupRows; }
  __device__ static int halo_piece() { return own_lane() % kHalo; }
  /// Where such a piece stands, from the own keys on.
  __device__ static int halo_column(int piece, int halo) {
    const int column = piece * kChunk - halo;
    return column < 0 ? column : column + kTileKeys;
  }
};

/// Rows that dY has: past these are a later chunk's, whose memory still holds older ones.
__device__ inline int end_of_output(const ConvolutionBackwardArgs& args) {
  return min(args.extent.rows.end + args.query_span - 1, args.extent.tokens);
}

/// Where rows of M stand whose X and dY are at `place` of their ring: both in bytes.
__device__ inline int mixed_place(int place) { return place >> 1; }

/// Where a lane's pieces of M lie; the places given are of the ring of X and dY.
template <int kBlocks>
struct MixedPieces {
  using Pieces = StreamPieces<kBlocks>;
  SharedPlace own, halo;
  __device__ MixedPieces(Number* ring, int halo_keys)
      : own(ring + kRingNumbers), halo(ring + kRingNumbers) {
    own += Pieces::row() * kMixedRowBytes + kMixedOwnKeys + Pieces::column() * kNumberBytes;
    halo += Pieces::halo_row() * kMixedRowBytes + kMixedOwnKeys +
            Pieces::halo_column(Pieces::halo_piece(), halo_keys) * kNumberBytes;
  }
  __device__ SharedPlace own_pieces(int place) const { return own + mixed_place(place); }
};
struct NoMixedPieces {
  __device__ NoMixedPieces(Number*, int) {}
};

/// Copies groups of X and dY to the ring: zeros outside the map. `kMixed`: and of M, as of dY.
template <int kBlocks, bool kMixed>
class StreamCopies {
  using Pieces = StreamPieces<kBlocks>;

 public:
  __device__ StreamCopies(const ConvolutionBackwardArgs& args, const StreamSegment& segment,
                          const GroupPlaces& places, Number* ring)
      : args_(args),
        segment_(segment),
        places_(places),
        x_(own_piece(args.source)),
        d_y_(own_piece(args.d_output)),
        halo_(in_register(map_column(args.d_output, segment.map, max(halo_key(), 0)) +
                          Pieces::halo_row() * kMapRowNumbers)),
        own_target_(ring),
        halo_target_(ring),
        mixed_(ring, args.window.halo) {
    own_target_ += Pieces::row() * kRowBytes + Pieces::column() * kNumberBytes;
    halo_target_ += Pieces::halo_row() * kRowBytes + kOwnKeys + halo_column() * kNumberBytes;
  }

  /// Group `group` of the segment, to place `place` of the ring, in bytes.
  __device__ void start(int group, int place) const {
    const int row = segment_.first_row + group * kGroupRows, first_key = segment_.first_key,
              whole_from = first_key + kTileKeys + Pieces::kHalo * kChunk;
    const bool whole = first_key > 0 && row >= whole_from && row + kGroupRows <= segment_.end_row;
    if (whole) {
      copy(group, place, [](int, int, int) { return true; });
    } else {
      copy(group, place, [&](int line, int key, int end) {
        return key >= 0 && row + line >= key && row + line < end;
      });
    }
    commit_copies();
  }
  /// This lane's pieces of X in the group at `place`; kOwnKeys further those of dY.
  __device__ SharedPlace own_pieces(int place) const { return own_target_ + place; }
  __device__ const MixedPieces<kBlocks>& mixed() const { return mixed_; }

 private:
  __device__ const Number* own_piece(const MapView& view) const {
    return in_register(map_column(view, segment_.map, segment_.first_key) +
                       Pieces::row() * kMapRowNumbers + Pieces::column());
  }
  __device__ int halo_column() const {
    return Pieces::halo_column(Pieces::halo_piece(), args_.window.halo);
  }
  __device__ int halo_key() const { return segment_.first_key + halo_column(); }
  template <class Has>
  __device__ void copy(int group, int place, Has&& has) const {
    const unsigned at = places_[group];
    const Number *x = in_group(x_, at), *d_y = in_group(d_y_, at);
#pragma unroll
    for (int r = 0; r < kGroupRows; r += Pieces::kHalfRows) {
      const int line = Pieces::row() + r, key = segment_.first_key + Pieces::column();
      own_target_.copy_async(place + r * kRowBytes, x + r * kMapRowNumbers,
                             has(line, key, segment_.end_row));
      const bool has_output = has(line, key, end_of_output(args_));
      own_target_.copy_async(place + r * kRowBytes + kOwnKeys, d_y + r * kMapRowNumbers,
                             has_output);
      if constexpr (kMixed) {
        mixed_.own.copy_async(mixed_place(place) + r * kMixedRowBytes,
                              d_y + to_mixed() + r * kMapRowNumbers, has_output);
      }
    }
    if (!Pieces::has_halo()) return;
    const Number* const halo = in_group(halo_, at);
    const bool has_halo = has(Pieces::halo_row(), halo_key(), end_of_output(args_));
    halo_target_.copy_async(place, halo, has_halo);
    if constexpr (kMixed) mixed_.halo.copy_async(mixed_place(place), halo + to_mixed(), has_halo);
  }
  /// Both lie in one workspace, in one shape.
  __device__ std::ptrdiff_t to_mixed() const { return args_.mixed.data - args_.d_output.data; }

  const ConvolutionBackwardArgs& args_;
  const StreamSegment& segment_;
  const GroupPlaces& places_;
  const Number *x_, *d_y_, *halo_;
  SharedPlace own_target_, halo_target_;
  const std::conditional_t<kMixed, MixedPieces<kBlocks>, NoMixedPieces> mixed_;
};

/// Fills rows of the ring with zeros.
__device__ inline void clear_rows(Number* rows, int count) {
  for (int n = static_cast<int>(threadIdx.x) % kWarp; n < count * kRingPitch / kChunk; n += kWarp) {
    reinterpret_cast<uint4*>(rows)[n] = {};
  }
  __syncwarp();
}

/// Zeroes what lies past the diagonal in the group at `rows`, whose first row is `row` rows below
/// the tile's first key.
template <int kBlocks>
__device__ void mask_rows(Number* rows, int row, int halo) {
  constexpr int kOwn = kTileKeys / kChunk, kPieces = kOwn + loaded_columns(kBlocks) / kChunk;
#pragma unroll 1
  for (int n = own_lane(); n < kGroupRows * kPieces; n += kWarp) {
    const int r = n / kPieces, piece = n % kPieces;
    const int key = piece < kOwn ? piece * kChunk : (piece - kOwn) * kChunk - halo,
              valid = row + r + 1 - key;
    if (valid >= kChunk) continue;
    auto* place = reinterpret_cast<uint4*>(rows + r * kRingPitch + key +
                                           (piece < kOwn ? 0 : kOwnKeys / kNumberBytes));
    *place = keep_first(*place, valid);
  }
}

/// Where dX goes: word `lane` of a row's 64 keys.
class StreamTarget {
 public:
  __device__ StreamTarget(const ConvolutionBackwardArgs& args, const StreamSegment& segment)
      : segment_(segment),
        column_(reinterpret_cast<Word*>(map_column(args.target, segment.map, segment.first_key)) +
                static_cast<int>(threadIdx.x) % kWarp) {}
  /// Are a group's worth of rows from `row` on all of the segment?
  __device__ bool holds(int row) const {
    return row >= segment_.first_row && row + kGroupRows <= segment_.end_row;
  }
  /// The lane's place in a group.
  __device__ Word* in(unsigned group_place) const { return in_group(column_, group_place); }
  /// Zeroes what is past the diagonal of a row; is the row one of the segment?
  __device__ bool keep(Word& done, int row) const {
    const int key = segment_.first_key + 2 * (own_lane());
    done = keep_pair(done, key <= row, key < row);
    return row >= segment_.first_row && row < segment_.end_row;
  }

 private:
  const StreamSegment& segment_;
  Word* column_;
};

/// Calls `run` for the steps of a group, as compile-time numbers.
template <class Run>
__device__ inline void for_each_step(Run&& run) {
  run(std::integral_constant<int, 0>{});
  run(std::integral_constant<int, 1>{});
  run(std::integral_constant<int, 2>{});
  run(std::integral_constant<int, 3>{});
}

/// P = exp(M - lse) in the place of M, and the partial dots of P dP, a group's on the matrix unit:
/// the diagonal of P dP^T. Any order of keys will do that is the same for both, so a lane reads
/// pieces q and q+4 of row g whole: the words of a piece as the left operand
///
///   rows 0-7 of it   words 0, 2        rows 8-15   words 1, 3
///
/// so that dP's words lie as 0, 2, 1, 3 in a piece, and the first product's rows 0-7, the second's
/// rows 8-15 are wanted.
template <class E, int kSpan>
class StreamWeights {
 public:
  /// `scratch` has kStreamScratch numbers of this warp.
  __device__ StreamWeights(const ConvolutionBackwardArgs& args, const StreamSegment& segment,
                           Number* ring, Number* scratch)
      : segment_(segment),
        lse_(in_register(args.lse + segment.map * args.extent.tokens + segment.first_row + line())),
        own_(ring),
        d_p_(scratch),
        word_(scratch) {
    const Lane place = lane_place();
    dots_ = in_register(args.dots.partials +
                        args.dots.index(segment.map, segment.first_row, segment.tile) + place.g -
                        (kSpan - 1));
    own_ += (place.g - (kSpan - 1)) * kRowBytes + place.q * kBlockBytes;
    d_p_ += place.g * kScratchBytes + place.q * kBlockBytes;
    word_ += (4 * place.g + place.q % 2 * 2 + place.q / 2) * kWordBytes;
    ask_for_lse(0);
  }

  /// Of group `group`, from this lane's pieces of it; groups must be asked for in order.
  __device__ void make(const SharedPlace& pieces, int group) {
    const float lse2[] = {next_lse_[0] * kLog2e, next_lse_[1] * kLog2e};
    ask_for_lse(group + 1);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int offset = half * (kGroupRows / 2) * kRowBytes;
      pieces.store(offset, softmax_weights<E>(pieces.load(offset), lse2[half]));
    }
  }
  /// Row `line` of those that the group has completed.
  __device__ void keep(Word done, int line) const { word_.store_word(line * kScratchBytes, done); }

  /// The dots of the rows that group `group`, at `place` of the ring, has completed.
  __device__ void store_dots(int group, int place) const {
    __syncwarp();
    const SharedPlace own =
        own_ + (place + (place == 0 && lane_place().g < kSpan - 1 ? kRingBytes : 0));
    float first[4] = {}, second[4] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint4 p = own.load(4 * half * kBlockBytes), d = d_p_.load(4 * half * kBlockBytes);
      mma_k16<E>(first, p.x, p.y, p.z, p.w, d.x, d.y);
      mma_k16<E>(second, p.x, p.y, p.z, p.w, d.z, d.w);
    }
    const Lane at = lane_place();
    const int row = segment_.first_row + group * kGroupRows + at.g - (kSpan - 1);
    if (at.q != at.g / 2 || row < segment_.first_row || row >= segment_.end_row) return;
    dots_[group * kGroupRows] = at.g % 2 == 0 ? first[0] + second[2] : first[1] + second[3];
  }

 private:
  static constexpr int kScratchBytes = kScratchPitch * kNumberBytes;
  __device__ static int line() { return static_cast<int>(threadIdx.x) % kWarp / 8; }
  /// Of the rows of this lane's pieces; infinite, so that weights are 0, past the segment.
  __device__ void ask_for_lse(int group) {
    const int rows = segment_.end_row - segment_.first_row - line();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = group * kGroupRows + half * (kGroupRows / 2);
      next_lse_[half] = row < rows ? lse_[row] : INFINITY;
    }
  }

  const StreamSegment& segment_;
  const float* lse_;
  float next_lse_[2];  // on its way: what is made of it waits for it
  SharedPlace own_, d_p_, word_;
  float* dots_;  // of this lane's row of the first group
};

/// In their place where neither X nor dY is made of others.
struct NoSoftmax {
  __device__ NoSoftmax(const ConvolutionBackwardArgs&, const StreamSegment&, Number*, Number*) {}
};

}  // namespace mta::kernels
