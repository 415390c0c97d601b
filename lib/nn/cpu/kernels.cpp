// The kernels of one instruction set: this file is compiled once for each, see CMakeLists.txt.
#include "lib/nn/cpu/kernels.h"

#include "lib/nn/cpu/levels.h"
#include "lib/ops/cpu/exponential.h"
#include "lib/ops/cpu/vector.h"

#include <cmath>
#include <cstring>

namespace mta::nn::cpu::MTA_SIMD {
namespace {

namespace simd = ops::cpu::MTA_SIMD;
using simd::load;
using simd::store;
template <class T>
using Vector = simd::Vector<T>;
template <class T>
constexpr Index kLanes = simd::kLanes<T>;

/// sum of f(i) over [0, d): f takes an index and loads a vector or one value, by its second
/// argument.
template <class T, class F>
MTA_INLINE T sum_over(Index d, F f) {
  Vector<T> total{};
  Index i = 0;
  for (; i + kLanes<T> <= d; i += kLanes<T>) total += f(i, Vector<T>{});
  T rest = simd::sum<T>(total);
  for (; i < d; ++i) rest += f(i, T{});
  return rest;
}

MTA_INLINE float read(const float* from, float) { return *from; }
MTA_INLINE double read(const double* from, double) { return *from; }
template <class T>
MTA_INLINE Vector<T> read(const T* from, Vector<T>) {
  return load(from);
}

template <class T>
void rms_norm(const RmsNorm<T>& call, Index begin, Index end) {
  for (Index row = begin; row < end; ++row) {
    const T* const x = call.x + row * call.d;
    T* const y = call.y + row * call.d;
    const T squares = sum_over<T>(call.d, [&](Index i, auto kind) {
      const auto value = read(x + i, kind);
      return value * value;
    });
    const T scale = 1 / std::sqrt(squares / static_cast<T>(call.d) + static_cast<T>(call.eps));
    call.scale[row] = scale;
    Index i = 0;
    for (; i + kLanes<T> <= call.d; i += kLanes<T>) {
      store<T>(y + i, load(x + i) * scale * load(call.weight + i));
    }
    for (; i < call.d; ++i) y[i] = x[i] * scale * call.weight[i];
  }
}

/// With g = weight grad_y and n = x scale: grad_x = scale (g - n mean(g n)), grad_weight += grad_y
/// n.
template <class T>
void rms_norm_backward(const RmsNormBackward<T>& call, Index begin, Index end) {
  for (Index row = begin; row < end; ++row) {
    const T* const x = call.x + row * call.d;
    const T* const grad = call.grad_y + row * call.d;
    T* const grad_x = call.grad_x + row * call.d;
    const T scale = call.scale[row];
    const T product = sum_over<T>(call.d, [&](Index i, auto kind) {
      return read(call.weight + i, kind) * read(grad + i, kind) * read(x + i, kind);
    });
    const T back = product / static_cast<T>(call.d) * scale * scale;
    Index i = 0;
    for (; i + kLanes<T> <= call.d; i += kLanes<T>) {
      const Vector<T> in = load(x + i), out = load(grad + i);
      store<T>(grad_x + i, scale * (load(call.weight + i) * out - in * back));
      store<T>(call.grad_weight + i, load(call.grad_weight + i) + out * in * scale);
    }
    for (; i < call.d; ++i) {
      grad_x[i] = scale * (call.weight[i] * grad[i] - x[i] * back);
      call.grad_weight[i] += grad[i] * x[i] * scale;
    }
  }
}

template <class T>
void rotate(const Rotation<T>& call, Index begin, Index end) {
  for (Index row = begin; row < end; ++row) {
    const T* const cos = call.cos + row % call.positions * call.d;
    const T* const sin = call.sin + row % call.positions * call.d;
    for (Index head = 0; head < call.heads; ++head) {
      const Index start = (row * call.heads + head) * call.d;
      const T* const x = call.x + start;
      T* const y = call.y + start;
      Index i = 0;
      for (; i + kLanes<T> <= call.d; i += kLanes<T>) {
        const Vector<T> value = load(x + i);
        const Vector<T> swapped = simd::exchange<1>(value, simd::LaneSequence<T>());
        store<T>(y + i, value * load(cos + i) + swapped * (load(sin + i) * call.direction));
      }
      for (; i < call.d; ++i) y[i] = x[i] * cos[i] + x[i ^ 1] * (sin[i] * call.direction);
    }
  }
}

/// 1 / (1 + e^-a)
template <class T>
MTA_INLINE Vector<T> sigmoid(Vector<T> a) {
  constexpr T kLargest = sizeof(T) == sizeof(float) ? 88 : 709;  // e to more would overflow
  const Vector<T> negative = -a;
  return 1 /
         (1 + simd::exponential<T>(negative > kLargest ? simd::broadcast<T>(kLargest) : negative));
}

/// Loads up to kLanes values, so that a tail takes the same way as the rest.
template <class T>
MTA_INLINE Vector<T> load_some(const T* from, Index count) {
  Vector<T> v{};
  std::memcpy(&v, from, static_cast<std::size_t>(count) * sizeof(T));
  return v;
}

template <class T>
MTA_INLINE void store_some(T* to, Vector<T> v, Index count) {
  std::memcpy(to, &v, static_cast<std::size_t>(count) * sizeof(T));
}

template <class T>
MTA_INLINE void gate_some(const Gated<T>& call, Index i, Index count) {
  const Vector<T> a = load_some(call.a + i, count);
  store_some<T>(call.y + i, a * sigmoid<T>(a) * load_some(call.b + i, count), count);
}

template <class T>
void gated(const Gated<T>& call, Index begin, Index end) {
  Index i = begin;
  for (; i + kLanes<T> <= end; i += kLanes<T>) gate_some(call, i, kLanes<T>);
  if (i < end) gate_some(call, i, end - i);
}

template <class T>
MTA_INLINE void gate_some_backward(const GatedBackward<T>& call, Index i, Index count) {
  const Vector<T> a = load_some(call.a + i, count), b = load_some(call.b + i, count);
  const Vector<T> grad = load_some(call.grad_y + i, count), s = sigmoid<T>(a);
  store_some<T>(call.grad_a + i, grad * b * s * (1 + a * (1 - s)), count);
  store_some<T>(call.grad_b + i, grad * a * s, count);
}

template <class T>
void gated_backward(const GatedBackward<T>& call, Index begin, Index end) {
  Index i = begin;
  for (; i + kLanes<T> <= end; i += kLanes<T>) gate_some_backward(call, i, kLanes<T>);
  if (i < end) gate_some_backward(call, i, end - i);
}

template <class T>
constexpr Kernels<T> kTable = {rms_norm<T>, rms_norm_backward<T>, rotate<T>, gated<T>,
                               gated_backward<T>};

}  // namespace

const Kernels<float>& float_kernels() { return kTable<float>; }
const Kernels<double>& double_kernels() { return kTable<double>; }

}  // namespace mta::nn::cpu::MTA_SIMD
