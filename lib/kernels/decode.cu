// Decoding: the launches, and the last kernel, which joins the sums of all ranges of keys
// and finishes each row.
#include "lib/kernels/decode_scores.cuh"
#include "lib/kernels/decode_weights.cuh"
#include "lib/kernels/device.h"

#include <cstdint>
#include <string>

namespace mta::kernels {

namespace {

using namespace decoding;

constexpr int kJoinThreads = 512;

/// The factor of a range's sums: to the maximum of all ranges, and to the sum of the weights.
struct Joined {
  float maximum = 0, norm = 1;
};

/// All threads get the same; `scratch` has room for two numbers a warp.
__device__ inline Joined join(const float2* statistics, int ranges, float* scratch) {
  constexpr int kWarps = kJoinThreads / kWarp;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp, lane = thread % kWarp;
  Joined joined = {-INFINITY, 0};
  for (int n = thread; n < ranges; n += kJoinThreads) {
    joined.maximum = fmaxf(joined.maximum, statistics[n].x);
  }
  joined.maximum = warp_max(joined.maximum);
  if (lane == 0) scratch[warp] = joined.maximum;
  __syncthreads();
  for (int n = 0; n < kWarps; ++n) joined.maximum = fmaxf(joined.maximum, scratch[n]);
  for (int n = thread; n < ranges; n += kJoinThreads) {
    joined.norm += statistics[n].y * __expf(statistics[n].x - joined.maximum);
  }
  joined.norm = warp_sum(joined.norm);
  if (lane == 0) scratch[kWarps + warp] = joined.norm;
  __syncthreads();
  joined.norm = 0;
  for (int n = 0; n < kWarps; ++n) joined.norm += scratch[kWarps + n];
  joined.norm = 1 / joined.norm;
  return joined;
}

/// The norm and the gate of a row of d columns in shared memory; all warps need all columns.
__device__ inline void finish_row(const DecodeOutput& output, float* row, float* gates, int d) {
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp, lane = thread % kWarp;
  if (output.norm_weight != nullptr) {
    float squares = 0;
    for (int c = lane; c < d; c += kWarp) squares += row[c] * row[c];
    const float factor =
        output.norm_scale / sqrtf(warp_sum(squares) / static_cast<float>(d) + output.norm_eps);
    __syncthreads();
    if (thread < d) row[thread] *= factor * output.norm_weight[thread];
    __syncthreads();
  }
  if (output.gate_weight == nullptr) return;
  for (int g = warp; g < output.gates; g += kJoinThreads / kWarp) {
    float sum = 0;
    for (int c = lane; c < d; c += kWarp) sum += output.gate_weight[g * d + c] * row[c];
    sum = warp_sum(sum);
    if (lane == 0) gates[g] = 1 / (1 + __expf(-(sum + output.gate_bias[g])));
  }
  __syncthreads();
  if (thread < d) row[thread] *= gates[output.gates == 1 ? 0 : thread];
  __syncthreads();
}

/// A row of a head a block: its threads take four columns of a share of the ranges each.
template <class E>
__global__ void __launch_bounds__(kJoinThreads, 1)
    join_kernel(DecodeRows call, DecodePlan plan, Parts parts, Tensor o) {
  wait_for_previous_kernel();
  constexpr int kColumns = 4;
  __shared__ float scratch[kJoinThreads * kColumns];
  __shared__ float joining[2 * kJoinThreads / kWarp];
  __shared__ float joined_row[kDecodeHeadDim], gates[kDecodeHeadDim];
  const int thread = static_cast<int>(threadIdx.x);
  const int head = static_cast<int>(blockIdx.x), row = static_cast<int>(blockIdx.y);
  const int batch = static_cast<int>(blockIdx.z), map = batch * call.heads + head;
  const int tokens = call.length != nullptr ? *call.length : call.keys;
  const int ranges = ceil_div(tokens, plan.range), d = call.head_dim;
  const float2* const statistics =
      parts.statistics +
      static_cast<std::size_t>(map * plan.map_rows + plan.map_rows - call.rows + row) * plan.ranges;
  Joined joined;
  if (plan.one_pass) joined = join(statistics, ranges, joining);
  const float* const sums =
      parts.sums + static_cast<std::size_t>(map * call.rows + row) * plan.ranges * d;
  const int shares = kJoinThreads * kColumns / d;
  const int column = thread % (d / kColumns) * kColumns, share = thread / (d / kColumns);
  if (share < shares) {
    float4 sum = {0, 0, 0, 0};
#pragma unroll 4
    for (int n = share; n < ranges; n += shares) {
      const float4 x = *reinterpret_cast<const float4*>(sums + n * d + column);
      const float factor =
          plan.one_pass ? __expf(statistics[n].x - joined.maximum) * joined.norm : 1.0f;
      sum.x += factor * x.x, sum.y += factor * x.y, sum.z += factor * x.z, sum.w += factor * x.w;
    }
    *reinterpret_cast<float4*>(scratch + share * d + column) = sum;
  }
  __syncthreads();
  if (thread < d) {
    float sum = 0;
    for (int n = 0; n < shares; ++n) sum += scratch[n * d + thread];
    joined_row[thread] = sum;
  }
  __syncthreads();
  finish_row(call.output, joined_row, gates, d);
  auto* const out = static_cast<Number*>(o.data) + batch * o.batch_stride + head * o.head_stride +
                    row * o.token_stride;
  if (thread < d / 2) {
    *reinterpret_cast<Word*>(out + 2 * thread) =
        pack<E>(joined_row[2 * thread], joined_row[2 * thread + 1]);
  }
}

template <class... Parameters, class... Arguments>
void launch_with(void (*kernel)(Parameters...), dim3 grid, int threads, std::size_t bytes,
                 Stream stream, const Arguments&... arguments) {
  constexpr std::size_t kFree = std::size_t{48} << 10;  // more is asked for
  if (bytes > kFree) {
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(bytes));
  }
  launch(kernel, grid, dim3(static_cast<unsigned>(threads)), static_cast<int>(bytes), stream,
         arguments...);
}

template <class E>
using ScoreKernel = void (*)(DecodeRows, DecodePlan, Parts);

/// By the head size, rounded up to 32.
template <class E>
ScoreKernel<E> score_kernel_of(int head_dim) {
  switch (ceil_div(head_dim, kProductColumns)) {
    case 1:
      return score_kernel<E, 1>;
    case 2:
      return score_kernel<E, 2>;
    case 3:
      return score_kernel<E, 3>;
    default:
      return score_kernel<E, 4>;
  }
}

template <class E>
void launch_all(const DecodeRows& call, const DecodePlan& plan, const Parts& parts, const Tensor& o,
                Stream stream) {
  const auto size = [](int n) { return static_cast<unsigned>(n); };
  const dim3 grid(size(plan.ranges), size(call.heads / plan.unit_heads), size(call.batch));
  launch_with(score_kernel_of<E>(call.head_dim), grid, kDecodeThreads,
              decode_score_bytes(call, plan), stream, call, plan, parts);
  if (!plan.one_pass) {
    launch_with(weight_kernel<E>, grid, kDecodeThreads, decode_weight_bytes(call, plan), stream,
                call, plan, parts);
  }
  launch_with(join_kernel<E>, dim3(size(call.heads), size(call.rows), size(call.batch)),
              kJoinThreads, 0, stream, call, plan, parts, o);
}

Status check_pointers(const DecodeRows& call, const Tensor& o, const Workspace& workspace) {
  for (const Tensor* t : {&call.q, &call.k, &call.v, &o}) {
    constexpr std::int64_t kElements = 8;  // of 16 bytes
    const bool aligned = reinterpret_cast<std::uintptr_t>(t->data) % (2 * kElements) == 0 &&
                         t->batch_stride % kElements == 0 && t->head_stride % kElements == 0 &&
                         t->token_stride % kElements == 0;
    if (t->data == nullptr || !aligned) {
      return fail(Status::InvalidArgument,
                  "decoding: q, k, v and o must be there, rows on 16-byte boundaries");
    }
  }
  if (workspace.data == nullptr || workspace.bytes < decode_workspace_bytes(call)) {
    return fail(Status::WorkspaceTooSmall,
                "decoding: workspace of " + std::to_string(workspace.bytes) + " bytes, at least " +
                    std::to_string(decode_workspace_bytes(call)));
  }
  return Status::Ok;
}

}  // namespace

Status decode(const DecodeRows& call, const Tensor& o, const Workspace& workspace, Stream stream) {
  const Device device = current_device();
  if (const Status s = check(device); s != Status::Ok) return s;
  if (const Status s = check_decode(call, device.shared_bytes); s != Status::Ok) return s;
  if (const Status s = check_pointers(call, o, workspace); s != Status::Ok) return s;
  const DecodePlan plan = decode_plan(call);
  auto* const base = static_cast<char*>(workspace.data);
  const Parts parts = {reinterpret_cast<float*>(base + plan.map_offset),
                       reinterpret_cast<float2*>(base + plan.statistics_offset),
                       reinterpret_cast<float*>(base + plan.parts_offset)};
  const auto run = call.type == ElementType::Float16 ? launch_all<Half> : launch_all<Brain>;
  run(call, plan, parts, o, stream);
  const cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return Status::Ok;
  return fail(Status::CudaError, std::string("decoding: ") + cudaGetErrorString(error));
}

}  // namespace mta::kernels
