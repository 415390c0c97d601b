// Attention of a few last rows, forward and backward: a block a head.
#include "lib/kernels/device.h"
#include "lib/kernels/dropout.h"
#include "lib/kernels/last_rows_head.cuh"
#include "lib/kernels/launch.cuh"

#include <cuda_runtime_api.h>

#include <cmath>

namespace mta::kernels {

using namespace last_rows;

namespace {

/// Lanes that are `Step` apart exchange half of 2 Count values each, and add.
template <int Count, int Step>
__device__ void exchange_halves(float (&x)[kLastRows], int lane) {
  const bool upper = (lane & Step) != 0;
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    const float kept = upper ? x[i + Count] : x[i], sent = upper ? x[i] : x[i + Count];
    x[i] = kept + __shfl_xor_sync(0xFFFFFFFFu, sent, Step);
  }
}

/// The sums of eight values over the warp in nine shuffles: lane l gets that of value l / 4.
__device__ float eight_sums(float (&x)[kLastRows], int lane) {
  exchange_halves<4, 16>(x, lane);
  exchange_halves<2, 8>(x, lane);
  exchange_halves<1, 4>(x, lane);
  const float sum = x[0] + __shfl_xor_sync(0xFFFFFFFFu, x[0], 2);
  return sum + __shfl_xor_sync(0xFFFFFFFFu, sum, 1);
}

/// map[r][j] = scale * rows_of(r) . keys_of(j) for all keys; sixteen warps, a key each.
template <class T>
__device__ void products(const Head<T>& h, const Tensor& rows_of, const Tensor& keys_of,
                         float scale, float* map) {
  const int rows = h.call.rows, keys = h.call.keys;
  float4 left[kLastRows];
#pragma unroll
  for (int r = 0; r < kLastRows; ++r) {
    left[r] = r < rows ? h.row(rows_of, r) : make_float4(0, 0, 0, 0);
  }
#pragma unroll 4
  for (int j = h.warp; j < keys; j += kWarps) {
    const float4 right = h.row(keys_of, j);
    float sums[kLastRows];
#pragma unroll
    for (int r = 0; r < kLastRows; ++r) sums[r] = dot(left[r], right);
    const float sum = eight_sums(sums, h.lane);
    constexpr int kLanes = kWarp / kLastRows;  // that hold the same sum
    const int r = h.lane / kLanes;
    if (h.lane % kLanes == 0 && r < rows) map[r * keys + j] = scale * sum;
  }
}

/// to[r] = scale * sum over j of map[r][j] keys_of(j): each warp its keys, then the warps in order.
template <class T>
__device__ void weighted_sums(const Head<T>& h, const float* map, const Tensor& keys_of,
                              float scale, float* scratch, const Tensor& to) {
  const int rows = h.call.rows, keys = h.call.keys;
  float4 sums[kLastRows] = {};
#pragma unroll 4
  for (int j = h.warp; j < keys; j += kWarps) {
    const float4 x = h.row(keys_of, j);
#pragma unroll
    for (int r = 0; r < kLastRows; ++r) {
      if (r < rows) add_product(sums[r], map[r * keys + j], x);
    }
  }
  auto* const parts = reinterpret_cast<float4*>(scratch);  // [warps, rows, 32]
#pragma unroll
  for (int r = 0; r < kLastRows; ++r) parts[(h.warp * kLastRows + r) * kWarp + h.lane] = sums[r];
  __syncthreads();
  if (h.warp < rows) {
    float4 sum = make_float4(0, 0, 0, 0);
    for (int w = 0; w < kWarps; ++w) {
      add_product(sum, scale, parts[(w * kLastRows + h.warp) * kWarp + h.lane]);
    }
    h.write(to, h.warp, sum);
  }
  __syncthreads();
}

/// What the convolution of row r reads of row `from`: scores up to the last key that either may
/// see.
__device__ float seen(const float* scores, int from, int j, int last, int keys) {
  return j >= 0 && j <= last ? scores[from * keys + j] : 0.0f;
}

/// convolved = kernel * scores; the scores themselves where there is no convolution.
template <class T>
__device__ void convolve(const Head<T>& h, const float* scores, float* convolved) {
  const LastRows& c = h.call;
  const Convolution& conv = c.conv_before;
  const float* const kernel = conv.kernel + h.head * conv.query_span * conv.key_span;
  for (int i = static_cast<int>(threadIdx.x); i < c.rows * c.keys; i += kThreads) {
    const int r = i / c.keys, j = i % c.keys;
    float sum = 0;
    for (int a = 0; a < conv.query_span; ++a) {
      const int from = r - (conv.query_span - 1) + a;
      if (from < 0) continue;
      const int last = h.last_key(c.causality == Causality::Exact ? r : from);
      for (int b = 0; b < conv.key_span; ++b) {
        sum +=
            kernel[a * conv.key_span + b] * seen(scores, from, j - conv.pad_left + b, last, c.keys);
      }
    }
    convolved[i] = sum;
  }
}

/// In place: the causal softmax of each row, 0 after its last key. A warp a row.
template <class T>
__device__ void softmax(const Head<T>& h, float* map) {
  if (h.warp >= h.call.rows) return;
  float* const row = map + h.warp * h.call.keys;
  const int last = h.last_key(h.warp);
  float maximum = -INFINITY, sum = 0;
  for (int j = h.lane; j <= last; j += kWarp) maximum = fmaxf(maximum, row[j]);
  maximum = warp_max(maximum);
  for (int j = h.lane; j <= last; j += kWarp) sum += __expf(row[j] - maximum);
  const float norm = 1 / warp_sum(sum);
  for (int j = h.lane; j < h.call.keys; j += kWarp) {
    row[j] = j <= last ? __expf(row[j] - maximum) * norm : 0.0f;
  }
}

/// to = map times the factors of dropout.
template <class T>
__device__ void drop(const Head<T>& h, const float* map, float* to) {
  const LastRows& c = h.call;
  const std::uint32_t threshold = dropout_threshold(c.dropout.rate);
  const std::uint32_t stream = c.dropout.stream + (c.dropout.step != nullptr ? *c.dropout.step : 0);
  constexpr int kKeys = 8;  // of one draw
  const int draws = (c.keys + kKeys - 1) / kKeys;
  for (int i = static_cast<int>(threadIdx.x); i < c.rows * draws; i += kThreads) {
    const int r = i / draws, first = i % draws * kKeys;
    const DropoutBlock block = dropout_block(
        c.dropout.seed, stream, static_cast<std::uint32_t>(h.map),
        static_cast<std::uint32_t>(c.first_row + r), static_cast<std::uint32_t>(first));
    for (int lane = 0; lane < kKeys && first + lane < c.keys; ++lane) {
      const int at = r * c.keys + first + lane;
      to[at] = map[at] * dropout_factor(block, lane, threshold);
    }
  }
}

/// Scores, and the weights before dropout. Ends with all threads in step.
template <class T>
__device__ void weights(const Head<T>& h, float* scores, float* map) {
  const LastRows& c = h.call;
  const bool convolved = c.conv_before.kernel != nullptr;
  products(h, c.q, c.k, c.scale, convolved ? scores : map);
  __syncthreads();
  if (convolved) {
    convolve(h, scores, map);
    __syncthreads();
  }
  softmax(h, map);
  __syncthreads();
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1) forward_kernel(LastRows call, Tensor o) {
  float4* const shared = dynamic_shared<float4>();
  const Head<T> h(call);
  float* const scratch = reinterpret_cast<float*>(shared);
  float* const scores = scratch + kFour * kWarps * kLastRows * kWarp;
  float* const map = scores + call.rows * call.keys;
  weights(h, scores, map);
  if (call.dropout.rate > 0) {
    drop(h, map, map);
    __syncthreads();
  }
  weighted_sums(h, map, call.v, 1, scratch, o);
}

/// In place, from the gradient of the weights A to that of the softmax's input. A warp a row.
template <class T>
__device__ void softmax_backward(const Head<T>& h, const float* map, float* gradient) {
  if (h.warp >= h.call.rows) return;
  const float* const p = map + h.warp * h.call.keys;
  float* const g = gradient + h.warp * h.call.keys;
  float sum = 0;
  for (int j = h.lane; j < h.call.keys; j += kWarp) sum += p[j] * g[j];
  sum = warp_sum(sum);
  for (int j = h.lane; j < h.call.keys; j += kWarp) g[j] = p[j] * (g[j] - sum);
}

/// The kernel's gradient, a warp a tap.
template <class T>
__device__ void kernel_gradient(const Head<T>& h, const float* scores, const float* gradient) {
  const LastRows& c = h.call;
  const Convolution& conv = c.conv_before;
  const int taps = conv.query_span * conv.key_span;
  for (int tap = h.warp; tap < taps; tap += kWarps) {
    const int a = tap / conv.key_span, b = tap % conv.key_span;
    float sum = 0;
    for (int r = conv.query_span - 1 - a; r < c.rows; ++r) {
      const int from = r - (conv.query_span - 1) + a;
      const int last = h.last_key(c.causality == Causality::Exact ? r : from);
      for (int j = h.lane; j <= h.last_key(r); j += kWarp) {
        sum += gradient[r * c.keys + j] * seen(scores, from, j - conv.pad_left + b, last, c.keys);
      }
    }
    sum = warp_sum(sum);
    if (h.lane == 0) conv.gradient[static_cast<std::size_t>(h.map) * taps + tap] = sum;
  }
}

/// to = the gradient of the scores, from that of the convolved ones.
template <class T>
__device__ void convolve_backward(const Head<T>& h, const float* gradient, float* to) {
  const LastRows& c = h.call;
  const Convolution& conv = c.conv_before;
  const float* const kernel = conv.kernel + h.head * conv.query_span * conv.key_span;
  for (int i = static_cast<int>(threadIdx.x); i < c.rows * c.keys; i += kThreads) {
    const int from = i / c.keys, j = i % c.keys;
    float sum = 0;
    for (int a = 0; a < conv.query_span; ++a) {
      const int r = from + (conv.query_span - 1) - a;
      if (r >= c.rows || j > h.last_key(c.causality == Causality::Exact ? r : from)) continue;
      for (int b = 0; b < conv.key_span; ++b) {
        const int read = j + conv.pad_left - b;
        if (read >= 0 && read < c.keys) {
          sum += kernel[a * conv.key_span + b] * gradient[r * c.keys + read];
        }
      }
    }
    to[i] = sum;
  }
}

/// to[j] = scale * sum over r of map[r][j] rows_of(r), for all keys.
template <class T>
__device__ void transposed_sums(const Head<T>& h, const float* map, const Tensor& rows_of,
                                float scale, const Tensor& to) {
  const int rows = h.call.rows, keys = h.call.keys;
  float4 left[kLastRows];
#pragma unroll
  for (int r = 0; r < kLastRows; ++r) {
    left[r] = r < rows ? h.row(rows_of, r) : make_float4(0, 0, 0, 0);
  }
  for (int j = h.warp; j < keys; j += kWarps) {
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int r = 0; r < kLastRows; ++r) {
      if (r < rows) add_product(sum, scale * map[r * keys + j], left[r]);
    }
    h.write(to, j, sum);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    backward_kernel(LastRows call, LastRowsGradients gradients) {
  float4* const shared = dynamic_shared<float4>();
  const Head<T> h(call);
  const int size = call.rows * call.keys;
  float* const scratch = reinterpret_cast<float*>(shared);
  float* const scores = scratch + kFour * kWarps * kLastRows * kWarp;
  float *const map = scores + size, *const gradient = map + size, *const dropped = gradient + size;
  weights(h, scores, map);
  products(h, gradients.d_o, call.v, 1, gradient);
  __syncthreads();
  const bool drops = call.dropout.rate > 0;
  if (drops) {
    drop(h, map, dropped);
    drop(h, gradient, gradient);
    __syncthreads();
  }
  transposed_sums(h, drops ? dropped : map, gradients.d_o, 1, gradients.d_v);
  softmax_backward(h, map, gradient);
  __syncthreads();
  const float* d_scores = gradient;
  if (call.conv_before.kernel != nullptr) {
    kernel_gradient(h, scores, gradient);
    convolve_backward(h, gradient, map);
    d_scores = map;
    __syncthreads();
  }
  transposed_sums(h, d_scores, call.q, call.scale, gradients.d_k);
  weighted_sums(h, d_scores, call.k, call.scale, scratch, gradients.d_q);
}

std::size_t shared_bytes(const LastRows& call, int maps) {
  return sizeof(float) * (static_cast<std::size_t>(kFour * kWarps * kLastRows * kWarp) +
                          static_cast<std::size_t>(maps) * call.rows * call.keys);
}

Status checked(const LastRows& c) {
  if (c.rows < 1 || c.rows > kLastRows || c.keys < 1 || c.first_row + c.rows > c.keys) {
    return fail(Status::Unsupported, "last rows: 1 to 8 rows that stand among the keys");
  }
  if (c.head_dim < kFour || c.head_dim > kLastHeadDim || c.head_dim % kFour != 0) {
    return fail(Status::Unsupported, "last rows: head size must be a multiple of 4, at most 128");
  }
  const Device device = current_device();
  if (const Status s = check(device); s != Status::Ok) return s;
  if (last_rows_bytes(c.keys) > static_cast<std::size_t>(device.shared_bytes)) {
    return fail(Status::Unsupported, "last rows: more keys than shared memory holds");
  }
  return Status::Ok;
}

template <class Kernel, class... Arguments>
Status launch(Kernel kernel, const LastRows& call, int maps, Stream stream,
              const Arguments&... arguments) {
  const auto bytes = shared_bytes(call, maps);
  cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           static_cast<int>(bytes));
  if (error == cudaSuccess) {
    kernel<<<static_cast<unsigned>(call.batch * call.heads), kThreads, bytes, stream>>>(
        call, arguments...);
    error = cudaGetLastError();
  }
  if (error == cudaSuccess) return Status::Ok;
  return fail(Status::CudaError, std::string("last rows: ") + cudaGetErrorString(error));
}

}  // namespace

std::size_t last_rows_bytes(int keys) {
  constexpr int kMaps = 4;
  LastRows most;
  most.rows = kLastRows;
  most.keys = keys;
  return shared_bytes(most, kMaps);
}

Status last_rows_forward(const LastRows& call, const Tensor& o, Stream stream) {
  const Status status = checked(call);
  if (status != Status::Ok) return status;
  constexpr int kMaps = 2;
  return call.type == ElementType::Float16
             ? launch(forward_kernel<__half>, call, kMaps, stream, o)
             : launch(forward_kernel<__nv_bfloat16>, call, kMaps, stream, o);
}

Status last_rows_backward(const LastRows& call, const LastRowsGradients& gradients, Stream stream) {
  const Status status = checked(call);
  if (status != Status::Ok) return status;
  constexpr int kMaps = 4;
  return call.type == ElementType::Float16
             ? launch(backward_kernel<__half>, call, kMaps, stream, gradients)
             : launch(backward_kernel<__nv_bfloat16>, call, kMaps, stream, gradients);
}

}  // namespace mta::kernels
