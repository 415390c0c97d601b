// RMS norm with the residual sum, forward and backward: a row over up to eight warps, eight columns
// a thread.
//
// Forward reads x and the update and writes their sum and its norm: four passes over [rows, d]
// where separate operations take about fourteen. Backward reads the normalised sum and two
// gradients and writes one: four passes, too. For [8192, 1536] in bf16 that is 101 MB each. A
// thread holds so little that several blocks share a multiprocessor: while one adds up its rows,
// the others' loads are on their way.
#include "lib/nn/cuda/vectors.cuh"

#include <algorithm>
#include <type_traits>

namespace mta::nn::cuda {
namespace {

constexpr int kWarps = 8;                 // of a block, at most
constexpr int kColumns = kWarp * kEight;  // of a warp
constexpr int kBackwardThreads = 768;     // of a multiprocessor: 80 registers each
constexpr int kMultiprocessors = 132;     // of an H100 or H200; fixed, so that sums are the same
constexpr int kSumWarps = 16;

/// A block is groups of `Warps` warps, each of which takes rows of its own.
template <int Warps>
struct Share {
  static constexpr int kGroups = kWarps / Warps;
  static constexpr int kGroupThreads = Warps * kWarp;
  static constexpr int kThreads = kGroups * kGroupThreads;
  static constexpr int kBackwardBlocks = kBackwardThreads / kThreads;  // of a multiprocessor
};

/// Rows that a group works on at a time in the backward pass; in fp32 two do not fit its registers.
template <class T>
constexpr int kRows = sizeof(T) == sizeof(float) ? 1 : 2;

/// Eight values as they lie in memory.
template <class T>
struct Packed {
  uint4 words[kEight * sizeof(T) / sizeof(uint4)] = {};

  __device__ void load_from(const void* base, std::int64_t offset) {
    const auto* from = reinterpret_cast<const uint4*>(static_cast<const T*>(base) + offset);
#pragma unroll
    for (std::size_t i = 0; i < sizeof(words) / sizeof(uint4); ++i) words[i] = from[i];
  }
  __device__ void unpack(float (&x)[kEight]) const { load(reinterpret_cast<const T*>(words), x); }
};

/// Each of `x` summed over the threads of a group, the same in all of them. `turn` alternates
/// between 0 and 1 where a block calls this again: then one barrier a call is enough.
template <int Warps, int Count>
__device__ void sum_over_group(float (&x)[Count], int turn) {
#pragma unroll
  for (float& value : x) value = warp_sum(value);
  if constexpr (Warps > 1) {
    __shared__ float of_warps[2][kWarps][Count];
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    if (threadIdx.x % kWarp == 0) {
#pragma unroll
      for (int k = 0; k < Count; ++k) of_warps[turn][warp][k] = x[k];
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < Count; ++k) {
      x[k] = 0;
#pragma unroll
      for (int w = 0; w < Warps; ++w) x[k] += of_warps[turn][warp / Warps * Warps + w][k];
    }
  }
}

template <class T, int Warps>
__global__ void __launch_bounds__(Share<Warps>::kThreads) forward_kernel(RmsNorm call) {
  using Group = Share<Warps>;
  const int d = static_cast<int>(call.d), thread = static_cast<int>(threadIdx.x);
  const std::int64_t row =
      static_cast<std::int64_t>(blockIdx.x) * Group::kGroups + thread / Group::kGroupThreads;
  const int column = thread % Group::kGroupThreads * kEight;
  const std::int64_t offset = row * d + column;
  const bool there = row < call.rows && column < d;
  float values[kEight] = {}, weight[kEight], squares[1] = {};
  if (there) {
    load(static_cast<const T*>(call.x) + offset, values);
    load(call.weight + column, weight);
    if (call.update != nullptr) {
      float update[kEight];
      load(static_cast<const T*>(call.update) + offset, update);
#pragma unroll
      for (int i = 0; i < kEight; ++i) {
        values[i] = rounded(values[i] + update[i], static_cast<const T*>(nullptr));
      }
      store(static_cast<T*>(call.sum) + offset, values);
    }
#pragma unroll
    for (float value : values) squares[0] += value * value;
  }
  sum_over_group<Warps>(squares, 0);
  if (!there) return;
  const float scale = rsqrtf(squares[0] / static_cast<float>(d) + call.eps);
  if (column == 0) call.scale[row] = scale;
#pragma unroll
  for (int i = 0; i < kEight; ++i) values[i] = values[i] * scale * weight[i];
  store(static_cast<T*>(call.y) + offset, values);
}

/// What a group has read of one row, eight columns a thread; zeros beyond the row.
template <class T>
struct BackwardRow {
  Packed<T> x, grad_y, grad_sum;
  float scale = 0;

  __device__ void load_from(const RmsNormBackward& call, std::int64_t row, int column) {
    const std::int64_t offset = row * call.d + column;
    x.load_from(call.sum, offset);
    grad_y.load_from(call.grad_y, offset);
    if (call.grad_sum != nullptr) load_grad_sum(call, row, column);
    scale = call.scale[row];
  }

  __device__ void load_grad_sum(const RmsNormBackward& call, std::int64_t row, int column) {
    std::int64_t from = row;
    if (call.first > 0) {
      const auto tokens = static_cast<unsigned>(call.tokens);
      const unsigned sample = static_cast<unsigned>(row) / tokens;
      const std::int64_t token = static_cast<unsigned>(row) % tokens - call.first;
      if (token < 0) return;
      from = sample * (call.tokens - call.first) + token;
    }
    grad_sum.load_from(call.grad_sum, from * call.d + column);
  }

  /// This thread's part of sum(grad_y weight x); adds grad_y x scale to `grad_weight`.
  __device__ float dot(const float (&weight)[kEight], float (&grad_weight)[kEight]) const {
    float values[kEight], g[kEight], sum = 0;
    x.unpack(values);
    grad_y.unpack(g);
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      grad_weight[i] += g[i] * values[i] * scale;
      sum += g[i] * weight[i] * values[i];
    }
    return sum;
  }

  __device__ void write(T* grad_x, const float (&weight)[kEight], float mean) const {
    float values[kEight], g[kEight], more[kEight];
    x.unpack(values);
    grad_y.unpack(g);
    grad_sum.unpack(more);
    const float share = mean * scale * scale * scale;
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      g[i] = scale * (g[i] * weight[i]) - share * values[i] + more[i];
    }
    store(grad_x, g);
  }
};

/// The block's part of the weight's gradient: those of its groups added up in their order.
template <int Warps>
__device__ void write_part(const RmsNormBackward& call, int group, int column,
                           const float (&grad_weight)[kEight]) {
  using Group = Share<Warps>;
  extern __shared__ float total[];  // [d]
  const int d = static_cast<int>(call.d);
  for (int g = 0; g < Group::kGroups; ++g) {
    if (g == group && column < d) {
#pragma unroll
      for (int i = 0; i < kEight; ++i) {
        total[column + i] = (g == 0 ? 0 : total[column + i]) + grad_weight[i];
      }
    }
    __syncthreads();
  }
  for (int c = static_cast<int>(threadIdx.x); c < d; c += Group::kThreads) {
    call.parts[static_cast<std::int64_t>(blockIdx.x) * d + c] = total[c];
  }
}

/// With g = grad_y weight:  grad_x = scale g - sum scale^3 mean(g sum) + grad_sum, and
/// grad_weight = sum over rows of grad_y sum scale.
template <class T, int Warps>
__global__ void __launch_bounds__(Share<Warps>::kThreads, Share<Warps>::kBackwardBlocks)
    backward_kernel(RmsNormBackward call) {
  using Group = Share<Warps>;
  const int d = static_cast<int>(call.d), thread = static_cast<int>(threadIdx.x);
  const int group = thread / Group::kGroupThreads;
  const int column = thread % Group::kGroupThreads * kEight;
  const std::int64_t rows_a_block = Group::kGroups * kRows<T>;
  float weight[kEight] = {}, grad_weight[kEight] = {};
  if (column < d) load(call.weight + column, weight);
  int turn = 0;
  for (std::int64_t first = blockIdx.x * rows_a_block; first < call.rows;
       first += gridDim.x * rows_a_block, turn ^= 1) {
    const std::int64_t row = first + group * kRows<T>;
    BackwardRow<T> rows[kRows<T>];
#pragma unroll
    for (int r = 0; r < kRows<T>; ++r) {
      if (row + r < call.rows && column < d) rows[r].load_from(call, row + r, column);
    }
    float dots[kRows<T>];
#pragma unroll
    for (int r = 0; r < kRows<T>; ++r) dots[r] = rows[r].dot(weight, grad_weight);
    sum_over_group<Warps>(dots, turn);
#pragma unroll
    for (int r = 0; r < kRows<T>; ++r) {
      if (row + r >= call.rows || column >= d) continue;
      rows[r].write(static_cast<T*>(call.grad_x) + (row + r) * d + column, weight,
                    dots[r] / static_cast<float>(d));
    }
  }
  write_part<Warps>(call, group, column, grad_weight);
}

/// Adds up the parts of 32 columns, in order: each warp a share of them, then the shares.
__global__ void __launch_bounds__(kSumWarps* kWarp)
    sum_parts_kernel(const float* parts, int count, int d, float* sum) {
  __shared__ float shares[kSumWarps][kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int column = static_cast<int>(blockIdx.x) * kWarp + lane;
  const int share = (count + kSumWarps - 1) / kSumWarps;
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
  for (int w = 0; w < kSumWarps; ++w) whole += shares[w][lane];
  sum[column] = whole;
}

/// Calls f with the number of warps that share a row of `d` values, as a type.
template <class F>
void with_warps(std::int64_t d, const F& f) {
  const auto warps = (d + kColumns - 1) / kColumns;
  if (warps <= 1) {
    f(std::integral_constant<int, 1>());
  } else if (warps <= 2) {
    f(std::integral_constant<int, 2>());
  } else if (warps <= 3) {
    f(std::integral_constant<int, 3>());
  } else if (warps <= 4) {
    f(std::integral_constant<int, 4>());
  } else if (warps <= 6) {
    f(std::integral_constant<int, 6>());
  } else {
    f(std::integral_constant<int, kWarps>());
  }
}

static_assert(kMaxWidth == kWarps * kColumns, "the widest kernel above");

}  // namespace

std::int64_t norm_parts(Type type, std::int64_t rows, std::int64_t d) {
  std::int64_t parts = 0;
  with_warps(d, [&](auto warps) {
    with_type(type, [&](auto* kind) {
      using Group = Share<decltype(warps)::value>;
      constexpr std::int64_t kABlock =
          Group::kGroups * kRows<std::remove_pointer_t<decltype(kind)>>;
      constexpr std::int64_t kMost = kMultiprocessors * Group::kBackwardBlocks;
      parts = std::min((rows + kABlock - 1) / kABlock, kMost);
    });
  });
  return parts;
}

const char* rms_norm(const RmsNorm& call, Stream stream) {
  if (call.rows == 0) return nullptr;
  with_warps(call.d, [&](auto warps) {
    constexpr int kShared = decltype(warps)::value;
    with_type(call.type, [&](auto* kind) {
      using T = std::remove_pointer_t<decltype(kind)>;
      using Group = Share<kShared>;
      forward_kernel<T, kShared>
          <<<blocks_for(call.rows, Group::kGroups), Group::kThreads, 0, stream>>>(call);
    });
  });
  return launched();
}

const char* rms_norm_backward(const RmsNormBackward& call, Stream stream) {
  if (call.rows == 0) return nullptr;
  if (call.rows >= kMaxThreads) return kTooLarge;
  const auto parts = static_cast<unsigned>(norm_parts(call.type, call.rows, call.d));
  const std::size_t shared = static_cast<std::size_t>(call.d) * sizeof(float);
  with_warps(call.d, [&](auto warps) {
    constexpr int kShared = decltype(warps)::value;
    with_type(call.type, [&](auto* kind) {
      using T = std::remove_pointer_t<decltype(kind)>;
      backward_kernel<T, kShared><<<parts, Share<kShared>::kThreads, shared, stream>>>(call);
    });
  });
  sum_parts_kernel<<<blocks_for(call.d, kWarp), kSumWarps * kWarp, 0, stream>>>(
      call.parts, static_cast<int>(parts), static_cast<int>(call.d), call.grad_weight);
  return launched();
}

}  // namespace mta::nn::cuda
