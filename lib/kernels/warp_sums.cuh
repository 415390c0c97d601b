// Sums and maxima over the lanes of a warp.
#pragma once

#include "lib/kernels/words.cuh"

namespace mta::kernels {

__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, step);
  return x;
}
__device__ inline float warp_max(float x) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, step));
  }
  return x;
}

/// Is a sum of exponentials relative to 0 in fp32's middle, so that no maximum is needed?
__device__ inline bool needs_no_maximum(float sum) { return sum > 0x1p-64f && sum < 0x1p64f; }

/// One number each of two rows: lanes without `bit` get the first row's sum over lanes that differ
/// in it, the others the second's.
__device__ inline float exchange_sum(float first, float second, int bit) {
  const bool odd = (static_cast<int>(threadIdx.x) & bit) != 0;
  return (odd ? second : first) + __shfl_xor_sync(0xFFFFFFFFu, odd ? first : second, bit);
}

}  // namespace mta::kernels
