// RMS norm of a residual sum, forward and backward: one warp a row, the row in registers.
//
// Forward reads x and the update and writes their sum and its norm: four passes over [rows, d]
// where separate operations take about fourteen. Backward reads the normalised sum and two
// gradients and writes one.
#include "lib/nn/cuda/vectors.cuh"

namespace mta::nn::cuda {
namespace {

constexpr int kWarps = 8;  // of a block
constexpr int kThreads = kWarps * kWarp;
constexpr int kChunk = kWarp * kEight;  // columns that a warp holds in one step

/// Chunks is at least d / kChunk, rounded up; columns from d on are left alone.
template <class T, int Chunks>
__global__ void __launch_bounds__(kThreads) forward_kernel(RmsNorm call) {
  const std::int64_t row =
      static_cast<std::int64_t>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  if (row >= call.rows) return;
  const int d = static_cast<int>(call.d);
  const int first = static_cast<int>(threadIdx.x) % kWarp * kEight;
  const T* const x = static_cast<const T*>(call.x) + row * d;
  float values[Chunks][kEight], squares = 0;
#pragma unroll
  for (int c = 0; c < Chunks; ++c) {
    const int column = c * kChunk + first;
    if (column >= d) continue;
    load(x + column, values[c]);
    if (call.update != nullptr) {
      float update[kEight];
      load(static_cast<const T*>(call.update) + row * d + column, update);
#pragma unroll
      for (int i = 0; i < kEight; ++i) {
        values[c][i] = rounded(values[c][i] + update[i], x);
      }
      store(static_cast<T*>(call.sum) + row * d + column, values[c]);
    }
#pragma unroll
    for (int i = 0; i < kEight; ++i) squares += values[c][i] * values[c][i];
  }
  const float scale = rsqrtf(warp_sum(squares) / static_cast<float>(d) + call.eps);
  if (first == 0) call.scale[row] = scale;
#pragma unroll
  for (int c = 0; c < Chunks; ++c) {
    const int column = c * kChunk + first;
    if (column >= d) continue;
    float weight[kEight];
    load(call.weight + column, weight);
#pragma unroll
    for (int i = 0; i < kEight; ++i) values[c][i] = values[c][i] * scale * weight[i];
    store(static_cast<T*>(call.y) + row * d + column, values[c]);
  }
}

/// With g = grad_y weight:  grad_x = scale g - sum scale^3 mean(g sum) + grad_sum, and
/// grad_weight = sum over rows of grad_y sum scale.
/// One block a multiprocessor is enough, said aloud: for sm_80 ptxas else aims at two and spills.
template <class T, int Chunks>
__global__ void __launch_bounds__(kThreads, 1) backward_kernel(RmsNormBackward call) {
  extern __shared__ float total[];  // [d]
  const int d = static_cast<int>(call.d), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int first = static_cast<int>(threadIdx.x) % kWarp * kEight;
  float grad_weight[Chunks][kEight] = {};
  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarps + warp; row < call.rows;
       row += static_cast<std::int64_t>(gridDim.x) * kWarps) {
    float x[Chunks][kEight], g[Chunks][kEight], dot = 0;
    const float scale = call.scale[row];
#pragma unroll
    for (int c = 0; c < Chunks; ++c) {
      const int column = c * kChunk + first;
      if (column >= d) continue;
      float weight[kEight];
      load(static_cast<const T*>(call.sum) + row * d + column, x[c]);
      load(static_cast<const T*>(call.grad_y) + row * d + column, g[c]);
      load(call.weight + column, weight);
#pragma unroll
      for (int i = 0; i < kEight; ++i) {
        grad_weight[c][i] += g[c][i] * x[c][i] * scale;
        g[c][i] *= weight[i];
        dot += g[c][i] * x[c][i];
      }
    }
    const float share = warp_sum(dot) / static_cast<float>(d) * scale * scale * scale;
#pragma unroll
    for (int c = 0; c < Chunks; ++c) {
      const int column = c * kChunk + first;
      if (column >= d) continue;
      float more[kEight] = {};
      if (call.grad_sum != nullptr) {
        load(static_cast<const T*>(call.grad_sum) + row * d + column, more);
      }
#pragma unroll
      for (int i = 0; i < kEight; ++i) g[c][i] = scale * g[c][i] - share * x[c][i] + more[i];
      store(static_cast<T*>(call.grad_x) + row * d + column, g[c]);
    }
  }
  for (int w = 0; w < kWarps; ++w) {  // in the order of the warps
    if (w == warp) {
#pragma unroll
      for (int c = 0; c < Chunks; ++c) {
        const int column = c * kChunk + first;
        if (column >= d) continue;
#pragma unroll
        for (int i = 0; i < kEight; ++i) {
          total[column + i] = (w == 0 ? 0 : total[column + i]) + grad_weight[c][i];
        }
      }
    }
    __syncthreads();
  }
  for (int column = static_cast<int>(threadIdx.x); column < d; column += kThreads) {
    call.parts[static_cast<std::int64_t>(blockIdx.x) * d + column] = total[column];
  }
}

/// Adds up the parts of 32 columns, in order: each warp a share of them, then the shares.
__global__ void __launch_bounds__(kThreads)
    sum_parts_kernel(const float* parts, int count, int d, float* sum) {
  __shared__ float shares[kWarps][kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int column = static_cast<int>(blockIdx.x) * kWarp + lane;
  const int share = (count + kWarps - 1) / kWarps;
  float mine = 0;
  if (column < d) {
    const int end = min(count, (warp + 1) * share);
#pragma unroll 8
    for (int part = warp * share; part < end; ++part) mine += parts[part * d + column];
  }
  shares[warp][lane] = mine;
  __syncthreads();
  if (warp != 0 || column >= d) return;
  float whole = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) whole += shares[w][lane];
  sum[column] = whole;
}

template <int Chunks>
void launch(const RmsNorm& call, cudaStream_t stream) {
  with_type(call.type, [&](auto* kind) {
    using T = std::remove_pointer_t<decltype(kind)>;
    forward_kernel<T, Chunks><<<blocks_for(call.rows, kWarps), kThreads, 0, stream>>>(call);
  });
}

template <int Chunks>
void launch(const RmsNormBackward& call, cudaStream_t stream) {
  const auto parts = static_cast<unsigned>(norm_parts(call.rows));
  with_type(call.type, [&](auto* kind) {
    using T = std::remove_pointer_t<decltype(kind)>;
    backward_kernel<T, Chunks>
        <<<parts, kThreads, static_cast<std::size_t>(call.d) * sizeof(float), stream>>>(call);
  });
  sum_parts_kernel<<<blocks_for(call.d, kWarp), kThreads, 0, stream>>>(
      call.parts, static_cast<int>(parts), static_cast<int>(call.d), call.grad_weight);
}

template <class Call>
const char* launch_for_width(const Call& call, cudaStream_t stream) {
  if (call.rows == 0) return nullptr;
  if (call.d <= kChunk) {
    launch<1>(call, stream);
  } else if (call.d <= 2 * kChunk) {
    launch<2>(call, stream);
  } else if (call.d <= 4 * kChunk) {
    launch<4>(call, stream);
  } else {
    launch<8>(call, stream);
  }
  return launched();
}

static_assert(kMaxWidth == 8 * kChunk, "the widest kernel above");

}  // namespace

std::int64_t norm_parts(std::int64_t rows) {
  const std::int64_t wanted = (rows + kWarps - 1) / kWarps;
  return wanted < kParts ? wanted : kParts;
}

const char* rms_norm(const RmsNorm& call, Stream stream) { return launch_for_width(call, stream); }

const char* rms_norm_backward(const RmsNormBackward& call, Stream stream) {
  return launch_for_width(call, stream);
}

}  // namespace mta::nn::cuda
