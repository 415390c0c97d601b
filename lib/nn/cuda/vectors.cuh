// Eight values at a time, as fp32 in registers: loads, stores, and how a launch ends.
#pragma once

#include "lib/nn/cuda/kernels.h"

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

namespace mta::nn::cuda {

inline constexpr int kEight = static_cast<int>(kVector);
inline constexpr int kWarp = 32;
inline constexpr std::int64_t kMaxThreads = std::int64_t{1}
                                            << 31;  // of kernels that count in 32 bits
inline constexpr const char* kTooLarge = "more than 2^34 values in one call";

__device__ inline void load(const float* from, float (&x)[kEight]) {
  const float4 low = reinterpret_cast<const float4*>(from)[0];
  const float4 high = reinterpret_cast<const float4*>(from)[1];
  x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
  x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
}

__device__ inline void load(const __nv_bfloat16* from, float (&x)[kEight]) {
  const uint4 packed = *reinterpret_cast<const uint4*>(from);
  const unsigned words[] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
  for (int i = 0; i < kEight / 2; ++i) {
    x[2 * i] = __uint_as_float(words[i] << 16);
    x[2 * i + 1] = __uint_as_float(words[i] & 0xFFFF0000u);
  }
}

__device__ inline void store(float* to, const float (&x)[kEight]) {
  reinterpret_cast<float4*>(to)[0] = make_float4(x[0], x[1], x[2], x[3]);
  reinterpret_cast<float4*>(to)[1] = make_float4(x[4], x[5], x[6], x[7]);
}

__device__ inline void store(__nv_bfloat16* to, const float (&x)[kEight]) {
  uint4 packed;
  unsigned* const words = reinterpret_cast<unsigned*>(&packed);
#pragma unroll
  for (int i = 0; i < kEight / 2; ++i) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]);
    words[i] = *reinterpret_cast<const unsigned*>(&pair);
  }
  *reinterpret_cast<uint4*>(to) = packed;
}

/// x as it reads once stored.
__device__ inline float rounded(float x, const float*) { return x; }
__device__ inline float rounded(float x, const __nv_bfloat16*) {
  return __bfloat162float(__float2bfloat16_rn(x));
}

/// Sum over the warp, the same in each lane.
__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, step);
  return x;
}

/// Calls f with a null pointer to the type that `type` stands for.
template <class F>
void with_type(Type type, const F& f) {
  if (type == Type::BFloat16) {
    f(static_cast<__nv_bfloat16*>(nullptr));
  } else {
    f(static_cast<float*>(nullptr));
  }
}

inline const char* launched() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

inline unsigned blocks_for(std::int64_t items, std::int64_t a_block) {
  return static_cast<unsigned>((items + a_block - 1) / a_block);
}

}  // namespace mta::nn::cuda
