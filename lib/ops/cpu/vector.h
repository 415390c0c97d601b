// Vectors as wide as the instruction set that this translation unit is compiled for.
//
// GCC's and Clang's vector extensions: arithmetic, comparison and ?: work lane by lane. Everything
// lives in a namespace of the instruction set and is inlined, so that no code for a wide machine
// leaks into another object.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#ifndef MTA_SIMD
#error "compile with -DMTA_SIMD=<namespace of the instruction set>"
#endif

#define MTA_INLINE [[gnu::always_inline]] inline

namespace mta::ops::cpu::MTA_SIMD {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
inline constexpr int kTileRows = 8, kTileVectors = 2;  // 16 accumulators of 32 registers
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
inline constexpr int kTileRows = 4, kTileVectors = 3;  // 12 accumulators of 16 registers
#else
inline constexpr int kVectorBytes = 16;
inline constexpr int kTileRows = 4, kTileVectors = 2;
#endif

template <class T>
inline constexpr std::int64_t kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
struct VectorTypes;
template <>
struct VectorTypes<float> {
  typedef float Vector __attribute__((vector_size(kVectorBytes)));
  typedef std::int32_t Integers __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VectorTypes<double> {
  typedef double Vector __attribute__((vector_size(kVectorBytes)));
  typedef std::int64_t Integers __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VectorTypes<std::uint32_t> {
  typedef std::uint32_t Vector __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vector = typename VectorTypes<T>::Vector;
template <class T>
using Integers = typename VectorTypes<T>::Integers;

template <class T>
MTA_INLINE Vector<T> load(const T* from) {
  Vector<T> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class T>
MTA_INLINE void store(T* to, Vector<T> v) {
  std::memcpy(to, &v, sizeof v);
}

template <class T>
MTA_INLINE Vector<T> broadcast(T x) {
  return x - Vector<T>{};  // not x + 0: that would turn -0 into 0 and cost an addition
}

/// 0, 1, 2, ...
template <class T>
MTA_INLINE Integers<T> lane_numbers() {
  return []<std::size_t... i>(std::index_sequence<i...>) {
    return Integers<T>{static_cast<int>(i)...};
  }
  (std::make_index_sequence<static_cast<std::size_t>(kLanes<T>)>());
}

/// v with the lane i that stands at column first + i set to `outside` where first + i > last.
template <class T>
MTA_INLINE Vector<T> keep_until(Vector<T> v, std::int64_t first, std::int64_t last, T outside) {
  using Lane = std::remove_reference_t<decltype(Integers<T>{}[0])>;
  const Lane limit = static_cast<Lane>(last - first);
  return lane_numbers<T>() <= limit ? v : broadcast<T>(outside);
}

// a0 b0 a1 b1 ... : the lower and the upper half of the two vectors' lanes in turn.
template <class V, std::size_t... i>
MTA_INLINE V zip_low(V a, V b, std::index_sequence<i...>) {
  return __builtin_shufflevector(a, b, (i % 2 ? sizeof...(i) + i / 2 : i / 2)...);
}
template <class V, std::size_t... i>
MTA_INLINE V zip_high(V a, V b, std::index_sequence<i...>) {
  constexpr std::size_t n = sizeof...(i);
  return __builtin_shufflevector(a, b, (i % 2 ? n + n / 2 + i / 2 : n / 2 + i / 2)...);
}
template <int distance, class V, std::size_t... i>
MTA_INLINE V exchange(V v, std::index_sequence<i...>) {
  return __builtin_shufflevector(v, v, (i ^ distance)...);
}

template <class T>
using LaneSequence = std::make_index_sequence<static_cast<std::size_t>(kLanes<T>)>;

/// In the order of a binary tree: the same bits each time.
template <class T, int distance = static_cast<int>(kLanes<T>) / 2>
MTA_INLINE T sum(Vector<T> v) {
  v += exchange<distance>(v, LaneSequence<T>());
  if constexpr (distance > 1) {
    return sum<T, distance / 2>(v);
  } else {
    return v[0];
  }
}

template <class T, int distance = static_cast<int>(kLanes<T>) / 2>
MTA_INLINE T largest(Vector<T> v) {
  const Vector<T> other = exchange<distance>(v, LaneSequence<T>());
  v = v > other ? v : other;
  if constexpr (distance > 1) {
    return largest<T, distance / 2>(v);
  } else {
    return v[0];
  }
}

MTA_INLINE std::int64_t round_up(std::int64_t n, std::int64_t step) {
  return (n + step - 1) / step * step;
}
template <class N>
MTA_INLINE N smaller(N a, N b) {
  return a < b ? a : b;
}
template <class N>
MTA_INLINE N larger(N a, N b) {
  return a < b ? b : a;
}

}  // namespace mta::ops::cpu::MTA_SIMD
