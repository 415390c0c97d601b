// The forward pass of a unit: row blocks from top to bottom, each from S to O.
#pragma once

#include "lib/ops/cpu/map_rows.h"

namespace mta::ops::cpu::MTA_SIMD {

template <class T>
class ForwardPass {
 public:
  ForwardPass(const Forward<T>& call, Arena& arena)
      : call_(call),
        g_(call, larger(call.kq_before.halo(), call.kq_after.halo()), 0, kWindows),
        maps_(call, g_, MapRows<T>::Mode::Forward, arena),
        values_(arena.take<Right<T>>(call.unit_heads)),
        space_(arena.take<T>(call.unit_heads * values_size())) {}

  void run(Index begin, Index end) {
    maps_.clear();
    for (Index unit = begin; unit < end; ++unit) {
      if (g_.slides() && unit > begin) maps_.clear();
      run(unit_of(call_, unit));
    }
  }

 private:
  static constexpr Index kWindows = 3;  // S, P, A

  Index values_size() const { return right_side_size<T>(call_.keys, call_.value_dim); }

  void run(Unit unit) {
    maps_.begin(unit);
    for (Index h = 0; h < call_.unit_heads; ++h) {
      values_[h] = right_side(call_.v.at(unit.batch, unit.head + h), call_.v.row_step, call_.keys,
                              call_.value_dim, space_ + h * values_size());
    }
    for (Index first = 0; first < g_.rows; first += g_.block) {
      const Index end = smaller(first + g_.block, g_.rows);
      maps_.slide(first);
      maps_.compute_scores(first, end);
      for (Index r = first; r < end; r = g_.tile_end(r)) finish_tile(unit, r, g_.tile_end(r));
      for (Index h = 0; h < call_.unit_heads; ++h) sum_values(unit, h, first, end);
    }
  }

  /// From S to A after dropout.
  void finish_tile(Unit unit, Index first, Index end) {
    maps_.compute_logits(first, end);
    for (Index h = 0; h < call_.unit_heads; ++h) {
      SoftmaxRow<T>* rows =
          call_.softmax_rows + (unit.batch * call_.heads + unit.head + h) * g_.rows;
      for (Index r = first; r < end; ++r) {
        rows[r] = softmax(maps_.probabilities->row(h, r), g_.last(r), g_.extent(r));
      }
    }
    maps_.compute_weights(first, end);
    for (Index h = 0; h < call_.unit_heads; ++h) {
      for (Index r = first; r < end; ++r) {
        const T* factors = maps_.dropout_factors(h, r);
        if (factors != nullptr) multiply(factors, maps_.weights->row(h, r), g_.extent(r));
      }
    }
  }

  /// O = A v for the rows [first, end).
  void sum_values(Unit unit, Index h, Index first, Index end) {
    T* out = call_.out.at(unit.batch, unit.head + h);
    for (Index r = first; r < end; r += kTileRows) {
      const Index rows = smaller<Index>(kTileRows, end - r);
      product_rows<false, T>(rows, g_.last(r + rows - 1) + 1, T{1},
                             {maps_.weights->row(h, r), maps_.weights->row_step, 1}, values_[h],
                             {out + r * call_.out.row_step, call_.out.row_step, call_.value_dim});
    }
  }

  const Forward<T>& call_;
  Geometry<T> g_;
  MapRows<T> maps_;
  Right<T>* values_;
  T* space_;
};

}  // namespace mta::ops::cpu::MTA_SIMD
