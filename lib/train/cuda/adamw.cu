// Sums of squares by block, which the last block adds up, then the update in one pass.
//
// An update moves 28 bytes a value, with a rounded form too, and the squares 4 or 2: for 876.6 M
// values in bf16 that is 24.5 and 1.8 GB.
#include "lib/train/cuda/adamw.h"

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <algorithm>

namespace mta::train::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kFour = 4;
constexpr int kChunk = 4096;  // values a block
constexpr int kRounds = kChunk / (kFour * kThreads);
/// Of a launch for the squares, whatever the card, as they decide the order of the sum: as many as
/// any has room for, since each more costs a fence, an atomic and a partial sum.
constexpr int kSquareBlocks = 2048;
constexpr int kTensorsALaunch = 64;  // their table is a kernel argument
constexpr int kWarp = 32;
constexpr int kSumsAtOnce = 8;         // loads in flight of the last block's threads
constexpr float kNormEpsilon = 1e-6f;  // as torch.nn.utils.clip_grad_norm_ adds

struct Table {
  AdamTensor tensors[kTensorsALaunch];
  int first_chunk[kTensorsALaunch + 1];  // of each tensor, within this launch
  int count = 0;
};

struct Chunk {
  AdamTensor tensor;
  std::int64_t begin, end;
};

/// The n-th of a launch, by bisection: a walk over the table would cost as much as a part of it.
__device__ Chunk chunk_of(const Table& table, int n) {
  int t = 0, end = table.count;
  while (end - t > 1) {
    const int middle = (t + end) / 2;
    (table.first_chunk[middle] <= n ? t : end) = middle;
  }
  const AdamTensor tensor = table.tensors[t];
  const std::int64_t begin = static_cast<std::int64_t>(n - table.first_chunk[t]) * kChunk;
  return {tensor, begin, min(begin + kChunk, tensor.count)};
}

__device__ float widened(unsigned short bits) { return __uint_as_float(unsigned{bits} << 16); }

__device__ float gradient_at(const AdamTensor& t, std::int64_t i) {
  return t.rounded == nullptr ? static_cast<const float*>(t.gradient)[i]
                              : widened(static_cast<const unsigned short*>(t.gradient)[i]);
}

/// Those from i on, a multiple of 4.
__device__ float4 four_gradients(const AdamTensor& t, std::int64_t i) {
  if (t.rounded == nullptr) {
    return *reinterpret_cast<const float4*>(static_cast<const float*>(t.gradient) + i);
  }
  const uint2 packed =
      *reinterpret_cast<const uint2*>(static_cast<const unsigned short*>(t.gradient) + i);
  return make_float4(__uint_as_float(packed.x << 16), __uint_as_float(packed.x & 0xFFFF0000u),
                     __uint_as_float(packed.y << 16), __uint_as_float(packed.y & 0xFFFF0000u));
}

/// A chunk's values, in fours with all loads on their way at once; its last ones alone.
__device__ float squares_of(const Chunk& chunk) {
  const std::int64_t first = chunk.begin + kFour * threadIdx.x;
  float4 g[kRounds];
#pragma unroll
  for (int r = 0; r < kRounds; ++r) {
    const std::int64_t i = first + r * kFour * kThreads;
    g[r] = i + kFour <= chunk.end ? four_gradients(chunk.tensor, i) : make_float4(0, 0, 0, 0);
  }
  float sum = 0;
#pragma unroll
  for (int r = 0; r < kRounds; ++r) {
    sum += g[r].x * g[r].x + g[r].y * g[r].y + g[r].z * g[r].z + g[r].w * g[r].w;
  }
  const std::int64_t last = chunk.end / kFour * kFour + threadIdx.x;  // begin is a multiple of 4
  if (last < chunk.end) {
    const float g_last = gradient_at(chunk.tensor, last);
    sum += g_last * g_last;
  }
  return sum;
}

/// The same in all threads, added up in a fixed order.
__device__ float block_sum(float x) {
  __shared__ float warps[kThreads / kWarp];
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, step);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = x;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (float warp : warps) sum += warp;
  return sum;
}

/// Sum of the partials in a fixed order, read past L1, which other blocks' writes do not reach.
__device__ float sum_of(const float* partials, int count) {
  float sum = 0;
  int i = static_cast<int>(threadIdx.x);
  for (; i + (kSumsAtOnce - 1) * kThreads < count; i += kSumsAtOnce * kThreads) {
    float x[kSumsAtOnce];
#pragma unroll
    for (int k = 0; k < kSumsAtOnce; ++k) x[k] = __ldcg(partials + i + k * kThreads);
#pragma unroll
    for (float value : x) sum += value;
  }
  for (; i < count; i += kThreads) sum += __ldcg(partials + i);
  return block_sum(sum);
}

__device__ AdamFactors factors_of(const AdamW& call, float norm) {
  const double step = *call.step, rate = *call.rate;
  const double correction1 = 1 - pow(static_cast<double>(call.beta1), step);
  const double correction2 = 1 - pow(static_cast<double>(call.beta2), step);
  return {.norm = norm,
          .gradient = call.clip > 0 ? fminf(call.clip / (norm + kNormEpsilon), 1.0f) : 1.0f,
          .decay = static_cast<float>(1 - rate * call.weight_decay),
          .rate = static_cast<float>(rate / correction1),
          .root_correction = static_cast<float>(1 / sqrt(correction2))};
}

/// `before` of `all` blocks belong to earlier launches; each has every gridDim.x-th chunk of its
/// own. The last block of all leaves the norm, the factors and a counter of 0, so that a replay of
/// these launches finds what they found.
__global__ void __launch_bounds__(kThreads)
    squares_kernel(const __grid_constant__ Table table, const __grid_constant__ AdamW call,
                   int before, int all) {
  const int step = static_cast<int>(gridDim.x), chunks = table.first_chunk[table.count];
  float own = 0;
  for (int n = static_cast<int>(blockIdx.x); n < chunks; n += step) {
    own += squares_of(chunk_of(table, n));
  }
  const float sum = block_sum(own);
  __shared__ bool is_last;
  if (threadIdx.x == 0) {
    call.partials[before + blockIdx.x] = sum;
    __threadfence();
    is_last = atomicAdd(call.blocks_done, 1) == all - 1;
  }
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  const float norm = sqrtf(sum_of(call.partials, all));
  if (threadIdx.x != 0) return;
  *call.norm = norm;
  *call.factors = factors_of(call, norm);
  *call.blocks_done = 0;
}

/// What all values of an update share.
struct Update {
  AdamFactors factors;
  float eps, beta1, beta2;

  __device__ void operator()(float& p, float g, float& m, float& v) const {
    g *= factors.gradient;
    p *= factors.decay;
    m += (1 - beta1) * (g - m);
    v = beta2 * v + (1 - beta2) * g * g;
    p -= factors.rate * m / (sqrtf(v) * factors.root_correction + eps);
  }
};

__device__ void store_rounded(const AdamTensor& t, std::int64_t i, const float4& p) {
  const __nv_bfloat162 pairs[] = {__floats2bfloat162_rn(p.x, p.y), __floats2bfloat162_rn(p.z, p.w)};
  *reinterpret_cast<uint2*>(static_cast<__nv_bfloat16*>(t.rounded) + i) = make_uint2(
      *reinterpret_cast<const unsigned*>(&pairs[0]), *reinterpret_cast<const unsigned*>(&pairs[1]));
}

/// Five blocks a multiprocessor, said aloud: for sm_80 ptxas else aims at more and spills.
__global__ void __launch_bounds__(kThreads, 5)
    update_kernel(const __grid_constant__ Table table, const __grid_constant__ AdamW call) {
  const Update update = {*call.factors, call.eps, call.beta1, call.beta2};
  if (!isfinite(update.factors.norm)) return;
  const Chunk chunk = chunk_of(table, static_cast<int>(blockIdx.x));
  const AdamTensor& t = chunk.tensor;
  for (std::int64_t i = chunk.begin + kFour * threadIdx.x; i < chunk.end; i += kFour * kThreads) {
    if (i + kFour <= chunk.end) {
      const float4 g = four_gradients(t, i);
      float4 p = *reinterpret_cast<const float4*>(t.parameter + i);
      float4 m = *reinterpret_cast<const float4*>(t.exp_avg + i);
      float4 v = *reinterpret_cast<const float4*>(t.exp_avg_sq + i);
      update(p.x, g.x, m.x, v.x);
      update(p.y, g.y, m.y, v.y);
      update(p.z, g.z, m.z, v.z);
      update(p.w, g.w, m.w, v.w);
      *reinterpret_cast<float4*>(t.parameter + i) = p;
      *reinterpret_cast<float4*>(t.exp_avg + i) = m;
      *reinterpret_cast<float4*>(t.exp_avg_sq + i) = v;
      if (t.rounded != nullptr) store_rounded(t, i, p);
    } else {
      for (std::int64_t k = i; k < chunk.end; ++k) {
        update(t.parameter[k], gradient_at(t, k), t.exp_avg[k], t.exp_avg_sq[k]);
        if (t.rounded == nullptr) continue;
        static_cast<__nv_bfloat16*>(t.rounded)[k] = __float2bfloat16_rn(t.parameter[k]);
      }
    }
  }
}

int chunks(const AdamTensor& tensor) {
  return static_cast<int>((tensor.count + kChunk - 1) / kChunk);
}

/// Calls f(table, its chunks) for every group of tensors that goes into one launch.
template <class F>
void for_tables(const AdamTensor* tensors, int count, const F& f) {
  for (int first = 0; first < count; first += kTensorsALaunch) {
    Table table;
    table.first_chunk[0] = 0;
    for (; table.count < kTensorsALaunch && first + table.count < count; ++table.count) {
      const AdamTensor& tensor = tensors[first + table.count];
      table.tensors[table.count] = tensor;
      table.first_chunk[table.count + 1] = table.first_chunk[table.count] + chunks(tensor);
    }
    const int here = table.first_chunk[table.count];
    if (here > 0) f(table, here);
  }
}

int square_blocks(int chunks) { return std::min(chunks, kSquareBlocks); }

}  // namespace

std::int64_t adamw_partials(const AdamTensor* tensors, int tensor_count) {
  std::int64_t sum = 0;
  for_tables(tensors, tensor_count, [&](const Table&, int here) { sum += square_blocks(here); });
  return sum;
}

const char* adamw(const AdamW& call, Stream stream) {
  const auto all = static_cast<int>(adamw_partials(call.tensors, call.tensor_count));
  int before = 0;
  for_tables(call.tensors, call.tensor_count, [&](const Table& table, int here) {
    const int blocks = square_blocks(here);
    squares_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(table, call, before,
                                                                           all);
    before += blocks;
  });
  for_tables(call.tensors, call.tensor_count, [&](const Table& table, int here) {
    update_kernel<<<static_cast<unsigned>(here), kThreads, 0, stream>>>(table, call);
  });
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace mta::train::cuda
