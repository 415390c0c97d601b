// The backward pass of a unit: one sweep over row blocks from top to bottom, nothing recomputed
// twice.
//
// A transposed convolution at row r reads the gradients of the rows below, r to r + halo. So each
// gradient lags behind the maps by the halos of the convolutions that it has passed, and the last
// block catches up:
//   rows [first, end)              S, P, A; dA = dO v^T, dv, dR
//   rows [.., end - halo_after)    dP, dM = softmax's gradient, dC, gradients before the softmax
//   rows [.., that - halo_before)  dS, dq, dk
#pragma once

#include "lib/ops/cpu/map_rows.h"

namespace mta::ops::cpu::MTA_SIMD {

template <class T>
class BackwardPass {
 public:
  BackwardPass(const Backward<T>& call, Arena& arena)
      : call_(call),
        forward_(call.forward),
        g_(forward_, forward_.kq_before.halo() + forward_.kq_after.halo(),
           larger(forward_.kq_before.halo(), forward_.kq_after.halo()), kWindows),
        maps_(forward_, g_, MapRows<T>::Mode::Backward, arena) {
    const Index c = forward_.unit_heads;
    d_weights_ = add(arena);
    d_convolved_after_ = forward_.heads_after.matrix ? add(arena) : d_weights_;
    d_probabilities_ = forward_.kq_after.kernel ? add(arena) : d_convolved_after_;
    d_convolved_ = forward_.heads_before.matrix ? add(arena) : d_probabilities_;
    d_scores_ = forward_.kq_before.kernel ? add(arena) : d_convolved_;
    values_ = arena.take<T>(c * packed_values_size());
    sides_ = arena.take<Sides>(c);
    side_space_ = arena.take<T>(c * side_sizes());
    flipped_before_ = arena.take<T>(c * forward_.kq_before.taps());
    flipped_after_ = arena.take<T>(c * forward_.kq_after.taps());
    sums_kq_before_ = arena.take<T>(c * forward_.kq_before.taps() * kLanes<T>);
    sums_kq_after_ = arena.take<T>(c * forward_.kq_after.taps() * kLanes<T>);
    sums_heads_before_ = arena.take<T>(c * forward_.heads_before.heads * kLanes<T>);
    sums_heads_after_ = arena.take<T>(c * forward_.heads_after.heads * kLanes<T>);
  }

  void run(Index begin, Index end) {
    clear();
    for (Index unit = begin; unit < end; ++unit) {
      if (g_.slides() && unit > begin) clear();
      run(unit_of(forward_, unit));
    }
  }

 private:
  static constexpr Index kWindows = 5;  // of those below and in maps_, what the usual calls have
  /// k, q and dO as right sides of products.
  struct Sides {
    Right<T> k, q, d_out;
  };

  void run(Unit unit) {
    begin(unit);
    Index probabilities_done = 0, scores_done = 0;
    for (Index first = 0; first < g_.rows; first += g_.block) {
      const Index end = smaller(first + g_.block, g_.rows);
      const bool final = end == g_.rows;
      slide(first);
      if (final) clear_below(end);
      recompute_maps(unit, first, end);
      add_value_gradient(unit, first, end);
      pass_mixing_after(unit, first, end);
      add_kernel_gradient_after(first, end);

      const Index to = final ? end : larger<Index>(end - forward_.kq_after.halo(), 0);
      pass_softmax(probabilities_done, to);
      pass_mixing_before(unit, probabilities_done, to);
      add_kernel_gradient_before(probabilities_done, to);

      const Index scores_to = final ? end : larger<Index>(to - forward_.kq_before.halo(), 0);
      pass_convolution_before(unit, scores_done, scores_to);
      add_query_key_gradients(unit, scores_done, scores_to);
      probabilities_done = to;
      scores_done = scores_to;
    }
    write_parameter_gradients(unit);
  }

  // ---- a unit's beginning and end -------------------------------------------------------------

  void begin(Unit unit) {
    maps_.begin(unit);
    for (Index w = 0; w < count_; ++w) windows_[w].base = -g_.halo;
    for (Index h = 0; h < forward_.unit_heads; ++h) {
      const Index head = unit.head + h;
      pack_transposed(forward_.v.at(unit.batch, head), forward_.v.row_step, forward_.keys,
                      forward_.value_dim, values_ + h * packed_values_size());
      T* space = side_space_ + h * side_sizes();
      const auto side = [&](View<const T> view, Index rows, Index columns) {
        T* piece = space;
        space += right_side_size<T>(rows, columns);
        return right_side(view.at(unit.batch, head), view.row_step, rows, columns, piece);
      };
      sides_[h].k = side(forward_.k, forward_.keys, forward_.head_dim);
      sides_[h].q = side(forward_.q, forward_.rows, forward_.head_dim);
      sides_[h].d_out = side(call_.d_out, forward_.rows, forward_.value_dim);
      clear_gradient(call_.d_k, unit.batch, head, forward_.head_dim);
      clear_gradient(call_.d_v, unit.batch, head, forward_.value_dim);
      flip(forward_.kq_before, head, flipped_before_ + h * forward_.kq_before.taps());
      flip(forward_.kq_after, head, flipped_after_ + h * forward_.kq_after.taps());
    }
    clear_sums(sums_kq_before_, forward_.kq_before.taps());
    clear_sums(sums_kq_after_, forward_.kq_after.taps());
    clear_sums(sums_heads_before_, forward_.heads_before.heads);
    clear_sums(sums_heads_after_, forward_.heads_after.heads);
  }

  /// Keys that no row sees have no gradient, and the others are sums.
  void clear_gradient(const View<T>& gradient, Index batch, Index head, Index columns) {
    T* rows = gradient.at(batch, head);
    for (Index j = 0; j < forward_.keys; ++j) {
      std::memset(rows + j * gradient.row_step, 0, static_cast<std::size_t>(columns) * sizeof(T));
    }
  }

  void flip(const Convolution<T>& convolution, Index head, T* to) {
    if (convolution.kernel == nullptr) return;
    const Index taps = convolution.taps();
    for (Index i = 0; i < taps; ++i) to[i] = convolution.kernel[head * taps + taps - 1 - i];
  }

  void clear_sums(T* sums, Index count) {
    std::memset(sums, 0,
                static_cast<std::size_t>(forward_.unit_heads * count * kLanes<T>) * sizeof(T));
  }

  void write_parameter_gradients(Unit unit) {
    const Index first = unit.batch * forward_.heads + unit.head, c = forward_.unit_heads;
    const auto write = [&](const T* sums, Index count, T* to) {
      if (to != nullptr) write_sums(sums, c * count, to + first * count);
    };
    write(sums_kq_before_, forward_.kq_before.taps(), call_.d_kq_before);
    write(sums_kq_after_, forward_.kq_after.taps(), call_.d_kq_after);
    write(sums_heads_before_, forward_.heads_before.heads, call_.d_heads_before);
    write(sums_heads_after_, forward_.heads_after.heads, call_.d_heads_after);
  }

  // ---- from the maps to dP --------------------------------------------------------------------

  void recompute_maps(Unit unit, Index first, Index end) {
    maps_.compute_scores(first, end);
    for (Index h = 0; h < forward_.unit_heads; ++h) compute_weight_gradient(unit, h, first, end);
    for (Index r = first; r < end; r = g_.tile_end(r)) recompute_tile(unit, r, g_.tile_end(r));
  }

  void recompute_tile(Unit unit, Index first, Index end) {
    maps_.compute_logits(first, end);
    for (Index h = 0; h < forward_.unit_heads; ++h) {
      const SoftmaxRow<T>* rows =
          forward_.softmax_rows + (unit.batch * forward_.heads + unit.head + h) * g_.rows;
      for (Index r = first; r < end; ++r) {
        softmax_again(maps_.probabilities->row(h, r), rows[r], g_.last(r), g_.extent(r));
      }
    }
    maps_.compute_weights(first, end);
    for (Index h = 0; h < forward_.unit_heads; ++h) {
      for (Index r = first; r < end; ++r) {
        const T* factors = maps_.dropout_factors(h, r);
        if (factors == nullptr) continue;
        multiply(factors, maps_.weights->row(h, r), g_.extent(r));
        multiply(factors, d_weights_->row(h, r), g_.extent(r));
      }
    }
  }

  /// dA = dO v^T before dropout; what stands right of the diagonal is cleared: A is zero there
  /// whatever v is.
  void compute_weight_gradient(Unit unit, Index h, Index first, Index end) {
    const T* d_out = call_.d_out.at(unit.batch, unit.head + h);
    const Index step = call_.d_out.row_step;
    for (Index r = first; r < end; r += kTileRows) {
      product_rows<false, T>(
          smaller<Index>(kTileRows, end - r), forward_.value_dim, T{1}, {d_out + r * step, step, 1},
          {values_ + h * packed_values_size(), forward_.value_dim * kLanes<T>, kLanes<T>},
          {d_weights_->row(h, r), d_weights_->row_step, g_.extent(r)});
    }
    if (forward_.kq_after.kernel == nullptr) return;
    for (Index r = first; r < end; ++r)
      clear_after(d_weights_->row(h, r), g_.last(r), g_.extent(r));
  }

  void add_value_gradient(Unit unit, Index first, Index end) {
    for (Index h = 0; h < forward_.unit_heads; ++h) {
      add_transposed_product(*maps_.weights, h, first, end, 0, T{1}, sides_[h].d_out,
                             call_.d_v.at(unit.batch, unit.head + h), call_.d_v.row_step,
                             forward_.value_dim);
    }
  }

  /// to[j] += alpha sum_r map[r, j] right[r] over the rows [first, end): from the first row that
  /// sees key j.
  void add_transposed_product(const MapWindow<T>& map, Index h, Index first, Index end,
                              Index overhang, T alpha, Right<T> right, T* to, Index to_step,
                              Index columns) {
    const Index keys = smaller(g_.last(end - 1) + 1 + overhang, g_.keys);
    for (Index j = 0; j < keys && first < end; j += kTileRows) {
      const Index start = larger(first, j - overhang - g_.first_row);
      if (start >= end) break;
      Right<T> rows = right;
      rows.data += start * right.depth_step;
      product_rows<true, T>(smaller<Index>(kTileRows, keys - j), end - start, alpha,
                            {map.row(h, start) + j, 1, map.row_step}, rows,
                            {to + j * to_step, to_step, columns});
    }
  }

  void pass_mixing_after(Unit unit, Index first, Index end) {
    const Mixing<T>& mixing = forward_.heads_after;
    if (mixing.matrix == nullptr) return;
    add_mixing_gradients(mixing, *d_weights_, *maps_.convolved_after, first, end,
                         sums_heads_after_);
    for (Index r = first; r < end; ++r) {
      mix_row(mixing, unit.head, forward_.unit_heads, Orientation::InputsFromOutputs,
              d_weights_->row(0, r), d_weights_->head_step, d_convolved_after_->row(0, r),
              d_convolved_after_->head_step, g_.extent(r));
    }
  }

  void add_mixing_gradients(const Mixing<T>& mixing, const MapWindow<T>& gradient,
                            const MapWindow<T>& map, Index first, Index end, T* sums) {
    for (Index head = 0; head < forward_.unit_heads; head += mixing.heads) {
      add_mixing_gradient(g_, mixing.heads, head, gradient, map, first, end,
                          sums + head * mixing.heads * kLanes<T>);
    }
  }

  void add_kernel_gradient_after(Index first, Index end) {
    const Convolution<T>& convolution = forward_.kq_after;
    if (convolution.kernel == nullptr) return;
    for (Index h = 0; h < forward_.unit_heads; ++h) {
      add_kernel_gradient(g_, convolution, h, *d_convolved_after_, *maps_.probabilities, first, end,
                          sums_kq_after_ + h * convolution.taps() * kLanes<T>);
    }
  }

  // ---- from dP to dS --------------------------------------------------------------------------

  void pass_softmax(Index first, Index end) {
    for (Index h = 0; h < forward_.unit_heads; ++h) {
      if (forward_.kq_after.kernel != nullptr) {
        const Taps<T> taps =
            transposed_taps(forward_.kq_after, flipped_after_ + h * forward_.kq_after.taps());
        correlate(g_, *d_convolved_after_, taps, h, *d_probabilities_, first, end);
      }
      for (Index r = first; r < end; ++r) {
        softmax_gradient<T>(maps_.probabilities->row(h, r), d_probabilities_->row(h, r),
                            g_.extent(r));
      }
    }
  }

  void pass_mixing_before(Unit unit, Index first, Index end) {
    const Mixing<T>& mixing = forward_.heads_before;
    if (mixing.matrix == nullptr) return;
    add_mixing_gradients(mixing, *d_probabilities_, *maps_.convolved, first, end,
                         sums_heads_before_);
    for (Index r = first; r < end; ++r) {
      mix_row(mixing, unit.head, forward_.unit_heads, Orientation::InputsFromOutputs,
              d_probabilities_->row(0, r), d_probabilities_->head_step, d_convolved_->row(0, r),
              d_convolved_->head_step, g_.extent(r));
    }
  }

  void add_kernel_gradient_before(Index first, Index end) {
    const Convolution<T>& convolution = forward_.kq_before;
    if (convolution.kernel == nullptr) return;
    for (Index h = 0; h < forward_.unit_heads; ++h) {
      T* sums = sums_kq_before_ + h * convolution.taps() * kLanes<T>;
      if (g_.overhang == 0) {
        add_kernel_gradient(g_, convolution, h, *d_convolved_, *maps_.scores, first, end, sums);
        continue;
      }
      for (Index r = first; r < end; ++r) {  // each row sees other keys of the rows above it
        maps_.show_overhang(h, r);
        add_kernel_gradient(g_, convolution, h, *d_convolved_, *maps_.scores, r, r + 1, sums);
      }
    }
  }

  void pass_convolution_before(Unit unit, Index first, Index end) {
    if (forward_.kq_before.kernel == nullptr) return;
    for (Index h = 0; h < forward_.unit_heads; ++h) {
      const Taps<T> taps =
          transposed_taps(forward_.kq_before, flipped_before_ + h * forward_.kq_before.taps());
      correlate(g_, *d_convolved_, taps, h, *d_scores_, first, end);
      for (Index r = first; r < end; ++r) {
        clear_after(d_scores_->row(h, r), g_.last(r), g_.extent(r));
        add_overhang_gradient(unit.head + h, h, r);
      }
    }
  }

  /// `exact`: key j right of row r's diagonal is read by the rows from j on only.
  void add_overhang_gradient(Index head, Index h, Index r) {
    const Convolution<T>& kq = forward_.kq_before;
    const T* kernel = kq.kernel + head * kq.taps();
    for (Index t = 0; t < g_.overhang && g_.last(r) + 1 + t < g_.keys; ++t) {
      const Index key = g_.last(r) + 1 + t;
      T total = 0;
      for (Index reader = key - g_.first_row; reader <= r + kq.halo() && reader < g_.rows;
           ++reader) {
        const T* taps = kernel + (r - reader + kq.halo()) * kq.key_span;
        const T* gradient = d_convolved_->row(h, reader) + key + kq.pad_left;
        for (Index b = 0; b < kq.key_span; ++b) total += taps[b] * gradient[-b];
      }
      d_scores_->row(h, r)[key] = total;
    }
  }

  void add_query_key_gradients(Unit unit, Index first, Index end) {
    if (first >= end) return;
    for (Index h = 0; h < forward_.unit_heads; ++h) {
      T* d_q = call_.d_q.at(unit.batch, unit.head + h);
      const Index step = call_.d_q.row_step;
      for (Index r = first; r < end; r += kTileRows) {
        const Index rows = smaller<Index>(kTileRows, end - r);
        const Index depth = smaller(g_.last(r + rows - 1) + 1 + g_.overhang, g_.keys);
        product_rows<false, T>(rows, depth, forward_.scale,
                               {d_scores_->row(h, r), d_scores_->row_step, 1}, sides_[h].k,
                               {d_q + r * step, step, forward_.head_dim});
      }
      add_transposed_product(*d_scores_, h, first, end, g_.overhang, forward_.scale, sides_[h].q,
                             call_.d_k.at(unit.batch, unit.head + h), call_.d_k.row_step,
                             forward_.head_dim);
    }
  }

  // ---- windows --------------------------------------------------------------------------------

  MapWindow<T>* add(Arena& arena) {
    windows_[count_] = MapWindow<T>::take(arena, forward_.unit_heads, g_);
    return &windows_[count_++];
  }
  void clear() {
    maps_.clear();
    for (Index w = 0; w < count_; ++w) windows_[w].clear();
  }
  void slide(Index first) {
    maps_.slide(first);
    for (Index w = 0; w < count_; ++w) windows_[w].slide(first - g_.halo, first);
  }
  /// No gradient comes from below the last row.
  void clear_below(Index end) {
    if (!g_.slides()) return;  // nothing ever stood there
    for (Index w = 0; w < count_; ++w) windows_[w].clear_rows(end, end + g_.flush);
  }
  Index packed_values_size() const {
    return packed_transposed_size<T>(forward_.keys, forward_.value_dim);
  }
  Index side_sizes() const {
    return right_side_size<T>(forward_.keys, forward_.head_dim) +
           right_side_size<T>(forward_.rows, forward_.head_dim) +
           right_side_size<T>(forward_.rows, forward_.value_dim);
  }

  static constexpr Index kMostWindows = 5;

  const Backward<T>& call_;
  const Forward<T>& forward_;
  Geometry<T> g_;
  MapRows<T> maps_;
  MapWindow<T> windows_[kMostWindows];
  Index count_ = 0;
  MapWindow<T>*d_weights_, *d_convolved_after_, *d_probabilities_, *d_convolved_, *d_scores_;
  T* values_;  // v transposed
  Sides* sides_;
  T* side_space_;
  T *flipped_before_, *flipped_after_;
  T *sums_kq_before_, *sums_kq_after_, *sums_heads_before_, *sums_heads_after_;
};

}  // namespace mta::ops::cpu::MTA_SIMD
