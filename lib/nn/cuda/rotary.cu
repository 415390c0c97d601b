// Rotary embedding: one pass, eight values (four pairs) a thread.
#include "lib/nn/cuda/vectors.cuh"

namespace mta::nn::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads) rotate_kernel(Rotation call) {
  // 32 bits, checked by the launch: 64-bit divisions would cost as much as the memory.
  const unsigned index = blockIdx.x * kThreads + threadIdx.x;
  const auto vectors = static_cast<unsigned>(call.d) / kEight;  // of one head
  const auto heads = static_cast<unsigned>(call.heads);
  const auto positions = static_cast<unsigned>(call.positions);
  const unsigned head_row = index / vectors;  // (sample, position, head)
  if (head_row >= call.batch * call.positions * call.heads) return;
  const std::int64_t column = index % vectors * kVector;
  const unsigned row = head_row / heads;
  const std::int64_t head = head_row % heads;
  const std::int64_t sample = row / positions, position = row % positions;

  float x[kEight], cos[kEight], sin[kEight], y[kEight];
  load(static_cast<const T*>(call.x) + sample * call.batch_stride +
           position * call.position_stride + head * call.head_stride + column,
       x);
  load(call.cos + position * call.d + column, cos);
  load(call.sin + position * call.d + column, sin);
#pragma unroll
  for (int i = 0; i < kEight; ++i) y[i] = x[i] * cos[i] + call.direction * x[i ^ 1] * sin[i];
  store(static_cast<T*>(call.y) + head_row * call.d + column, y);
}

}  // namespace

const char* rotate(const Rotation& call, Stream stream) {
  const std::int64_t threads = call.batch * call.positions * call.heads * (call.d / kVector);
  if (threads == 0) return nullptr;
  if (threads > kMaxThreads) return kTooLarge;
  with_type(call.type, [&](auto* kind) {
    using T = std::remove_pointer_t<decltype(kind)>;
    rotate_kernel<T><<<blocks_for(threads, kThreads), kThreads, 0, stream>>>(call);
  });
  return launched();
}

}  // namespace mta::nn::cuda
