// Stage: row statistics from partial results, and the softmax where no other stage stands beside
// it.
#include "lib/kernels/map_view.cuh"

namespace mta::kernels {
namespace {

constexpr int kRowThreads = 128;  // four rows a block, one warp each
constexpr int kRowWarps = kRowThreads / kWarp;

dim3 row_grid(const Extent& extent) {
  return dim3(static_cast<unsigned>(ceil_div(extent.rows.size(), kRowWarps)),
              static_cast<unsigned>(extent.maps));
}

__device__ int row_of_warp(const Extent& extent) {
  return extent.rows.begin + static_cast<int>(blockIdx.x) * kRowWarps +
         static_cast<int>(threadIdx.x) / kWarp;
}

constexpr int kLanesARow = 8;  // of the kernels that join partial results
constexpr int kJoinedRows = kRowThreads / kLanesARow;

dim3 join_grid(const Extent& extent) {
  return dim3(static_cast<unsigned>(ceil_div(extent.rows.size(), kJoinedRows)),
              static_cast<unsigned>(extent.maps));
}

__device__ float lanes_sum(float x) {
  for (int step = kLanesARow / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, step);
  return x;
}
__device__ float lanes_max(float x) {
  for (int step = kLanesARow / 2; step > 0; step /= 2) {
    x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, step));
  }
  return x;
}

__global__ void __launch_bounds__(kRowThreads)
    finish_softmax_kernel(Extent extent, RowStatistics statistics, float* lse) {
  wait_for_previous_kernel();
  const int map = static_cast<int>(blockIdx.y), lane = static_cast<int>(threadIdx.x) % kLanesARow;
  const int row = extent.rows.begin + static_cast<int>(blockIdx.x) * kJoinedRows +
                  static_cast<int>(threadIdx.x) / kLanesARow;
  const int count = row < extent.rows.end ? statistics.count(row, extent.tokens) : 0;
  const float2* partials = statistics.partials + statistics.index(map, row, 0);
  float maximum = -INFINITY, sum = 0;
#pragma unroll 4
  for (int t = lane; t < count; t += kLanesARow) {
    const float2 partial = partials[t];
    const float joined = fmaxf(maximum, partial.x);
    sum = sum * exp2_fast(maximum - joined) + partial.y * exp2_fast(partial.x - joined);
    maximum = joined;
  }
  const float joined = lanes_max(maximum);
  sum = lanes_sum(sum * exp2_fast(maximum - joined));
  if (lane == 0 && row < extent.rows.end) {
    lse[static_cast<std::size_t>(map) * extent.tokens + row] = (joined + log2f(sum)) / kLog2e;
  }
}

__global__ void __launch_bounds__(kRowThreads)
    finish_dots_kernel(Extent extent, RowDots partials, float* dots) {
  wait_for_previous_kernel();
  const int map = static_cast<int>(blockIdx.y), lane = static_cast<int>(threadIdx.x) % kLanesARow;
  const int row = extent.rows.begin + static_cast<int>(blockIdx.x) * kJoinedRows +
                  static_cast<int>(threadIdx.x) / kLanesARow;
  const int count = row < extent.rows.end ? partials.count(row, extent.tokens) : 0;
  float sum = 0;
#pragma unroll 4
  for (int t = lane; t < count; t += kLanesARow) {
    sum += partials.partials[partials.index(map, row, t)];
  }
  sum = lanes_sum(sum);
  if (lane == 0 && row < extent.rows.end) {
    dots[static_cast<std::size_t>(map) * partials.rows + row - partials.begin] = sum;
  }
}

/// Walks a row in 8-key chunks up to the end of its last tile: visit(key, its place from the row's
/// key 0 on, is it inside, causal keys in the chunk).
template <class Visit>
__device__ void for_each_chunk_of_row(const Extent& extent, int row, Visit&& visit) {
  constexpr int kKeys = kWarp * kChunk;  // at a time
  const int end = written_keys(row, extent.tokens, 0);
  const int first = static_cast<int>(threadIdx.x) % kWarp * kChunk;
  std::size_t place = key_place(first);
  for (int key = first; key < round_up(end, kKeys); key += kKeys, place += key_place(kKeys)) {
    visit(key, place, key < end, row + 1 - key);
  }
}

/// A = dropout(P); with `kDots` also the partial sums of P dA.
template <class E, bool kDots>
__global__ void __launch_bounds__(kRowThreads) softmax_weights_kernel(const PointwiseArgs args) {
  wait_for_previous_kernel();
  const Extent& extent = args.extent;
  const int map = static_cast<int>(blockIdx.y), row = row_of_warp(extent);
  if (row >= extent.rows.end) return;
  const float lse2 = args.lse[static_cast<std::size_t>(map) * extent.tokens + row] * kLog2e;
  for_each_chunk_of_row(extent, row, [&](int key, std::size_t place, bool inside, int causal) {
    float dot = 0;
    if (inside) {
      const uint4 m = *reinterpret_cast<const uint4*>(map_row(args.mixed, map, row) + place);
      uint4 p = keep_first(softmax_weights<E>(m, lse2), causal);
      if (kDots) {
        const uint4 d = keep_first(
            *reinterpret_cast<const uint4*>(map_row(args.gradient, map, row) + place), causal);
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          const float2 x = unpack<E>((&p.x)[n]), y = unpack<E>((&d.x)[n]);
          dot += x.x * y.x + x.y * y.y;
        }
      }
      if (args.dropout.threshold > 0) p = drop<E>(p, args.dropout, map, row, key);
      *reinterpret_cast<uint4*>(map_row(args.target, map, row) + place) = p;
    }
    if (kDots) {  // eight lanes share a tile
      for (int step = 4; step > 0; step /= 2) dot += __shfl_xor_sync(0xFFFFFFFFu, dot, step);
      if (inside && key % kTileKeys == 0)
        args.row_dots.partials[args.row_dots.index(map, row, key / kTileKeys)] = dot;
    }
  });
}

template <class E>
__global__ void __launch_bounds__(kRowThreads) softmax_backward_kernel(const PointwiseArgs args) {
  wait_for_previous_kernel();
  const Extent& extent = args.extent;
  const int map = static_cast<int>(blockIdx.y), row = row_of_warp(extent);
  if (row >= extent.rows.end) return;
  const float lse2 = args.lse[static_cast<std::size_t>(map) * extent.tokens + row] * kLog2e;
  const float dot =
      args.dots[static_cast<std::size_t>(map) * args.dot_rows + row - extent.rows.begin];
  for_each_chunk_of_row(extent, row, [&](int, std::size_t place, bool inside, int causal) {
    if (!inside) return;
    uint4 m = *reinterpret_cast<const uint4*>(map_row(args.mixed, map, row) + place);
    const uint4 d = *reinterpret_cast<const uint4*>(map_row(args.gradient, map, row) + place);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      (&m.x)[n] = softmax_gradient_pair<E>((&m.x)[n], (&d.x)[n], lse2, dot);
    }
    *reinterpret_cast<uint4*>(map_row(args.target, map, row) + place) = keep_first(m, causal);
  });
}

template <class E>
void launch_softmax_weights(const PointwiseArgs& args, cudaStream_t stream) {
  if (args.row_dots.partials != nullptr) {
    launch(softmax_weights_kernel<E, true>, row_grid(args.extent), kRowThreads, 0, stream, args);
  } else {
    launch(softmax_weights_kernel<E, false>, row_grid(args.extent), kRowThreads, 0, stream, args);
  }
}

}  // namespace

void finish_softmax(const Extent& extent, const RowStatistics& statistics, float* lse,
                    cudaStream_t stream) {
  launch(finish_softmax_kernel, join_grid(extent), kRowThreads, 0, stream, extent, statistics, lse);
}

void finish_dots(const Extent& extent, const RowDots& partials, float* dots, cudaStream_t stream) {
  launch(finish_dots_kernel, join_grid(extent), kRowThreads, 0, stream, extent, partials, dots);
}

void softmax_weights(const PointwiseArgs& args, ElementType type, cudaStream_t stream) {
  if (type == ElementType::BFloat16) {
    launch_softmax_weights<Brain>(args, stream);
  } else {
    launch_softmax_weights<Half>(args, stream);
  }
}

void softmax_backward(const PointwiseArgs& args, ElementType type, cudaStream_t stream) {
  if (type == ElementType::BFloat16) {
    launch(softmax_backward_kernel<Brain>, row_grid(args.extent), kRowThreads, 0, stream, args);
  } else {
    launch(softmax_backward_kernel<Half>, row_grid(args.extent), kRowThreads, 0, stream, args);
  }
}

}  // namespace mta::kernels
