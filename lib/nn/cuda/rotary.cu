// Rotary embedding of several tensors at once: one pass, eight values (four pairs) of up to four
// samples a thread, which share their angles.
#include "lib/nn/cuda/vectors.cuh"

#include <algorithm>

namespace mta::nn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kSamples = 4;  // a thread

__host__ __device__ std::int64_t threads_of(const Rotation& call, const RotationPart& part) {
  return (call.batch + kSamples - 1) / kSamples * call.positions * part.heads * (part.d / kVector);
}

/// Turns the pairs by the angles of one position.
__device__ void turn(float (&x)[kEight], const float (&cos)[kEight], const float (&sin)[kEight],
                     float direction) {
#pragma unroll
  for (int i = 0; i < kEight; i += 2) {
    const float even = x[i], odd = x[i + 1];
    x[i] = even * cos[i] + direction * odd * sin[i];
    x[i + 1] = odd * cos[i + 1] + direction * even * sin[i + 1];
  }
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
  const unsigned head_row = index / vectors;  // (samples, position, head)
  const std::int64_t column = index % vectors * kVector;
  const unsigned row = head_row / heads;
  const std::int64_t head = head_row % heads;
  const std::int64_t sample = row / positions * kSamples, position = row % positions;
  const int samples = static_cast<int>(min(call.batch - sample, std::int64_t{kSamples}));
  const auto at = [&](const Strides& by, int s) {
    return (sample + s) * by.batch + position * by.position + head * by.head + column;
  };

  float x[kSamples][kEight];
#pragma unroll
  for (int s = 0; s < kSamples; ++s) {
    if (s < samples) load(static_cast<const T*>(part.x) + at(part.x_strides, s), x[s]);
  }
  float cos[kEight], sin[kEight];
  if (part.turns) {
    load(call.cos + position * part.d + column, cos);
    load(call.sin + position * part.d + column, sin);
  }
#pragma unroll
  for (int s = 0; s < kSamples; ++s) {
    if (s >= samples) break;
    if (part.turns) turn(x[s], cos, sin, call.direction);
    store(static_cast<T*>(part.y) + at(part.y_strides, s), x[s]);
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
