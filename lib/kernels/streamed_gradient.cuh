// The gradient of M where it is made on its way through a warp of the streamed convolution.
#pragma once

#include "lib/kernels/streamed_rows.cuh"

namespace mta::kernels {

/// dM = P (dP - D) in the place of dP. A lane makes the pieces of the tiles' own keys that it has
/// copied, and of those beside them as many words as all other lanes. It asks for lse and D of one
/// row of the next group.
template <class E, int kBlocks>
class StreamGradient {
  using Pieces = StreamPieces<kBlocks>;

 public:
  __device__ StreamGradient(const ConvolutionBackwardArgs& args, const RowSegment& segment,
                            const SharedPlace& ring)
      : args_(args),
        segment_(segment),
        ring_(ring),
        halo_in_map_(segment.first_key + halo_column() >= 0) {
    ask_for_row(segment.first_row);
  }

  /// Of the group that begins with row `first_row`, in the slot at `place` where this lane's pieces
  /// begin at `own`, once all lanes' copies have come; groups must be asked for in order. Pieces
  /// past the diagonal become zero, unless `kPlain` says that there are none.
  template <bool kPlain>
  __device__ void make(const SharedPlace& own, int place, int first_row) {
    const float lse2 = next_lse_ * kLog2e, dot = next_dot_;
    ask_for_row(first_row + kGroupRows);
    const SharedPlace d_p_rows = own + kOutputs, m_rows = own + (mixed_place(first_row) - place);
    const bool past = !kPlain && segment_.first_key + Pieces::column() > first_row;
#pragma unroll
    for (int r = 0; r < kGroupRows; r += Pieces::kRowsAPass) {
      const int row = Pieces::row() + r, offset = r * kRowBytes;
      const float of_this = of_row(lse2, row), row_dot = of_row(dot, row),
                  row_lse2 = past ? INFINITY : of_this;
      uint4 m = m_rows.load(offset);
      const uint4 d_p = d_p_rows.load(offset);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        (&m.x)[n] = softmax_gradient_pair<E>((&m.x)[n], (&d_p.x)[n], row_lse2, row_dot);
      }
      d_p_rows.store(offset, m);
    }
    const int halo_place = halo_row() * kRowBytes + kRoomBytes + halo_column() * kNumberBytes +
                           halo_word() % kPieceWords * kWordBytes;
    const float halo_lse2 = of_row(lse2, halo_row()), halo_dot = of_row(dot, halo_row());
    const bool is_zero =
        !halo_in_map_ || (!kPlain && segment_.first_key + halo_column() > first_row);
    make_halo(ring_ + (place + kOutputs + halo_place),
              ring_ + (mixed_place(first_row) + halo_place), is_zero ? INFINITY : halo_lse2,
              halo_dot);
  }

 private:
  static constexpr int kPieceWords = kChunk / 2, kHaloWords = Pieces::kHalo;  // of a lane
  static_assert(kGroupRows * Pieces::kHalo * kPieceWords == kWarp * kHaloWords);
  static constexpr int kRowLanes = kWarp / kGroupRows;
  __device__ static int halo_row() { return own_lane() / kRowLanes; }
  /// The first of this lane's in the row.
  __device__ static int halo_word() { return own_lane() % kRowLanes * kHaloWords; }
  __device__ int halo_column() const {
    return Pieces::halo_column(halo_word() / kPieceWords, args_.window.halo);
  }
  __device__ void make_halo(const SharedPlace& d_p, const SharedPlace& m, float lse2,
                            float dot) const {
#pragma unroll
    for (int n = 0; n < kHaloWords; ++n) {
      const int offset = n * kWordBytes;
      d_p.store_word(
          offset, softmax_gradient_pair<E>(m.load_word(offset), d_p.load_word(offset), lse2, dot));
    }
  }
  /// Past the last row weights are 0.
  __device__ void ask_for_row(int first_row) {
    const int row = first_row + own_lane() % kGroupRows;
    const bool inside = row < end_of_output(args_);
    next_lse_ = inside ? args_.lse[segment_.map * args_.extent.tokens + row] : INFINITY;
    next_dot_ = inside ? args_.row_dots[segment_.map * args_.dot_rows + row] : 0;
  }

  const ConvolutionBackwardArgs& args_;
  const RowSegment& segment_;
  float next_lse_, next_dot_;  // on their way: what is made of them waits for them
  const SharedPlace ring_;
  bool halo_in_map_;  // where nothing is copied P must be 0, too
};

}  // namespace mta::kernels
