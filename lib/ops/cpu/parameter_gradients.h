// Gradients of convolution kernels and mixing matrices: sums over all entries of a row block.
//
// The sums stay in registers, one vector each, over all rows of the block; lanes are added up once
// for each unit.
#pragma once

#include "lib/ops/cpu/window.h"

namespace mta::ops::cpu::MTA_SIMD {

/// sums[a, b] += sum_{r, j} gradient[r, j] * map[r - halo + a, j - pad + b] for one a and `count`
/// taps from b.
template <int count, class T>
MTA_INLINE void add_taps(const Geometry<T>& g, const T* gradient, const T* map, Index step,
                         Index first, Index end, T* sums) {
  Vector<T> partial[count];
#pragma GCC unroll 8
  for (int b = 0; b < count; ++b) partial[b] = load(sums + b * kLanes<T>);
  for (Index r = first; r < end; ++r, gradient += step, map += step) {
    const Index extent = g.extent(r);
    for (Index j = 0; j < extent; j += kLanes<T>) {
      const Vector<T> outer = load(gradient + j);
#pragma GCC unroll 8
      for (int b = 0; b < count; ++b) partial[b] += outer * load(map + j + b);
    }
  }
#pragma GCC unroll 8
  for (int b = 0; b < count; ++b) store(sums + b * kLanes<T>, partial[b]);
}

/// sums[query_span, key_span][lanes] for one head and the rows [first, end) of the gradient.
template <class T>
void add_kernel_gradient(const Geometry<T>& g, const Convolution<T>& convolution, Index head,
                         const MapWindow<T>& gradient, const MapWindow<T>& map, Index first,
                         Index end, T* sums) {
  for (Index a = 0; a < convolution.query_span; ++a) {
    // Rows above row 0 are zeros: skip them.
    const Index start = larger(first, convolution.halo() - a);
    if (start >= end) continue;
    const T* outer = gradient.row(head, start);
    const T* inner = map.row(head, start - convolution.halo() + a) - convolution.pad_left;
    const Index step = map.row_step;
    T* row_sums = sums + a * convolution.key_span * kLanes<T>;
    Index b = 0;
    const auto at = [&](Index tap) { return row_sums + tap * kLanes<T>; };
    for (; b + 8 <= convolution.key_span; b += 8)
      add_taps<8>(g, outer, inner + b, step, start, end, at(b));
    if (b + 4 <= convolution.key_span)
      add_taps<4>(g, outer, inner + b, step, start, end, at(b)), b += 4;
    if (b + 2 <= convolution.key_span)
      add_taps<2>(g, outer, inner + b, step, start, end, at(b)), b += 2;
    if (b < convolution.key_span) add_taps<1>(g, outer, inner + b, step, start, end, at(b));
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
