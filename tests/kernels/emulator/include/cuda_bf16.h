// Stands in for CUDA's header of this name: bf16 numbers on the CPU.
#pragma once

#include <cuda_runtime.h>

// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): CUDA's names.
struct __nv_bfloat16_raw {
  unsigned short x;
};
struct __nv_bfloat16 {
  std::uint16_t bits;
  __nv_bfloat16() = default;
  explicit __nv_bfloat16(__nv_bfloat16_raw raw) : bits(raw.x) {}
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

/// Round to nearest, ties to even.
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  __nv_bfloat16 out;
  if (std::isnan(x)) {
    out.bits = 0x7FFF;
  } else {
    out.bits = static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
  }
  return out;
}
inline float __bfloat162float(__nv_bfloat16 x) {
  return __uint_as_float(std::uint32_t{x.bits} << 16);
}
inline __nv_bfloat162 __floats2bfloat162_rn(float low, float high) {
  return {__float2bfloat16_rn(low), __float2bfloat16_rn(high)};
}
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
