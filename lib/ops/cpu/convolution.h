// Convolutions of map rows, forward and transposed, and the gradient of their kernels.
//
// Direct sums of c_q c_k multiply-adds an entry. Convolving the keys instead (one product of width
// c_q d, right away from the diagonal) was tried and costs more: see README.md. What limits a
// direct sum is loading each entry c_q c_k times at addresses that cross cache lines, so four rows
// are summed together: a loaded vector serves all rows of the kernel that meet it.
#pragma once

#include "lib/ops/cpu/window.h"

namespace mta::ops::cpu::MTA_SIMD {

/// A kernel [query_span, key_span]: out[r, j] = sum_{a, b} kernel[a, b] * from[r - above + a, j -
/// pad + b].
template <class T>
struct Taps {
  const T* kernel;
  Index query_span, key_span, pad, above;
};

template <class T>
MTA_INLINE Taps<T> forward_taps(const Convolution<T>& convolution, Index head) {
  return {convolution.kernel + head * convolution.taps(), convolution.query_span,
          convolution.key_span, convolution.pad_left, convolution.halo()};
}

/// The transposed convolution: the flipped kernel on the rows r to r + halo.
template <class T>
MTA_INLINE Taps<T> transposed_taps(const Convolution<T>& convolution, const T* flipped) {
  return {flipped, convolution.query_span, convolution.key_span,
          convolution.key_span - 1 - convolution.pad_left, 0};
}

inline constexpr int kMostSpan =
    6;  // kernel rows that are summed at once; longer kernels take several rounds
inline constexpr int kConvolutionRows = 4;

template <int span, int rows, int vectors, class T>
MTA_INLINE void correlate_vectors(const T* from, Index from_step, const T* kernel, Index key_span,
                                  bool accumulate, T* to, Index to_step) {
  Vector<T> sums[rows][vectors] = {};
  if (accumulate) {
#pragma GCC unroll 4
    for (int o = 0; o < rows; ++o) {
#pragma GCC unroll 2
      for (int n = 0; n < vectors; ++n) sums[o][n] = load(to + o * to_step + n * kLanes<T>);
    }
  }
  for (Index b = 0; b < key_span; ++b) {
    Vector<T> weights[span];
#pragma GCC unroll 8
    for (int a = 0; a < span; ++a) weights[a] = broadcast(kernel[a * key_span + b]);
#pragma GCC unroll 16
    for (int i = 0; i < rows + span - 1;
         ++i) {  // row i of `from` meets row a of the kernel in output row i - a
#pragma GCC unroll 2
      for (int n = 0; n < vectors; ++n) {
        const Vector<T> x = load(from + i * from_step + b + n * kLanes<T>);
#pragma GCC unroll 8
        for (int a = 0; a < span; ++a) {
          if (i - a >= 0 && i - a < rows) sums[i - a][n] += weights[a] * x;
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int o = 0; o < rows; ++o) {
#pragma GCC unroll 2
    for (int n = 0; n < vectors; ++n) store(to + o * to_step + n * kLanes<T>, sums[o][n]);
  }
}

template <int span, int rows, class T>
MTA_INLINE void correlate_group(const T* from, Index from_step, const T* kernel, Index key_span,
                                bool accumulate, Index extent, T* to, Index to_step) {
  constexpr Index kPair = 2 * kLanes<T>;
  Index j = 0;
  for (; j + kPair <= extent; j += kPair) {
    correlate_vectors<span, rows, 2>(from + j, from_step, kernel, key_span, accumulate, to + j,
                                     to_step);
  }
  if (j < extent) {
    correlate_vectors<span, rows, 1>(from + j, from_step, kernel, key_span, accumulate, to + j,
                                     to_step);
  }
}

/// The rows [first, end) for the kernel rows [kernel_row, kernel_row + span).
template <class T, int span = kMostSpan>
[[gnu::noinline]] void correlate_span(const Geometry<T>& g, const MapWindow<T>& from,
                                      const Taps<T>& taps, Index kernel_row, Index head,
                                      const MapWindow<T>& to, Index first, Index end) {
  const Index wanted = smaller<Index>(taps.query_span - kernel_row, kMostSpan);
  if constexpr (span > 1) {
    if (wanted < span) {
      correlate_span<T, span - 1>(g, from, taps, kernel_row, head, to, first, end);
      return;
    }
  }
  const T* kernel = taps.kernel + kernel_row * taps.key_span;
  for (Index r = first; r < end;) {
    const T* source = from.row(head, r - taps.above + kernel_row) - taps.pad;
    const bool group = r + kConvolutionRows <= smaller(end, g.tile_end(r));
    if (group) {
      correlate_group<span, kConvolutionRows>(source, from.row_step, kernel, taps.key_span,
                                              kernel_row > 0, g.extent(r), to.row(head, r),
                                              to.row_step);
    } else {
      correlate_group<span, 1>(source, from.row_step, kernel, taps.key_span, kernel_row > 0,
                               g.extent(r), to.row(head, r), to.row_step);
    }
    r += group ? kConvolutionRows : 1;
  }
}

/// to[r] for the rows [first, end) of a head, columns [0, extent(r)).
template <class T>
MTA_INLINE void correlate(const Geometry<T>& g, const MapWindow<T>& from, const Taps<T>& taps,
                          Index head, const MapWindow<T>& to, Index first, Index end) {
  for (Index row = 0; row < taps.query_span; row += kMostSpan) {
    correlate_span(g, from, taps, row, head, to, first, end);
  }
}

// ---- the gradient of a kernel -----------------------------------------------------------------

/// sums[a, b] += sum_j gradient[i + span - 1 - a, j] * map[i, j + b] over `rows` rows i of the map:
/// each meets the gradient's rows i to i + span - 1. sums [span, key_span][lanes].
template <int span, int count, class T>
MTA_INLINE void add_taps(const T* gradient, Index gradient_step, const T* map, Index map_step,
                         Index rows, Index extent, Index key_span, T* sums) {
  Vector<T> partial[span][count];
#pragma GCC unroll 8
  for (int a = 0; a < span; ++a) {
#pragma GCC unroll 4
    for (int b = 0; b < count; ++b) partial[a][b] = load(sums + (a * key_span + b) * kLanes<T>);
  }
  for (Index i = 0; i < rows; ++i, gradient += gradient_step, map += map_step) {
    for (Index j = 0; j < extent; j += kLanes<T>) {
      Vector<T> outer[span];
#pragma GCC unroll 8
      for (int a = 0; a < span; ++a) outer[a] = load(gradient + (span - 1 - a) * gradient_step + j);
#pragma GCC unroll 4
      for (int b = 0; b < count; ++b) {
        const Vector<T> x = load(map + j + b);
#pragma GCC unroll 8
        for (int a = 0; a < span; ++a) partial[a][b] += outer[a] * x;
      }
    }
  }
#pragma GCC unroll 8
  for (int a = 0; a < span; ++a) {
#pragma GCC unroll 4
    for (int b = 0; b < count; ++b) store(sums + (a * key_span + b) * kLanes<T>, partial[a][b]);
  }
}

/// add_taps for all taps of `span` kernel rows and the map's rows [first, end), which share an
/// extent.
template <int span, class T>
MTA_INLINE void add_all_taps(const T* gradient, Index gradient_step, const T* map, Index map_step,
                             Index rows, Index extent, Index key_span, T* sums) {
  Index b = 0;
  for (; b + 4 <= key_span; b += 4) {
    add_taps<span, 4>(gradient, gradient_step, map + b, map_step, rows, extent, key_span,
                      sums + b * kLanes<T>);
  }
  if (b + 2 <= key_span) {
    add_taps<span, 2>(gradient, gradient_step, map + b, map_step, rows, extent, key_span,
                      sums + b * kLanes<T>);
    b += 2;
  }
  if (b < key_span) {
    add_taps<span, 1>(gradient, gradient_step, map + b, map_step, rows, extent, key_span,
                      sums + b * kLanes<T>);
  }
}

/// All `span` kernel rows from kernel_row on, where gradient row r reads map row r - halo + a.
template <class T, int span = kMostSpan>
[[gnu::noinline]] void add_kernel_gradient_span(const Geometry<T>& g, const Convolution<T>& kq,
                                                Index kernel_row, Index head,
                                                const MapWindow<T>& gradient,
                                                const MapWindow<T>& map, Index first, Index end,
                                                T* sums) {
  const Index wanted = smaller<Index>(kq.query_span - kernel_row, kMostSpan);
  if constexpr (span > 1) {
    if (wanted < span) {
      add_kernel_gradient_span<T, span - 1>(g, kq, kernel_row, head, gradient, map, first, end,
                                            sums);
      return;
    }
  }
  // Gradient row r and kernel row kernel_row + a meet in map row r - up + a.
  const Index up = kq.halo() - kernel_row;
  T* row_sums = sums + kernel_row * kq.key_span * kLanes<T>;
  const auto map_row = [&](Index r) { return map.row(head, r) - kq.pad_left; };
  // The map's row m meets gradient rows m + up - (span - 1) to m + up; all of them are ours for m
  // in [from, to).
  const Index from = first - up + span - 1, to = end - up;
  for (Index m = from; m < to;) {
    const Index lowest = m + up;  // its extent is the largest of the rows that meet here
    const Index rows = smaller(to - m, g.tile_end(lowest) - lowest);
    add_all_taps<span>(gradient.row(head, lowest - (span - 1)), gradient.row_step, map_row(m),
                       map.row_step, rows, g.extent(lowest), kq.key_span, row_sums);
    m += rows;
  }
  // The others meet only some: one pair of rows at a time.
  for (Index m = first - up; m < to + span - 1; ++m) {
    if (m == from && from < to) m = to;
    for (Index a = 0; a < span; ++a) {
      const Index r = m + up - a;
      if (r < first || r >= end) continue;
      add_all_taps<1>(gradient.row(head, r), gradient.row_step, map_row(m), map.row_step, 1,
                      g.extent(r), kq.key_span, row_sums + a * kq.key_span * kLanes<T>);
    }
  }
}

/// sums[query_span, key_span][lanes] += what the rows [first, end) of a head's gradient contribute.
template <class T>
MTA_INLINE void add_kernel_gradient(const Geometry<T>& g, const Convolution<T>& kq, Index head,
                                    const MapWindow<T>& gradient, const MapWindow<T>& map,
                                    Index first, Index end, T* sums) {
  if (first >= end) return;
  for (Index row = 0; row < kq.query_span; row += kMostSpan) {
    add_kernel_gradient_span(g, kq, row, head, gradient, map, first, end, sums);
  }
}

}  // namespace mta::ops::cpu::MTA_SIMD
