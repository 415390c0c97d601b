// Norm and scalar gate of each head of attention's output, forward and backward, one pass each.
//
// A head's d values lie with 8 to 32 neighbouring threads, eight with each. Forward reads o and
// writes y, backward reads o and y's gradient and writes o's: five passes over [rows, d] in all.
// Backward works out the norm and the gate again, and every sum that a row needs at once: with
// u = norm_scale w they are o.o, o.(u g) and o.(u grad_y).
#include "lib/kernels/launch.cuh"
#include "lib/nn/cuda/vectors.cuh"

#include <type_traits>

namespace mta::nn::cuda {
namespace {

using kernels::launch;

constexpr int kWarps = 8;  // of a block
constexpr int kThreads = kWarps * kWarp;
constexpr int kForwardRows = 2, kBackwardRows = 4;  // that a thread has under way at a time
constexpr int kSumWarps = 32;                       // of a block that adds up the parts

/// Sum over the `Lanes` threads of a row, the same in each.
template <int Lanes>
__device__ float row_sum(float x) {
#pragma unroll
  for (int step = Lanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, step);
  return x;
}

/// Rows that all lie one stride apart become the heads of one token. A stride that no index
/// multiplies is free.
NormGate joined(NormGate call) {
  if (call.heads == 1) call.head_stride = call.tokens == 1 ? call.batch_stride : call.token_stride;
  if (call.tokens == 1) call.token_stride = call.heads * call.head_stride;
  if (call.token_stride != call.heads * call.head_stride) return call;
  if (call.batch > 1 && call.batch_stride != call.tokens * call.token_stride) return call;
  call.heads *= call.tokens * call.batch;
  call.tokens = call.batch = 1;
  return call;
}

std::int64_t rows_of(const NormGate& call) { return call.batch * call.tokens * call.heads; }

/// Where a row of o begins. 32 bits, checked by the launch: see rotary.cu.
__device__ std::int64_t place(const NormGate& call, unsigned row) {
  if (call.batch * call.tokens == 1) return row * call.head_stride;
  const auto heads = static_cast<unsigned>(call.heads);
  const auto tokens = static_cast<unsigned>(call.tokens);
  const unsigned token = row / heads;
  return token / tokens * call.batch_stride + token % tokens * call.token_stride +
         row % heads * call.head_stride;
}

/// A thread's eight columns of the parameters: u = norm_scale w, or 1, and u g, or 0. Zeros where
/// it has no columns.
struct Weights {
  float u[kEight] = {}, ug[kEight] = {}, bias = 0;

  __device__ Weights(const NormGate& call, int column) {
    if (column >= call.d) return;
#pragma unroll
    for (int i = 0; i < kEight; ++i) u[i] = 1;
    if (call.norm_weight != nullptr) {
      load(call.norm_weight + column, u);
#pragma unroll
      for (int i = 0; i < kEight; ++i) u[i] *= call.norm_scale;
    }
    if (call.gate_weight == nullptr) return;
    load(call.gate_weight + column, ug);
#pragma unroll
    for (int i = 0; i < kEight; ++i) ug[i] *= u[i];
    bias = *call.gate_bias;
  }
};

/// 1 / sqrt(mean(o^2) + eps), or 1 without a norm.
__device__ float inverse_root(const NormGate& call, float squares) {
  if (call.norm_weight == nullptr) return 1;
  return rsqrtf(squares / static_cast<float>(call.d) + call.eps);
}

/// The gate, or 1 without one; `along` is o.(u g).
__device__ float gate_of(const NormGate& call, float root, float along, float bias) {
  return call.gate_weight == nullptr ? 1 : 1 / (1 + expf(-(root * along + bias)));
}

template <class T, int Lanes>
__global__ void __launch_bounds__(kThreads) forward_kernel(NormGate call) {
  kernels::wait_for_previous_kernel();
  constexpr int kAtOnce = kThreads / Lanes;
  const int column = static_cast<int>(threadIdx.x) % Lanes * kEight;
  const unsigned first = blockIdx.x * (kAtOnce * kForwardRows) + threadIdx.x / Lanes;
  const bool columns = column < call.d;
  const std::int64_t rows = call.batch * call.tokens * call.heads;
  float o[kForwardRows][kEight] = {};
#pragma unroll
  for (int r = 0; r < kForwardRows; ++r) {
    const unsigned row = first + r * kAtOnce;
    if (columns && row < rows)
      load(static_cast<const T*>(call.o) + place(call, row) + column, o[r]);
  }
  const Weights weights(call, column);
#pragma unroll
  for (int r = 0; r < kForwardRows; ++r) {
    float squares = 0, along = 0;
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      squares += o[r][i] * o[r][i];
      along += o[r][i] * weights.ug[i];
    }
    const float root = inverse_root(call, row_sum<Lanes>(squares));
    const float factor = root * gate_of(call, root, row_sum<Lanes>(along), weights.bias);
    const unsigned row = first + r * kAtOnce;
    if (!columns || row >= rows) continue;
#pragma unroll
    for (int i = 0; i < kEight; ++i) o[r][i] *= factor * weights.u[i];
    store(static_cast<T*>(call.y) + row * call.d + column, o[r]);
  }
}

/// What a thread adds up over its rows: for its columns grad_y gate root o and grad_z root o, where
/// z = g . n + bias, and grad_z itself.
struct Sums {
  float by_value[kEight] = {}, by_gate[kEight] = {}, grad_z = 0;
};

/// One row of backward: o becomes its gradient. All threads of the row take part.
template <int Lanes>
__device__ void backward_row(const NormGate& call, const Weights& weights, float (&o)[kEight],
                             const float (&grad_y)[kEight], bool there, Sums& sums) {
  float squares = 0, along = 0, against = 0;
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    squares += o[i] * o[i];
    along += o[i] * weights.ug[i];
    against += o[i] * weights.u[i] * grad_y[i];
  }
  squares = row_sum<Lanes>(squares);
  along = row_sum<Lanes>(along);
  against = row_sum<Lanes>(against);
  if (!there) return;
  const float root = inverse_root(call, squares);
  const float gate = gate_of(call, root, along, weights.bias);
  const float grad_z = root * against * gate * (1 - gate);  // 0 without a gate
  const float mean = (gate * against + grad_z * along) / static_cast<float>(call.d);
  const float share = call.norm_weight == nullptr ? 0 : root * root * root * mean;
  sums.grad_z += grad_z;
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    const float gated = grad_y[i] * gate, scaled = root * o[i];
    sums.by_value[i] += gated * scaled;
    sums.by_gate[i] += grad_z * scaled;
    o[i] = root * (gated * weights.u[i] + grad_z * weights.ug[i]) - share * o[i];
  }
}

/// The block's sums to its row of `parts`: first over the rows of a warp, then over the warps in
/// their order.
template <int Lanes>
__device__ void write_part(const NormGateBackward& call, Sums& sums, int column) {
  auto* const shared = kernels::dynamic_shared<float>();  // [kWarps, 2 d + 1]
  const int d = static_cast<int>(call.forward.d), width = 2 * d + 1;
#pragma unroll
  for (int step = kWarp / 2; step >= Lanes; step /= 2) {
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      sums.by_value[i] += __shfl_xor_sync(0xFFFFFFFFu, sums.by_value[i], step);
      sums.by_gate[i] += __shfl_xor_sync(0xFFFFFFFFu, sums.by_gate[i], step);
    }
    sums.grad_z += __shfl_xor_sync(0xFFFFFFFFu, sums.grad_z, step);
  }
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  if (threadIdx.x % kWarp < Lanes && column < d) {
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      shared[warp * width + column + i] = sums.by_value[i];
      shared[warp * width + d + column + i] = sums.by_gate[i];
    }
    if (column == 0) shared[warp * width + 2 * d] = sums.grad_z;
  }
  __syncthreads();
  for (int at = static_cast<int>(threadIdx.x); at < width; at += kThreads) {
    float whole = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) whole += shared[w * width + at];
    call.parts[static_cast<std::int64_t>(blockIdx.x) * width + at] = whole;
  }
}

template <class T, int Lanes>
__global__ void __launch_bounds__(kThreads, 2) backward_kernel(NormGateBackward call) {
  kernels::wait_for_previous_kernel();
  constexpr int kAtOnce = kThreads / Lanes;
  const NormGate& forward = call.forward;
  const int column = static_cast<int>(threadIdx.x) % Lanes * kEight;
  const unsigned own = threadIdx.x / Lanes;
  const bool columns = column < forward.d;
  const auto rows = static_cast<unsigned>(forward.batch * forward.tokens * forward.heads);
  const Weights weights(forward, column);
  Sums sums;
  for (unsigned first = blockIdx.x * (kAtOnce * kBackwardRows); first < rows;
       first += gridDim.x * (kAtOnce * kBackwardRows)) {
    float o[kBackwardRows][kEight] = {}, grad_y[kBackwardRows][kEight] = {};
#pragma unroll
    for (int r = 0; r < kBackwardRows; ++r) {
      const unsigned row = first + r * kAtOnce + own;
      if (!columns || row >= rows) continue;
      load(static_cast<const T*>(forward.o) + place(forward, row) + column, o[r]);
      load(static_cast<const T*>(call.grad_y) + row * forward.d + column, grad_y[r]);
    }
#pragma unroll
    for (int r = 0; r < kBackwardRows; ++r) {
      const unsigned row = first + r * kAtOnce + own;
      backward_row<Lanes>(forward, weights, o[r], grad_y[r], row < rows, sums);
      if (!columns || row >= rows) continue;
      store(static_cast<T*>(call.grad_o) + row * forward.d + column, o[r]);
    }
  }
  write_part<Lanes>(call, sums, column);
}

/// Sum of a column of the parts, in a fixed order: each warp a share of them, then the shares. In
/// the first warp only.
__device__ float sum_of_parts(const float* column, int parts, int width, bool there) {
  auto* const shares = kernels::dynamic_shared<float>();  // [kSumWarps, kWarp]
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int share = (parts + kSumWarps - 1) / kSumWarps;
  const int end = min(parts, (warp + 1) * share);
  float mine = 0;
  if (there) {
#pragma unroll 8
    for (int part = warp * share; part < end; ++part) mine += column[part * width];
  }
  __syncthreads();  // the shares of the column before
  shares[warp * kWarp + lane] = mine;
  __syncthreads();
  float whole = 0;
  if (warp == 0) {
#pragma unroll
    for (int w = 0; w < kSumWarps; ++w) whole += shares[w * kWarp + lane];
  }
  return whole;
}

/// The parameters' gradients, 32 columns a block; column d is the bias:
///     norm_scale (by_value + g by_gate), u by_gate, and the sum of grad_z.
__global__ void __launch_bounds__(kSumWarps* kWarp)
    weight_gradients_kernel(NormGateBackward call, int parts) {
  kernels::wait_for_previous_kernel();
  const NormGate& forward = call.forward;
  const int d = static_cast<int>(forward.d), width = 2 * d + 1;
  const int column = static_cast<int>(blockIdx.x * kWarp + threadIdx.x % kWarp);
  const float* const first = call.parts + column;
  const float by_value = sum_of_parts(column < d ? first : call.parts, parts, width, column < d);
  const float by_gate = sum_of_parts(first + d, parts, width, column <= d);
  if (threadIdx.x >= kWarp || column > d) return;
  const bool norm = forward.norm_weight != nullptr, gate = forward.gate_weight != nullptr;
  if (column == d) {
    if (gate) *call.grad_gate_bias = by_gate;
    return;
  }
  const float u = norm ? forward.norm_scale * forward.norm_weight[column] : 1;
  const float g = gate ? forward.gate_weight[column] : 0;
  if (norm) call.grad_norm_weight[column] = forward.norm_scale * (by_value + g * by_gate);
  if (gate) call.grad_gate_weight[column] = u * by_gate;
}

/// Calls f with the type, and with how many threads share a row.
template <class F>
void with_type_and_lanes(const NormGate& call, const F& f) {
  with_type(call.type, [&](auto* kind) {
    if (call.d <= 8 * kEight) {
      f(kind, std::integral_constant<int, 8>());
    } else if (call.d <= 16 * kEight) {
      f(kind, std::integral_constant<int, 16>());
    } else {
      f(kind, std::integral_constant<int, 32>());
    }
  });
}

static_assert(kMaxHead == 32 * kEight, "the widest kernel above");

bool too_large(const NormGate& call) { return rows_of(call) > kMaxThreads / kWarp; }

}  // namespace

std::int64_t norm_gate_parts(const NormGate& call) {
  const std::int64_t wanted =
      (rows_of(call) + kWarps * kBackwardRows - 1) / (kWarps * kBackwardRows);
  return wanted < kNormGateParts ? wanted : kNormGateParts;
}

const char* norm_gate(const NormGate& call, Stream stream) {
  if (rows_of(call) == 0) return nullptr;
  if (too_large(call)) return kTooLarge;
  with_type_and_lanes(call, [&](auto* kind, auto lanes) {
    constexpr int kLanes = decltype(lanes)::value;
    launch(forward_kernel<std::remove_pointer_t<decltype(kind)>, kLanes>,
           blocks_for(rows_of(call), kThreads / kLanes * kForwardRows), kThreads, 0, stream,
           joined(call));
  });
  return launched();
}

const char* norm_gate_backward(const NormGateBackward& call, Stream stream) {
  if (rows_of(call.forward) == 0) return nullptr;
  if (too_large(call.forward)) return kTooLarge;
  NormGateBackward kernel = call;
  kernel.forward = joined(call.forward);
  const int parts = static_cast<int>(norm_gate_parts(call.forward));
  const int bytes =
      kWarps * (2 * static_cast<int>(call.forward.d) + 1) * static_cast<int>(sizeof(float));
  with_type_and_lanes(call.forward, [&](auto* kind, auto lanes) {
    launch(backward_kernel<std::remove_pointer_t<decltype(kind)>, decltype(lanes)::value>, parts,
           kThreads, bytes, stream, kernel);
  });
  launch(weight_gradients_kernel, blocks_for(call.forward.d + 1, kWarp), kSumWarps * kWarp,
         kSumWarps * kWarp * static_cast<int>(sizeof(float)), stream, kernel, parts);
  return launched();
}

}  // namespace mta::nn::cuda
