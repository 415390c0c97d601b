// Stands in for CUDA's header of this name: fp16 numbers on the CPU.
#pragma once

#include <cuda_runtime.h>

// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): CUDA's names.
struct __half_raw {
  unsigned short x;
};
struct __half {
  _Float16 value;
  __half() = default;
  explicit __half(__half_raw raw) { std::memcpy(&value, &raw, sizeof(value)); }
  explicit __half(float x) : value(static_cast<_Float16>(x)) {}
};
struct alignas(4) __half2 {
  __half x, y;
};

inline __half __float2half_rn(float x) { return __half(x); }
/// All 65,536 of them: without instructions for it, widening one is a slow call.
const float* half_values();
inline float __half2float(__half x) {
  unsigned short bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return half_values()[bits];
}
inline float2 __half22float2(__half2 x) { return {__half2float(x.x), __half2float(x.y)}; }
inline __half2 __floats2half2_rn(float low, float high) { return {__half(low), __half(high)}; }
inline float __low2float(__half2 x) { return __half2float(x.x); }
inline float __high2float(__half2 x) { return __half2float(x.y); }
inline __half __hmax(__half a, __half b) {
  const float x = __half2float(a), y = __half2float(b);
  return std::isnan(x) || y > x ? b : a;  // as fmax: a NaN loses
}
inline __half2 __hmax2(__half2 a, __half2 b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
