// The gradient of M where it is made on its way through a warp of the streamed convolution.
#pragma once

#include "lib/kernels/streamed_rows.cuh"

namespace mta::kernels {

/// dM = P (dP - D) in the place of dP. A lane makes the pieces of the tile's own keys that it has
/// copied, and of those beside them as many words as all other lanes. It asks for lse and D of one
/// row of the next group.
template <class E, int kBlocks>
class StreamGradient {
  using Pieces = StreamPieces<kBlocks>;

 public:
  __device__ StreamGradient(const ConvolutionBackwardArgs& args, const StreamSegment& segment,
                            Number* ring, Number* mixed)
      : rows_(end_of_output(args) - segment.first_row - line()),
        lse_(in_register(args.lse + segment.map * args.extent.tokens + segment.first_row + line())),
        dots_(
            in_register(args.row_dots + segment.map * args.dot_rows + segment.first_row + line())),
        halo_(ring),
        mixed_halo_(mixed),
        halo_in_map_(segment.first_key + halo_column(args) >= 0) {
    const int bytes = halo_column(args) * kNumberBytes + halo_word() % kPieceWords * kWordBytes;
    halo_ += halo_row() * kRowBytes + kOwnKeys + bytes;
    mixed_halo_ += halo_row() * kMixedRowBytes + kMixedOwnKeys + bytes;
    ask_for_row(0);
  }

  /// Of group `group` at `place` of the ring, once all lanes' copies have come; groups must be
  /// asked for in order. What is past the diagonal is still to be masked.
  template <class Copies>
  __device__ void make(const Copies& copies, int place, int group) {
    const float lse2 = next_lse_ * kLog2e, dot = next_dot_;
    ask_for_row(group + 1);
    const SharedPlace own = copies.own_pieces(place), mixed = copies.mixed().own_pieces(place);
#pragma unroll
    for (int r = 0; r < kGroupRows; r += Pieces::kHalfRows) {
      const int row = Pieces::row() + r;
      const float row_lse2 = of_row(lse2, row), row_dot = of_row(dot, row);
      uint4 m = mixed.load(r * kMixedRowBytes);
      const uint4 d_p = own.load(r * kRowBytes + kOwnKeys);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        (&m.x)[n] = softmax_gradient_pair<E>((&m.x)[n], (&d_p.x)[n], row_lse2, row_dot);
      }
      own.store(r * kRowBytes + kOwnKeys, m);
    }
    make_halo(place, of_row(lse2, halo_row()), of_row(dot, halo_row()));
  }

 private:
  static constexpr int kPieceWords = kChunk / 2, kHaloWords = Pieces::kHalo;  // of a lane
  static_assert(kGroupRows * Pieces::kHalo * kPieceWords == kWarp * kHaloWords);
  static constexpr int kRowLanes = kWarp / kGroupRows;
  __device__ static int line() { return own_lane() % kGroupRows; }
  __device__ static float of_row(float x, int row) { return __shfl_sync(0xFFFFFFFFu, x, row); }
  __device__ static int halo_row() { return own_lane() / kRowLanes; }
  /// The first of this lane's in the row.
  __device__ static int halo_word() { return own_lane() % kRowLanes * kHaloWords; }
  __device__ static int halo_column(const ConvolutionBackwardArgs& args) {
    return Pieces::halo_column(halo_word() / kPieceWords, args.window.halo);
  }
  __device__ void make_halo(int place, float lse2, float dot) const {
    const SharedPlace d_p = halo_ + place, m = mixed_halo_ + mixed_place(place);
    if (!halo_in_map_) lse2 = INFINITY;
#pragma unroll
    for (int n = 0; n < kHaloWords; ++n) {
      const int offset = n * kWordBytes;
      d_p.store_word(
          offset, softmax_gradient_pair<E>(m.load_word(offset), d_p.load_word(offset), lse2, dot));
    }
  }
  /// Past the last row weights are 0.
  __device__ void ask_for_row(int group) {
    const int row = group * kGroupRows;
    const bool inside = row < rows_;
    next_lse_ = inside ? lse_[row] : INFINITY;
    next_dot_ = inside ? dots_[row] : 0;
  }

  int rows_;                   // of the output, from this lane's row of the first group on
  const float *lse_, *dots_;   // of this lane's row of the first group
  float next_lse_, next_dot_;  // on their way: what is made of them waits for them
  SharedPlace halo_, mixed_halo_;
  bool halo_in_map_;  // where nothing is copied P must be 0, too
};

}  // namespace mta::kernels
