// Cross-entropy of rows of logits, forward and backward: one block a row, one pass over it each, in
// eights where rows are multiples of them, else value by value.
//
// Forward keeps a running maximum and sum in each thread, so that it reads the logits once;
// backward reads them once and writes their gradient. For 8192 rows of 128,256 values in bf16 that
// is 2.1 and 4.2 GB.
#include "lib/nn/cuda/vectors.cuh"

#include <cfloat>
#include <type_traits>

namespace mta::nn::cuda {

__device__ inline void load(const float* from, float (&x)[1]) { x[0] = *from; }
__device__ inline void load(const __nv_bfloat16* from, float (&x)[1]) {
  x[0] = __bfloat162float(*from);
}
__device__ inline void store(float* to, const float (&x)[1]) { *to = x[0]; }
__device__ inline void store(__nv_bfloat16* to, const float (&x)[1]) {
  *to = __float2bfloat16_rn(x[0]);
}

namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;

/// Sum of exp(x - most) over some values, and their maximum.
struct Sum {
  float most = -FLT_MAX, sum = 0;

  __device__ void add(const Sum& other) {
    const float higher = fmaxf(most, other.most);
    sum = sum * __expf(most - higher) + other.sum * __expf(other.most - higher);
    most = higher;
  }
};

__device__ Sum warp_total(Sum total) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const Sum other = {__shfl_xor_sync(0xFFFFFFFFu, total.most, step),
                       __shfl_xor_sync(0xFFFFFFFFu, total.sum, step)};
    total.add(other);
  }
  return total;
}

/// Of the whole block, in thread 0.
__device__ Sum block_total(Sum total) {
  __shared__ Sum of_warps[kWarps];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  total = warp_total(total);
  if (lane == 0) of_warps[threadIdx.x / kWarp] = total;
  __syncthreads();
  return warp_total(lane < kWarps ? of_warps[lane] : Sum{});
}

template <class T, int Width>
__global__ void __launch_bounds__(kThreads) forward_kernel(CrossEntropy call) {
  const std::int64_t row = blockIdx.x;
  const T* const x = static_cast<const T*>(call.logits) + row * call.vocabulary;
  Sum total;
  for (std::int64_t j = threadIdx.x * Width; j < call.vocabulary; j += kThreads * Width) {
    float values[Width];
    load(x + j, values);
    Sum some = {values[0], 0};
#pragma unroll
    for (int i = 1; i < Width; ++i) some.most = fmaxf(some.most, values[i]);
#pragma unroll
    for (int i = 0; i < Width; ++i) some.sum += __expf(values[i] - some.most);
    total.add(some);
  }
  total = block_total(total);
  if (threadIdx.x != 0) return;
  const float log_sum = total.most + logf(total.sum);
  const std::int64_t target = call.targets[row];
  call.log_sums[row] = log_sum;
  call.losses[row] = target == call.no_target ? 0 : log_sum - static_cast<float>(x[target]);
}

template <class T, int Width>
__global__ void __launch_bounds__(kThreads) backward_kernel(CrossEntropyBackward call) {
  const std::int64_t row = blockIdx.x;
  const T* const x = static_cast<const T*>(call.logits) + row * call.vocabulary;
  T* const to = static_cast<T*>(call.grad_logits) + row * call.vocabulary;
  const std::int64_t target = call.targets[row];
  const float log_sum = call.log_sums[row];
  const bool counts = target != call.no_target;
  const float grad = *call.grad;
  for (std::int64_t j = threadIdx.x * Width; j < call.vocabulary; j += kThreads * Width) {
    float values[Width];
    load(x + j, values);
#pragma unroll
    for (int i = 0; i < Width; ++i) {
      const float p = __expf(values[i] - log_sum) - (j + i == target ? 1.0F : 0.0F);
      values[i] = counts ? p * grad : 0;
    }
    store(to + j, values);
  }
}

/// Calls f with the width of a thread's values, as a type.
template <class F>
void with_width(std::int64_t vocabulary, const F& f) {
  if (vocabulary % kVector == 0) {
    f(std::integral_constant<int, kEight>());
  } else {
    f(std::integral_constant<int, 1>());
  }
}

}  // namespace

const char* cross_entropy(const CrossEntropy& call, Stream stream) {
  if (call.rows == 0) return nullptr;
  if (call.rows >= kMaxThreads) return kTooLarge;
  with_type(call.type, [&](auto* kind) {
    using T = std::remove_pointer_t<decltype(kind)>;
    with_width(call.vocabulary, [&](auto width) {
      forward_kernel<T, decltype(width)::value>
          <<<static_cast<unsigned>(call.rows), kThreads, 0, stream>>>(call);
    });
  });
  return launched();
}

const char* cross_entropy_backward(const CrossEntropyBackward& call, Stream stream) {
  if (call.rows == 0) return nullptr;
  if (call.rows >= kMaxThreads) return kTooLarge;
  with_type(call.type, [&](auto* kind) {
    using T = std::remove_pointer_t<decltype(kind)>;
    with_width(call.vocabulary, [&](auto width) {
      backward_kernel<T, decltype(width)::value>
          <<<static_cast<unsigned>(call.rows), kThreads, 0, stream>>>(call);
    });
  });
  return launched();
}

}  // namespace mta::nn::cuda
