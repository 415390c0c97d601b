// Rows added to those of a table that tokens choose: one block for all rows of a token.
//
// For 8192 rows of 1536 values in bf16 that is at most 75 MB; a gradient of the whole table, filled
// with zeros and added, would be 1.6 GB for 128,256 tokens.
#include "lib/nn/cuda/vectors.cuh"

#include <algorithm>

namespace mta::nn::cuda {
namespace {

constexpr int kMaxBlock = 256;  // threads
constexpr int kRowsAtOnce = 4;  // loads in flight

/// The blocks of a token's later rows have nothing to do: the first adds them up, in their order.
template <class T>
__global__ void __launch_bounds__(kMaxBlock) add_rows_kernel(AddRows call) {
  const std::int64_t first = blockIdx.x, token = call.sorted[first];
  if (first > 0 && call.sorted[first - 1] == token) return;
  for (std::int64_t column = threadIdx.x * kVector; column < call.d;
       column += blockDim.x * kVector) {
    float sum[kEight] = {};
    bool more = true;
    for (std::int64_t r = first; more; r += kRowsAtOnce) {
      float x[kRowsAtOnce][kEight] = {};
#pragma unroll
      for (int k = 0; k < kRowsAtOnce; ++k) {
        more = r + k < call.count && call.sorted[r + k] == token;
        if (more)
          load(static_cast<const T*>(call.rows) + call.order[r + k] * call.d + column, x[k]);
      }
#pragma unroll
      for (int k = 0; k < kRowsAtOnce; ++k) {
#pragma unroll
        for (int i = 0; i < kEight; ++i) sum[i] += x[k][i];
      }
    }
    T* const to = static_cast<T*>(call.table) + token * call.d + column;
    float old[kEight];
    load(to, old);
#pragma unroll
    for (int i = 0; i < kEight; ++i) sum[i] += old[i];
    store(to, sum);
  }
}

}  // namespace

const char* add_rows(const AddRows& call, Stream stream) {
  if (call.count == 0) return nullptr;
  if (call.count >= kMaxThreads) return kTooLarge;
  const std::int64_t warps = (call.d / kVector + kWarp - 1) / kWarp;
  const auto threads = static_cast<unsigned>(std::min<std::int64_t>(warps * kWarp, kMaxBlock));
  with_type(call.type, [&](auto* kind) {
    using T = std::remove_pointer_t<decltype(kind)>;
    add_rows_kernel<T><<<static_cast<unsigned>(call.count), threads, 0, stream>>>(call);
  });
  return launched();
}

}  // namespace mta::nn::cuda
