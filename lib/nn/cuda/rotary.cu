// Rotary embedding of several tensors at once: one pass, eight values (four pairs) a thread.
#include "lib/nn/cuda/vectors.cuh"

#include <algorithm>

namespace mta::nn::cuda {
namespace {

constexpr int kThreads = 256;

__host__ __device__ std::int64_t threads_of(const Rotation& call, const RotationPart& part) {
  return call.batch * call.positions * part.heads * (part.d / kVector);
}

template <class T>
__global__ void __launch_bounds__(kThreads) rotate_kernel(const __grid_constant__ Rotation call) {
  const RotationPart& part = call.parts[blockIdx.y];
  // 32 bits, checked by the launch: 64-bit divisions would cost as much as the memory.
  const unsigned index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= threads_of(call, part)) return;
  const auto vectors = static_cast<unsigned>(part.d) / kEight;  // of one head
  const auto heads = static_cast<unsigned>(part.heads);
  const auto positions = static_cast<unsigned>(call.positions);
  const unsigned head_row = index / vectors;  // (sample, position, head)
  const std::int64_t column = index % vectors * kVector;
  const unsigned row = head_row / heads;
  const std::int64_t head = head_row % heads;
  const std::int64_t sample = row / positions, position = row % positions;
  const auto at = [&](const Strides& by) {
    return sample * by.batch + position * by.position + head * by.head + column;
  };

  float x[kEight];
  load(static_cast<const T*>(part.x) + at(part.x_strides), x);
  if (part.turns) {
    float cos[kEight], sin[kEight], y[kEight];
    load(call.cos + position * part.d + column, cos);
    load(call.sin + position * part.d + column, sin);
#pragma unroll
    for (int i = 0; i < kEight; ++i) y[i] = x[i] * cos[i] + call.direction * x[i ^ 1] * sin[i];
    store(static_cast<T*>(part.y) + at(part.y_strides), y);
  } else {
    store(static_cast<T*>(part.y) + at(part.y_strides), x);
  }
}

}  // namespace

const char* rotate(const Rotation& call, Stream stream) {
  std::int64_t threads = 0;
  for (int p = 0; p < call.count; ++p) threads = std::max(threads, threads_of(call, call.parts[p]));
  if (threads == 0) return nullptr;
  if (threads > kMaxThreads) return kTooLarge;
  const dim3 grid(blocks_for(threads, kThreads), static_cast<unsigned>(call.count));
  with_type(call.type, [&](auto* kind) {
    using T = std::remove_pointer_t<decltype(kind)>;
    rotate_kernel<T><<<grid, kThreads, 0, stream>>>(call);
  });
  return launched();
}

}  // namespace mta::nn::cuda
