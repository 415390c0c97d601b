// Head mixing of map rows, forward and transposed, and the gradient of its matrices.
#pragma once

#include "lib/ops/cpu/product.h"
#include "lib/ops/cpu/window.h"

namespace mta::ops::cpu::MTA_SIMD {

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

template <int outputs, int inputs, class T>
MTA_INLINE void add_pairs(const Geometry<T>& g, const MapWindow<T>& gradient,
                          const MapWindow<T>& map, Index output, Index input, Index first,
                          Index end, T* sums, Index sums_step) {
  Vector<T> partial[outputs][inputs];
#pragma GCC unroll 2
  for (int o = 0; o < outputs; ++o) {
#pragma GCC unroll 4
    for (int i = 0; i < inputs; ++i) partial[o][i] = load(sums + o * sums_step + i * kLanes<T>);
  }
  for (Index r = first; r < end; ++r) {
    const T* outer = gradient.row(output, r);
    const T* inner = map.row(input, r);
    const Index extent = g.extent(r);
    for (Index j = 0; j < extent; j += kLanes<T>) {
#pragma GCC unroll 4
      for (int i = 0; i < inputs; ++i) {
        const Vector<T> x = load(inner + i * map.head_step + j);
#pragma GCC unroll 2
        for (int o = 0; o < outputs; ++o)
          partial[o][i] += load(outer + o * gradient.head_step + j) * x;
      }
    }
  }
#pragma GCC unroll 2
  for (int o = 0; o < outputs; ++o) {
#pragma GCC unroll 4
    for (int i = 0; i < inputs; ++i) store(sums + o * sums_step + i * kLanes<T>, partial[o][i]);
  }
}

/// sums[output, input][lanes] += sum_{r, j} gradient[output][r, j] * map[input][r, j] in the group
/// of heads [head, head + heads).
template <class T>
void add_mixing_gradient(const Geometry<T>& g, Index heads, Index head,
                         const MapWindow<T>& gradient, const MapWindow<T>& map, Index first,
                         Index end, T* sums) {
  const Index step = heads * kLanes<T>;
  const auto at = [&](Index o, Index i) { return sums + o * step + i * kLanes<T>; };
  for (Index o = 0; o < heads; o += 2) {
    for (Index i = 0; i < heads;) {
      const bool pair = o + 2 <= heads, four = i + 4 <= heads;
      T* to = at(o, i);
      if (pair && four)
        add_pairs<2, 4>(g, gradient, map, head + o, head + i, first, end, to, step);
      else if (pair)
        add_pairs<2, 1>(g, gradient, map, head + o, head + i, first, end, to, step);
      else if (four)
        add_pairs<1, 4>(g, gradient, map, head + o, head + i, first, end, to, step);
      else
        add_pairs<1, 1>(g, gradient, map, head + o, head + i, first, end, to, step);
      i += four ? 4 : 1;
    }
  }
}

/// to[i] = the sum of vector i of `count`.
template <class T>
MTA_INLINE void write_sums(const T* sums, Index count, T* to) {
  for (Index i = 0; i < count; ++i) to[i] = sum<T>(load(sums + i * kLanes<T>));
}

}  // namespace mta::ops::cpu::MTA_SIMD
