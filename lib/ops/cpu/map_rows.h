// The part that forward and backward share: one unit's scores and, row by row, everything from S to
// A.
//
//   scores S -> convolved C -> probabilities P -> convolved_after R -> weights A
// A step that a call does not have costs no window: both sides of it are the same one.
#pragma once

#include "lib/ops/cpu/convolution.h"
#include "lib/ops/cpu/dropout.h"
#include "lib/ops/cpu/mixing.h"
#include "lib/ops/cpu/product.h"
#include "lib/ops/cpu/stages.h"
#include "lib/ops/cpu/window.h"

namespace mta::ops::cpu::MTA_SIMD {

/// Which unit: a sample and its first head.
struct Unit {
  Index batch, head;
};
template <class T>
MTA_INLINE Unit unit_of(const Forward<T>& call, Index unit) {
  const Index in_sample = call.heads / call.unit_heads;
  return {unit / in_sample, unit % in_sample * call.unit_heads};
}

template <class T>
class MapRows {
 public:
  /// Backward reads S, C, P and R again, so none of them may be overwritten.
  enum class Mode { Forward, Backward };

  MapRows(const Forward<T>& call, const Geometry<T>& geometry, Mode mode, Arena& arena)
      : call_(call),
        g_(geometry),
        convolves_(call.kq_before.kernel != nullptr),
        mixes_(call.heads_before.matrix != nullptr),
        convolves_after_(call.kq_after.kernel != nullptr),
        mixes_after_(call.heads_after.matrix != nullptr),
        drops_(call.dropout.threshold > 0) {
    const bool keeps = mode == Mode::Backward;
    scores = window(arena);
    if (g_.overhang > 0) {
      overhang_ = add(MapWindow<T>::take(arena, call.unit_heads, g_.slots(), g_.overhang, 0));
    }
    convolved = !(convolves_ && mixes_) ? scores : keeps ? window(arena) : tile_window(arena, 0);
    probabilities = convolves_ || mixes_ ? window(arena) : scores;
    convolved_after = !(convolves_after_ && mixes_after_) ? probabilities
                      : keeps                             ? window(arena)
                                                          : tile_window(arena, 1);
    weights = convolves_after_ || mixes_after_ || (keeps && drops_) ? window(arena) : probabilities;
    if (drops_) factors_ = arena.take<T>(round_up(g_.row_step, kDropoutStep));
    packed_keys_ = arena.take<T>(call.unit_heads * packed_size());
  }
  MapRows(const MapRows&) = delete;
  MapRows& operator=(const MapRows&) = delete;

  void clear() {
    for (Index w = 0; w < count_; ++w) windows_[w].clear();
  }

  void begin(Unit unit) {
    unit_ = unit;
    for (Index w = 0; w < count_; ++w) windows_[w].base = -g_.halo;
    for (Index h = 0; h < call_.unit_heads; ++h) {
      pack_transposed(call_.k.at(unit.batch, unit.head + h), call_.k.row_step, call_.keys,
                      call_.head_dim, packed_keys_ + h * packed_size());
    }
  }

  void slide(Index block_first) {
    for (Index w = 0; w < count_; ++w) windows_[w].slide(block_first - g_.halo, block_first);
  }

  /// S for the rows [first, end), zero right of the diagonal where a convolution will read it.
  void compute_scores(Index first, Index end) {
    for (Index h = 0; h < call_.unit_heads; ++h) {
      const T* q = call_.q.at(unit_.batch, unit_.head + h);
      const T* keys = packed_keys_ + h * packed_size();
      for (Index r = first; r < end; r += kTileRows) {
        product_rows<false, T>(smaller<Index>(kTileRows, end - r), call_.head_dim, call_.scale,
                               {q + r * call_.q.row_step, call_.q.row_step, 1},
                               {keys, call_.head_dim * kLanes<T>, kLanes<T>},
                               {scores->row(h, r), scores->row_step, g_.score_extent(r)});
      }
      if (convolves_) {
        for (Index r = first; r < end; ++r) take_overhang(h, r);
      }
    }
  }

  /// `exact` only: lets the rows that row r's convolution reads show their keys up to row r's own.
  void show_overhang(Index h, Index r) {
    if (g_.overhang == 0) return;
    for (Index source = larger<Index>(r - g_.overhang, 0); source <= r; ++source) {
      T* row = scores->row(h, source);
      const T* hidden = overhang_->row(h, source);
      for (Index t = 0; t < g_.overhang; ++t) {
        const Index key = g_.last(source) + 1 + t;
        if (key < g_.keys) row[key] = key <= g_.last(r) ? hidden[t] : T{0};
      }
    }
  }

  /// From S to the scores that the softmax sees, in the place of P, for the rows [first, end) of a
  /// tile.
  void compute_logits(Index first, Index end) {
    if (convolves_) {
      if (mixes_) start_tile(*convolved, first);
      const MapWindow<T>& to = mixes_ ? *convolved : *probabilities;
      for (Index h = 0; h < call_.unit_heads; ++h) {
        const Taps<T> taps = forward_taps(call_.kq_before, unit_.head + h);
        if (g_.overhang == 0) correlate(g_, *scores, taps, h, to, first, end);
        for (Index r = first; r < end && g_.overhang > 0; ++r) {
          show_overhang(h, r);
          correlate(g_, *scores, taps, h, to, r, r + 1);
        }
      }
    }
    if (mixes_) mix(call_.heads_before, *convolved, *probabilities, first, end);
  }

  /// From P to A before dropout, for the rows [first, end) of a tile.
  void compute_weights(Index first, Index end) {
    if (convolves_after_) {
      if (mixes_after_) start_tile(*convolved_after, first);
      const MapWindow<T>& to = mixes_after_ ? *convolved_after : *weights;
      for (Index h = 0; h < call_.unit_heads; ++h) {
        correlate(g_, *probabilities, forward_taps(call_.kq_after, unit_.head + h), h, to, first,
                  end);
        for (Index r = first; r < end; ++r) clear_after(to.row(h, r), g_.last(r), g_.extent(r));
      }
    }
    if (mixes_after_) {
      mix(call_.heads_after, *convolved_after, *weights, first, end);
    } else if (!convolves_after_ && weights != probabilities) {
      for (Index h = 0; h < call_.unit_heads; ++h) {
        for (Index r = first; r < end; ++r) {
          std::memcpy(weights->row(h, r), probabilities->row(h, r),
                      static_cast<std::size_t>(g_.extent(r)) * sizeof(T));
        }
      }
    }
  }

  /// Null where there is no dropout.
  const T* dropout_factors(Index h, Index r) {
    if (!drops_) return nullptr;
    const Index map = unit_.batch * call_.heads + unit_.head + h;
    dropout_row<T>(call_.dropout, map, g_.last(r), g_.extent(r), factors_);
    return factors_;
  }

  MapWindow<T>*scores, *convolved, *probabilities, *convolved_after, *weights;

 private:
  Index packed_size() const { return packed_transposed_size<T>(call_.keys, call_.head_dim); }

  MapWindow<T>* add(MapWindow<T> w) {
    windows_[count_] = w;
    return &windows_[count_++];
  }
  MapWindow<T>* window(Arena& arena) {
    return add(MapWindow<T>::take(arena, call_.unit_heads, g_));
  }
  /// Rows that nobody reads after their tile: memory for one tile, no margins to keep zero.
  MapWindow<T>* tile_window(Arena& arena, Index which) {
    tiles_[which] = MapWindow<T>::take(arena, call_.unit_heads, kTileRows, g_.row_step, g_.margin);
    return &tiles_[which];
  }
  void start_tile(MapWindow<T>& w, Index first) {
    if (&w == &tiles_[0] || &w == &tiles_[1]) w.base = first;
  }

  void mix(const Mixing<T>& mixing, const MapWindow<T>& from, const MapWindow<T>& to, Index first,
           Index end) {
    for (Index r = first; r < end; ++r) {
      mix_row(mixing, unit_.head, call_.unit_heads, Orientation::OutputsFromInputs, from.row(0, r),
              from.head_step, to.row(0, r), to.head_step, g_.extent(r));
    }
  }

  void take_overhang(Index h, Index r) {
    T* row = scores->row(h, r);
    if (g_.overhang > 0) {
      T* hidden = overhang_->row(h, r);
      for (Index t = 0; t < g_.overhang; ++t) {
        const Index key = g_.last(r) + 1 + t;
        hidden[t] = key < g_.keys ? row[key] : T{0};
      }
    }
    clear_after(row, g_.last(r), g_.score_extent(r));
  }

  static constexpr Index kMostWindows = 6;

  const Forward<T>& call_;
  const Geometry<T>& g_;
  const bool convolves_, mixes_, convolves_after_, mixes_after_, drops_;
  MapWindow<T> windows_[kMostWindows], tiles_[2];
  Index count_ = 0;
  MapWindow<T>* overhang_ = nullptr;  // scores right of the diagonal, hidden from the others
  T* factors_ = nullptr;
  T* packed_keys_ = nullptr;
  Unit unit_{};
};

}  // namespace mta::ops::cpu::MTA_SIMD
