// Sums of squares by block, then the update, in which each block adds those sums up for itself.
#include "lib/train/cuda/adamw.h"

#include <cuda_runtime_api.h>

namespace mta::train::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kFour = 4;
constexpr int kChunk = 4096;         // values a block
constexpr int kTensorsALaunch = 64;  // their table is a kernel argument
constexpr int kWarp = 32;
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

__device__ Chunk chunk_of(const Table& table) {
  const int block = static_cast<int>(blockIdx.x);
  int t = 0;
  while (table.first_chunk[t + 1] <= block) ++t;
  const AdamTensor tensor = table.tensors[t];
  const std::int64_t begin = static_cast<std::int64_t>(block - table.first_chunk[t]) * kChunk;
  return {tensor, begin, min(begin + kChunk, tensor.count)};
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

__global__ void __launch_bounds__(kThreads) squares_kernel(Table table, float* partials) {
  const Chunk chunk = chunk_of(table);
  float sum = 0;
  for (std::int64_t i = chunk.begin + kFour * threadIdx.x; i < chunk.end; i += kFour * kThreads) {
    if (i + kFour <= chunk.end) {
      const float4 g = *reinterpret_cast<const float4*>(chunk.tensor.gradient + i);
      sum += g.x * g.x + g.y * g.y + g.z * g.z + g.w * g.w;
    } else {
      for (std::int64_t k = i; k < chunk.end; ++k) {
        sum += chunk.tensor.gradient[k] * chunk.tensor.gradient[k];
      }
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

/// What all values of an update share.
struct Factors {
  float gradient, decay, rate, root_correction, eps, beta1, beta2;
};

__device__ void update(float& p, float g, float& m, float& v, const Factors& f) {
  g *= f.gradient;
  p *= f.decay;
  m += (1 - f.beta1) * (g - m);
  v = f.beta2 * v + (1 - f.beta2) * g * g;
  p -= f.rate * m / (sqrtf(v) / f.root_correction + f.eps);
}

__global__ void __launch_bounds__(kThreads)
    update_kernel(Table table, AdamW call, int all_partials, bool writes_norm) {
  __shared__ Factors shared;
  float squares = 0;
  for (int i = static_cast<int>(threadIdx.x); i < all_partials; i += kThreads) {
    squares += call.partials[i];
  }
  const float norm = sqrtf(block_sum(squares));
  if (threadIdx.x == 0) {
    if (writes_norm && blockIdx.x == 0) *call.norm = norm;
    const double step = *call.step, rate = *call.rate;
    shared.gradient = call.clip > 0 ? fminf(call.clip / (norm + kNormEpsilon), 1.0f) : 1.0f;
    shared.decay = static_cast<float>(1 - rate * call.weight_decay);
    shared.rate = static_cast<float>(rate / (1 - pow(static_cast<double>(call.beta1), step)));
    shared.root_correction =
        static_cast<float>(sqrt(1 - pow(static_cast<double>(call.beta2), step)));
    shared.eps = call.eps, shared.beta1 = call.beta1, shared.beta2 = call.beta2;
  }
  __syncthreads();
  if (!isfinite(norm)) return;
  const Factors f = shared;
  const Chunk chunk = chunk_of(table);
  const AdamTensor& t = chunk.tensor;
  for (std::int64_t i = chunk.begin + kFour * threadIdx.x; i < chunk.end; i += kFour * kThreads) {
    if (i + kFour <= chunk.end) {
      const float4 g = *reinterpret_cast<const float4*>(t.gradient + i);
      float4 p = *reinterpret_cast<const float4*>(t.parameter + i);
      float4 m = *reinterpret_cast<const float4*>(t.exp_avg + i);
      float4 v = *reinterpret_cast<const float4*>(t.exp_avg_sq + i);
      update(p.x, g.x, m.x, v.x, f);
      update(p.y, g.y, m.y, v.y, f);
      update(p.z, g.z, m.z, v.z, f);
      update(p.w, g.w, m.w, v.w, f);
      *reinterpret_cast<float4*>(t.parameter + i) = p;
      *reinterpret_cast<float4*>(t.exp_avg + i) = m;
      *reinterpret_cast<float4*>(t.exp_avg_sq + i) = v;
    } else {
      for (std::int64_t k = i; k < chunk.end; ++k) {
        update(t.parameter[k], t.gradient[k], t.exp_avg[k], t.exp_avg_sq[k], f);
      }
    }
  }
}

int chunks(const AdamTensor& tensor) {
  return static_cast<int>((tensor.count + kChunk - 1) / kChunk);
}

/// Calls f(table, chunks before it) for every group of tensors that goes into one launch.
template <class F>
void for_tables(const AdamTensor* tensors, int count, const F& f) {
  int before = 0;
  for (int first = 0; first < count; first += kTensorsALaunch) {
    Table table;
    table.first_chunk[0] = 0;
    for (; table.count < kTensorsALaunch && first + table.count < count; ++table.count) {
      const AdamTensor& tensor = tensors[first + table.count];
      table.tensors[table.count] = tensor;
      table.first_chunk[table.count + 1] = table.first_chunk[table.count] + chunks(tensor);
    }
    const int here = table.first_chunk[table.count];
    if (here > 0) f(table, before, here);
    before += here;
  }
}

}  // namespace

std::int64_t adamw_partials(const AdamTensor* tensors, int tensor_count) {
  std::int64_t sum = 0;
  for (int i = 0; i < tensor_count; ++i) sum += chunks(tensors[i]);
  return sum;
}

const char* adamw(const AdamW& call, Stream stream) {
  const auto all = static_cast<int>(adamw_partials(call.tensors, call.tensor_count));
  for_tables(call.tensors, call.tensor_count, [&](const Table& table, int before, int here) {
    squares_kernel<<<static_cast<unsigned>(here), kThreads, 0, stream>>>(table,
                                                                         call.partials + before);
  });
  for_tables(call.tensors, call.tensor_count, [&](const Table& table, int before, int here) {
    update_kernel<<<static_cast<unsigned>(here), kThreads, 0, stream>>>(table, call, all,
                                                                        before == 0);
  });
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace mta::train::cuda
