// Elementwise and rowwise work of a transformer on the CPU, for each instruction set.
#pragma once

#include "lib/ops/cpu/call.h"

#include <cstdint>

namespace mta::nn::cpu {

using Index = std::int64_t;

/// y = x * scale * weight for each of n rows of d, scale = 1 / sqrt(mean(x^2) + eps).
template <class T>
struct RmsNorm {
  const T* x = nullptr;       // [n, d]
  const T* weight = nullptr;  // [d]
  T* y = nullptr;             // [n, d]
  T* scale = nullptr;         // [n]
  Index d = 0;
  double eps = 0;
};

template <class T>
struct RmsNormBackward {
  const T* x = nullptr;       // [n, d]
  const T* weight = nullptr;  // [d]
  const T* scale = nullptr;   // [n]
  const T* grad_y = nullptr;  // [n, d]
  T* grad_x = nullptr;        // [n, d]
  T* grad_weight = nullptr;   // [d]: the rows' sum is added
  Index d = 0;
};

/// y = x * cos + swapped(x) * sin, where swapped exchanges the neighbours of each pair. A row is
/// one position of one sample: `heads` times d values that share cos and sin.
template <class T>
struct Rotation {
  const T* x = nullptr;    // [n, heads, d]
  const T* cos = nullptr;  // [positions, d]
  const T* sin = nullptr;  // [positions, d]
  T* y = nullptr;          // [n, heads, d]
  Index heads = 0, d = 0;
  Index positions = 0;  // row r stands at position r % positions
  T direction = 1;      // -1 turns backwards: the gradient
};

/// y = a sigmoid(a) b, elementwise.
template <class T>
struct Gated {
  const T *a = nullptr, *b = nullptr;
  T* y = nullptr;
};

template <class T>
struct GatedBackward {
  const T *a = nullptr, *b = nullptr, *grad_y = nullptr;
  T *grad_a = nullptr, *grad_b = nullptr;
};

/// All take rows or elements [begin, end) of their call.
template <class T>
struct Kernels {
  void (*rms_norm)(const RmsNorm<T>& call, Index begin, Index end);
  void (*rms_norm_backward)(const RmsNormBackward<T>& call, Index begin, Index end);
  void (*rotate)(const Rotation<T>& call, Index begin, Index end);
  void (*gated)(const Gated<T>& call, Index begin, Index end);
  void (*gated_backward)(const GatedBackward<T>& call, Index begin, Index end);
};

/// The kernels of the widest instruction set that this machine has. T is float or double.
template <class T>
const Kernels<T>& kernels();

}  // namespace mta::nn::cpu
