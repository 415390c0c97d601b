// Matrix products for maps: C (+)= alpha A B from register tiles, and the copies that bring B into
// vector order.
//
// A tile is kTileRows x kTileVectors vectors of C, held in registers over the whole depth. Single
// tiles are called instead of whole products because each tile of a causal map has its own width or
// depth: nothing above the diagonal is computed but the rest of a tile. At 16 to 320 rows these
// beat a BLAS call by a factor of 2 and more (280 against 115 GFLOP/s at 64 x 320 x 128 and 246
// against 50 at 30 x 30 x 16 on one core of an EPYC 9005, 2026-11-24).
#pragma once

#include "lib/ops/cpu/call.h"
#include "lib/ops/cpu/vector.h"

namespace mta::ops::cpu::MTA_SIMD {

/// A[m, k] = data[m * row_step + k * depth_step]: steps exchanged, it is the transpose.
template <class T>
struct Left {
  const T* data;
  Index row_step, depth_step;
};

/// Vector n of row k of B is at data[n * vector_step + k * depth_step].
template <class T>
struct Right {
  const T* data;
  Index vector_step, depth_step;
};

/// C[m, j] = data[m * row_step + j] for j < columns.
template <class T>
struct Target {
  T* data;
  Index row_step, columns;
};

template <class T>
MTA_INLINE void store_some(T* to, Vector<T> v, Index lanes) {
  for (Index i = 0; i < lanes; ++i) to[i] = v[i];
}

template <int rows, int vectors, bool accumulate, class T>
MTA_INLINE void tile(Index depth, T alpha, Left<T> a, Right<T> b, Target<T> c) {
  Vector<T> sums[rows][vectors] = {};
  for (Index k = 0; k < depth; ++k) {
    Vector<T> right[vectors];
#pragma GCC unroll 4
    for (int n = 0; n < vectors; ++n)
      right[n] = load(b.data + n * b.vector_step + k * b.depth_step);
#pragma GCC unroll 8
    for (int m = 0; m < rows; ++m) {
      const Vector<T> left = broadcast(a.data[m * a.row_step + k * a.depth_step]);
#pragma GCC unroll 4
      for (int n = 0; n < vectors; ++n) sums[m][n] += left * right[n];
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < rows; ++m) {
#pragma GCC unroll 4
    for (int n = 0; n < vectors; ++n) {
      T* to = c.data + m * c.row_step + n * kLanes<T>;
      const Vector<T> product = sums[m][n] * alpha;
      const Index lanes = c.columns - n * kLanes<T>;
      if (lanes >= kLanes<T>) {
        store(to, accumulate ? load(to) + product : product);
      } else {
        for (Index i = 0; i < lanes; ++i) to[i] = accumulate ? to[i] + product[i] : product[i];
      }
    }
  }
}

template <int rows, bool accumulate, class T>
MTA_INLINE void tile_row(Index depth, T alpha, Left<T> a, Right<T> b, Target<T> c) {
  constexpr Index kWidth = kTileVectors * kLanes<T>;
  while (c.columns > kWidth - kLanes<T>) {
    tile<rows, kTileVectors, accumulate>(depth, alpha, a, b, c);
    b.data += kTileVectors * b.vector_step;
    c.data += kWidth;
    c.columns -= kWidth;
  }
  while (c.columns > 0) {
    tile<rows, 1, accumulate>(depth, alpha, a, b, c);
    b.data += b.vector_step;
    c.data += kLanes<T>;
    c.columns -= kLanes<T>;
  }
}

/// C[0..rows, 0..columns) (+)= alpha A B, for 1 to kTileRows rows. The padding lanes of B's last
/// vector must be zero where C's columns end inside a vector only if C is read there: they are
/// computed, not stored.
template <bool accumulate, class T, int most = kTileRows>
[[gnu::noinline]] void product_rows(Index rows, Index depth, T alpha, Left<T> a, Right<T> b,
                                    Target<T> c) {
  if (rows == most) {
    tile_row<most, accumulate>(depth, alpha, a, b, c);
  } else if constexpr (most > 1) {
    product_rows<accumulate, T, most - 1>(rows, depth, alpha, a, b, c);
  }
}

/// from[rows, columns] -> vector order of its transpose: element (column, row) of B at
/// to[(row / lanes) * columns * lanes + column * lanes + row % lanes]; rows padded with zeros.
template <class T>
void pack_transposed(const T* from, Index row_step, Index rows, Index columns, T* to);

/// Elements that pack_transposed writes.
template <class T>
MTA_INLINE Index packed_transposed_size(Index rows, Index columns) {
  return round_up(rows, kLanes<T>) * columns;
}

template <class T>
MTA_INLINE void transpose_square(Vector<T> (&v)[static_cast<std::size_t>(kLanes<T>)]) {
  constexpr int n = static_cast<int>(kLanes<T>);
  // A perfect shuffle of rows i and i + n / 2, log2(n) times, is the transposition.
#pragma GCC unroll 4
  for (int distance = 1; distance < n; distance *= 2) {
    Vector<T> shuffled[static_cast<std::size_t>(n)];
#pragma GCC unroll 8
    for (int i = 0; i < n / 2; ++i) {
      shuffled[2 * i] = zip_low(v[i], v[i + n / 2], LaneSequence<T>());
      shuffled[2 * i + 1] = zip_high(v[i], v[i + n / 2], LaneSequence<T>());
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) v[i] = shuffled[i];
  }
}

template <class T>
void pack_transposed(const T* from, Index row_step, Index rows, Index columns, T* to) {
  constexpr Index n = kLanes<T>;
  for (Index r = 0; r < rows; r += n, to += columns * n) {
    const Index height = smaller(n, rows - r);
    Index c = 0;
    for (; c + n <= columns; c += n) {
      Vector<T> square[static_cast<std::size_t>(n)];
#pragma GCC unroll 16
      for (Index i = 0; i < n; ++i) {
        square[i] = i < height ? load(from + (r + i) * row_step + c) : Vector<T>{};
      }
      transpose_square<T>(square);
#pragma GCC unroll 16
      for (Index i = 0; i < n; ++i) store(to + (c + i) * n, square[i]);
    }
    for (; c < columns; ++c) {
      for (Index i = 0; i < n; ++i)
        to[c * n + i] = i < height ? from[(r + i) * row_step + c] : T{0};
    }
  }
}

/// A matrix [rows, columns] as the right side of a product: in place where its columns fill vectors
/// and its rows are near, else copied to `space` in vector order, padded with zeros.
template <class T>
MTA_INLINE Right<T> right_side(const T* from, Index row_step, Index rows, Index columns, T* space) {
  constexpr Index n = kLanes<T>;
  if (columns % n == 0 && columns <= n * kTileVectors) return {from, n, row_step};
  for (Index c = 0; c < columns; c += n) {
    const Index width = smaller(n, columns - c);
    T* to = space + c * rows;
    for (Index r = 0; r < rows; ++r, to += n) {
      const T* row = from + r * row_step + c;
      if (width == n) {
        store(to, load(row));
      } else {
        for (Index i = 0; i < n; ++i) to[i] = i < width ? row[i] : T{0};
      }
    }
  }
  return {space, rows * n, n};
}

/// Elements that right_side may write.
template <class T>
MTA_INLINE Index right_side_size(Index rows, Index columns) {
  return rows * round_up(columns, kLanes<T>);
}

}  // namespace mta::ops::cpu::MTA_SIMD
