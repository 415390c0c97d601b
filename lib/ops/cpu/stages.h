// The softmax of a row, its gradient, the causal mask and dropout's factors.
//
// Row functions work on whole vectors, columns [0, extent) with extent a multiple of the vector's
// lanes and of at least i + 1 columns.
#pragma once

#include "lib/ops/cpu/call.h"
#include "lib/ops/cpu/exponential.h"
#include "lib/ops/cpu/vector.h"

namespace mta::ops::cpu::MTA_SIMD {

/// Sets the columns after `last` to zero, up to extent.
template <class T>
MTA_INLINE void clear_after(T* row, Index last, Index extent) {
  for (Index j = (last + 1) / kLanes<T> * kLanes<T>; j < extent; j += kLanes<T>) {
    store(row + j, keep_until<T>(load(row + j), j, last, T{0}));
  }
}

/// Softmax over columns [0, last], zeros after it.
template <class T>
MTA_INLINE SoftmaxRow<T> softmax(T* row, Index last, Index extent) {
  constexpr Index n = kLanes<T>;
  const Index whole = (last + 1) / n * n;
  Vector<T> high = broadcast(row[0]);
  for (Index j = 0; j < whole; j += n) {
    const Vector<T> x = load(row + j);
    high = x > high ? x : high;
  }
  if (whole <= last) {
    const Vector<T> x = keep_until<T>(load(row + whole), whole, last, row[0]);
    high = x > high ? x : high;
  }
  const T most = largest<T>(high);
  Vector<T> sums = {};
  for (Index j = 0; j < whole; j += n) {
    const Vector<T> e = exponential<T>(load(row + j) - most);
    sums += e;
    store(row + j, e);
  }
  if (whole <= last) {
    // Masked before exp: what stands after `last` may be anything.
    const Vector<T> x = keep_until<T>(load(row + whole), whole, last, most);
    const Vector<T> e = keep_until<T>(exponential<T>(x - most), whole, last, T{0});
    sums += e;
    store(row + whole, e);
  }
  const T inverse = 1 / sum<T>(sums);
  for (Index j = 0; j <= last; j += n) store(row + j, load(row + j) * inverse);
  for (Index j = round_up(last + 1, n); j < extent; j += n) store(row + j, Vector<T>{});
  return {most, inverse};
}

/// The same probabilities, to the bit, from what softmax returned.
template <class T>
MTA_INLINE void softmax_again(T* row, SoftmaxRow<T> of, Index last, Index extent) {
  constexpr Index n = kLanes<T>;
  const Index whole = (last + 1) / n * n;
  for (Index j = 0; j < whole; j += n) {
    store(row + j, exponential<T>(load(row + j) - of.most) * of.inverse);
  }
  if (whole <= last) {
    const Vector<T> x = keep_until<T>(load(row + whole), whole, last, of.most);
    store(row + whole, keep_until<T>(exponential<T>(x - of.most), whole, last, T{0}) * of.inverse);
  }
  for (Index j = round_up(last + 1, n); j < extent; j += n) store(row + j, Vector<T>{});
}

/// gradient <- P (gradient - sum_j P gradient): zero where P is zero.
template <class T>
MTA_INLINE void softmax_gradient(const T* probabilities, T* gradient, Index extent) {
  Vector<T> sums = {};
  for (Index j = 0; j < extent; j += kLanes<T>)
    sums += load(probabilities + j) * load(gradient + j);
  const T mean = sum<T>(sums);
  for (Index j = 0; j < extent; j += kLanes<T>) {
    store(gradient + j, load(probabilities + j) * (load(gradient + j) - mean));
  }
}

template <class T>
MTA_INLINE void multiply(const T* factors, T* row, Index extent) {
  for (Index j = 0; j < extent; j += kLanes<T>) store(row + j, load(row + j) * load(factors + j));
}

}  // namespace mta::ops::cpu::MTA_SIMD
