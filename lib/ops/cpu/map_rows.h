// The part that forward and backward share: one unit's scores and, row by row, everything from S to
// A.
//
//   scores S -> convolved C -> probabilities P -> convolved_after R -> weights A
// A step that a call does not have costs no window: both sides of it are the same one.
#pragma once

#include "lib/ops/cpu/dropout.h"
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
MTA_INLINE Taps<T> taps_of(const Convolution<T>& convolution, Index head) {
  return {convolution.kernel + head * convolution.taps(), convolution.query_span,
          convolution.key_span, convolution.pad_left};
}

enum class Orientation { OutputsFromInputs, InputsFromOutputs };

/// to[g] = sum_h matrix[g, h] from[h] (or its transpose) for one row of all groups of a unit.
template <class T>
MTA_INLINE void mix_row(const Mixing<T>& mixing, Index first_head, Index unit_heads,
                        Orientation orientation, const T* from, Index from_step, T* to,
                        Index to_step, Index extent) {
  const Index c = mixing.heads;
  const bool direct = orientation == Orientation::OutputsFromInputs;
  for (Index head = 0; head < unit_heads; head += c) {
    const T* matrix = mixing.matrix + (first_head + head) / c * c * c;
    for (Index g = 0; g < c; g += kTileRows) {
      const Left<T> left = direct ? Left<T>{matrix + g * c, c, 1} : Left<T>{matrix + g, 1, c};
      product_rows<false, T>(smaller<Index>(c - g, kTileRows), c, T{1}, left,
                             {from + head * from_step, kLanes<T>, from_step},
                             {to + (head + g) * to_step, to_step, extent});
    }
  }
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
    convolved = !(convolves_ && mixes_) ? scores : keeps ? window(arena) : row_window(arena);
    probabilities = convolves_ || mixes_ ? window(arena) : scores;
    convolved_after = !(convolves_after_ && mixes_after_) ? probabilities
                      : keeps                             ? window(arena)
                                                          : row_window(arena);
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

  /// From S to the scores that the softmax sees, in the place of P.
  void compute_logits(Index r) {
    const Index extent = g_.extent(r);
    if (convolves_) {
      MapWindow<T>& to = mixes_ ? *convolved : *probabilities;
      for (Index h = 0; h < call_.unit_heads; ++h) {
        show_overhang(h, r);
        correlate(scores->row(h, r - call_.kq_before.halo()), scores->row_step,
                  taps_of(call_.kq_before, unit_.head + h), extent, to.row(h, r));
      }
    }
    if (mixes_) {
      mix_row(call_.heads_before, unit_.head, call_.unit_heads, Orientation::OutputsFromInputs,
              convolved->row(0, r), convolved->head_step, probabilities->row(0, r),
              probabilities->head_step, extent);
    }
  }

  /// From P to A before dropout.
  void compute_weights(Index r) {
    const Index extent = g_.extent(r);
    if (convolves_after_) {
      MapWindow<T>& to = mixes_after_ ? *convolved_after : *weights;
      for (Index h = 0; h < call_.unit_heads; ++h) {
        T* row = to.row(h, r);
        correlate(probabilities->row(h, r - call_.kq_after.halo()), probabilities->row_step,
                  taps_of(call_.kq_after, unit_.head + h), extent, row);
        clear_after(row, g_.last(r), extent);
      }
    }
    if (mixes_after_) {
      mix_row(call_.heads_after, unit_.head, call_.unit_heads, Orientation::OutputsFromInputs,
              convolved_after->row(0, r), convolved_after->head_step, weights->row(0, r),
              weights->head_step, extent);
    } else if (!convolves_after_ && weights != probabilities) {
      for (Index h = 0; h < call_.unit_heads; ++h) {
        std::memcpy(weights->row(h, r), probabilities->row(h, r),
                    static_cast<std::size_t>(extent) * sizeof(T));
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
  MapWindow<T>* row_window(Arena& arena) {
    return add(MapWindow<T>::take_row(arena, call_.unit_heads, g_));
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
  MapWindow<T> windows_[kMostWindows];
  Index count_ = 0;
  MapWindow<T>* overhang_ = nullptr;  // scores right of the diagonal, hidden from the others
  T* factors_ = nullptr;
  T* packed_keys_ = nullptr;
  Unit unit_{};
};

}  // namespace mta::ops::cpu::MTA_SIMD
