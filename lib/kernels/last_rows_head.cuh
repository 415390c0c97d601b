// What a block of the last-rows kernels works on: one head of one sample, and its reads and writes.
#pragma once

#include "lib/kernels/last_rows.h"
#include "lib/kernels/warp_sums.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace mta::kernels::last_rows {

inline constexpr int kThreads = 512;
inline constexpr int kWarps = kThreads / kWarp;
inline constexpr int kFour = 4;  // columns of a head a lane: 32 lanes hold 128

__device__ inline float4 load(const __nv_bfloat16* from) {
  const uint2 packed = *reinterpret_cast<const uint2*>(from);
  return make_float4(__uint_as_float(packed.x << 16), __uint_as_float(packed.x & 0xFFFF0000u),
                     __uint_as_float(packed.y << 16), __uint_as_float(packed.y & 0xFFFF0000u));
}
__device__ inline float4 load(const __half* from) {
  const uint2 packed = *reinterpret_cast<const uint2*>(from);
  const float2 low = __half22float2(*reinterpret_cast<const __half2*>(&packed.x));
  const float2 high = __half22float2(*reinterpret_cast<const __half2*>(&packed.y));
  return make_float4(low.x, low.y, high.x, high.y);
}
__device__ inline void store(__nv_bfloat16* to, float4 x) {
  const __nv_bfloat162 low = __floats2bfloat162_rn(x.x, x.y),
                       high = __floats2bfloat162_rn(x.z, x.w);
  *reinterpret_cast<uint2*>(to) = make_uint2(*reinterpret_cast<const unsigned*>(&low),
                                             *reinterpret_cast<const unsigned*>(&high));
}
__device__ inline void store(__half* to, float4 x) {
  const __half2 low = __floats2half2_rn(x.x, x.y), high = __floats2half2_rn(x.z, x.w);
  *reinterpret_cast<uint2*>(to) = make_uint2(*reinterpret_cast<const unsigned*>(&low),
                                             *reinterpret_cast<const unsigned*>(&high));
}

__device__ inline float dot(float4 a, float4 b) {
  return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}
__device__ inline void add_product(float4& sum, float factor, float4 x) {
  sum.x += factor * x.x, sum.y += factor * x.y, sum.z += factor * x.z, sum.w += factor * x.w;
}
/// Where a block's rows are, and what it works on. Maps are [rows, keys] in shared memory.
template <class T>
struct Head {
  __device__ explicit Head(const LastRows& c) : call(c) {
    map = static_cast<int>(blockIdx.x);
    batch = map / c.heads, head = map % c.heads;
    warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
    column = kFour * lane;
    holds = column < c.head_dim;
  }
  __device__ T* at(const Tensor& t) const {
    return static_cast<T*>(t.data) + batch * t.batch_stride + head * t.head_stride;
  }
  /// This lane's columns of a row.
  __device__ float4 row(const Tensor& t, int index) const {
    return holds ? load(at(t) + index * t.token_stride + column) : make_float4(0, 0, 0, 0);
  }
  __device__ void write(const Tensor& t, int index, float4 x) const {
    if (holds) store(at(t) + index * t.token_stride + column, x);
  }
  /// The last key that row r may read.
  __device__ int last_key(int r) const { return call.first_row + r; }

  const LastRows& call;
  int map, batch, head, warp, lane, column;
  bool holds;
};

}  // namespace mta::kernels::last_rows
