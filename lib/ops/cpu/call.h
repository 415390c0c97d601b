// What the CPU kernels are told: pointers, sizes and strides, free of LibTorch; and the table that
// they fill.
//
// The same sources are compiled once for each instruction set (see kernels.cpp);
// `kernels<T>(level)` picks one.
#pragma once

#include <cstdint>
#include <vector>

namespace mta::ops::cpu {

using Index = std::int64_t;

/// A tensor [B, H, rows, columns] whose columns are adjacent; steps in elements.
template <class T>
struct View {
  T* data = nullptr;
  Index batch_step = 0, head_step = 0, row_step = 0;

  T* at(Index batch, Index head) const { return data + batch * batch_step + head * head_step; }
};

/// Kernels [H, query_span, key_span], contiguous; no data: the stage is off.
template <class T>
struct Convolution {
  const T* kernel = nullptr;
  Index query_span = 1, key_span = 1, pad_left = 0;
  bool exact = false;  ///< Causality::Exact

  Index halo() const { return query_span - 1; }
  Index taps() const { return query_span * key_span; }
};

/// Matrices [H / heads, heads (output), heads (input)], contiguous; no data: the stage is off.
template <class T>
struct Mixing {
  const T* matrix = nullptr;
  Index heads = 1;
};

/// See dropout.h; threshold 0: the stage is off.
struct DropoutKey {
  std::uint32_t key[2] = {0, 0};
  std::uint32_t threshold = 0;
  double scale = 1;
};

/// What is left of a row's softmax: P = exp(M - most) * inverse. Not the logarithm of the sum:
/// subtracting one number instead of two costs float half the digits that a large `most` takes.
template <class T>
struct SoftmaxRow {
  T most, inverse;
};

/// A unit is one sample of `unit_heads` neighbouring heads, the fewest that no mixing leaves; there
/// are batch * heads / unit_heads of them, and each is computed by one thread from start to end.
template <class T>
struct Forward {
  Index batch = 0, heads = 0, rows = 0, keys = 0, head_dim = 0, value_dim = 0;
  Index first_row = 0, unit_heads = 1;
  T scale = 1;
  View<const T> q, k, v;
  Convolution<T> kq_before, kq_after;
  Mixing<T> heads_before, heads_after;
  DropoutKey dropout;
  View<T> out;
  SoftmaxRow<T>* softmax_rows = nullptr;  ///< [B, H, R]: written by forward, read by backward

  Index units() const { return batch * heads / unit_heads; }
};

/// Gradients of the parameters are one summand for each sample: [B, H, c_q, c_k] and [B, H / c, c,
/// c].
template <class T>
struct Backward {
  Forward<T> forward;  ///< out is not read
  View<const T> d_out;
  View<T> d_q, d_k, d_v;
  T* d_kq_before = nullptr;
  T* d_kq_after = nullptr;
  T* d_heads_before = nullptr;
  T* d_heads_after = nullptr;
};

/// `forward` and `backward` compute the units [begin, end) with a workspace of that many bytes,
/// 64-byte aligned.
template <class T>
struct Kernels {
  Index (*forward_workspace)(const Forward<T>&);
  void (*forward)(const Forward<T>&, Index begin, Index end, void* workspace);
  Index (*backward_workspace)(const Backward<T>&);
  void (*backward)(const Backward<T>&, Index begin, Index end, void* workspace);
  /// factors[0, columns): what dropout multiplies entries (map, row, j) with; columns a multiple
  /// of 64.
  void (*dropout_row)(const DropoutKey&, Index map, Index row, Index columns, T* factors);
};

enum class SimdLevel { Baseline, Avx2, Avx512 };

/// Levels that are built and that this processor runs, the fastest last.
std::vector<SimdLevel> simd_levels();

template <class T>
const Kernels<T>& kernels(SimdLevel level);

}  // namespace mta::ops::cpu
