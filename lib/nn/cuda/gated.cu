// SwiGLU's gate, forward and backward: one pass, eight values a thread.
#include "lib/nn/cuda/vectors.cuh"

namespace mta::nn::cuda {
namespace {

constexpr int kThreads = 256;

struct Place {
  std::int64_t a, b, y;  // offsets of this thread's eight values
  bool there;
};

__device__ Place place(std::int64_t rows, std::int64_t width) {
  // 32 bits, checked by the launch: a 64-bit division would cost as much as the memory.
  const unsigned index = blockIdx.x * kThreads + threadIdx.x;
  const auto vectors = static_cast<unsigned>(width / kEight);
  const std::int64_t row = index / vectors, column = index % vectors * kVector;
  return {2 * row * width + column, (2 * row + 1) * width + column, row * width + column,
          row < rows};
}

__device__ float sigmoid(float x) { return 1 / (1 + __expf(-x)); }

template <class T>
__global__ void __launch_bounds__(kThreads) forward_kernel(Gated call) {
  const Place at = place(call.rows, call.width);
  if (!at.there) return;
  float a[kEight], b[kEight], y[kEight];
  load(static_cast<const T*>(call.ab) + at.a, a);
  load(static_cast<const T*>(call.ab) + at.b, b);
#pragma unroll
  for (int i = 0; i < kEight; ++i) y[i] = a[i] * sigmoid(a[i]) * b[i];
  store(static_cast<T*>(call.y) + at.y, y);
}

template <class T>
__global__ void __launch_bounds__(kThreads) backward_kernel(GatedBackward call) {
  const Place at = place(call.rows, call.width);
  if (!at.there) return;
  float a[kEight], b[kEight], grad_y[kEight], grad_a[kEight], grad_b[kEight];
  load(static_cast<const T*>(call.ab) + at.a, a);
  load(static_cast<const T*>(call.ab) + at.b, b);
  load(static_cast<const T*>(call.grad_y) + at.y, grad_y);
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    const float gate = sigmoid(a[i]), silu = a[i] * gate;
    grad_a[i] = grad_y[i] * b[i] * (gate + silu * (1 - gate));
    grad_b[i] = grad_y[i] * silu;
  }
  store(static_cast<T*>(call.grad_ab) + at.a, grad_a);
  store(static_cast<T*>(call.grad_ab) + at.b, grad_b);
}

}  // namespace

const char* gated(const Gated& call, Stream stream) {
  const std::int64_t threads = call.rows * (call.width / kVector);
  if (threads == 0) return nullptr;
  if (threads > kMaxThreads) return kTooLarge;
  with_type(call.type, [&](auto* kind) {
    using T = std::remove_pointer_t<decltype(kind)>;
    forward_kernel<T><<<blocks_for(threads, kThreads), kThreads, 0, stream>>>(call);
  });
  return launched();
}

const char* gated_backward(const GatedBackward& call, Stream stream) {
  const std::int64_t threads = call.rows * (call.width / kVector);
  if (threads == 0) return nullptr;
  if (threads > kMaxThreads) return kTooLarge;
  with_type(call.type, [&](auto* kind) {
    using T = std::remove_pointer_t<decltype(kind)>;
    backward_kernel<T><<<blocks_for(threads, kThreads), kThreads, 0, stream>>>(call);
  });
  return launched();
}

}  // namespace mta::nn::cuda
