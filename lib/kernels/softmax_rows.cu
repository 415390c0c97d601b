// Stage: row statistics and dots from partial results, and the softmax where no other stage stands
// beside it.
#include "lib/kernels/map_view.cuh"

#include <type_traits>

namespace mta::kernels {
namespace {

constexpr int kRowThreads = 128;

/// Of the kernels that join partial results: a lane has a row, and the block's warps share its
/// tiles.
constexpr int kJoinWarps = kRowThreads / kWarp;

dim3 join_grid(const Extent& extent) {
  return dim3(static_cast<unsigned>(ceil_div(extent.rows.size(), kWarp)),
              static_cast<unsigned>(extent.maps));
}

/// A lane's row and its partial results; warp w joins every kJoinWarps-th of them, from the w-th
/// on.
template <class Value>
struct JoinedRow {
  int map, row, count, warp, lane;
  const Value* partials;
  std::size_t step;  // from one to the next
  __device__ JoinedRow(const Extent& extent, const RowPartials<Value>& all)
      : map(static_cast<int>(blockIdx.y)),
        warp(static_cast<int>(threadIdx.x) / kWarp),
        lane(static_cast<int>(threadIdx.x) % kWarp),
        step(static_cast<std::size_t>(all.rows)) {
    row = extent.rows.begin + static_cast<int>(blockIdx.x) * kWarp + lane;
    count = row < extent.rows.end ? all.count(row, extent.tokens) : 0;
    partials = all.partials + all.index(map, row, 0);
  }
  /// Is this lane to write its row's result?
  __device__ bool is_written() const { return warp == 0 && count > 0; }
  template <class Visit>
  __device__ void for_each(Visit&& visit) const {
#pragma unroll 4
    for (int t = warp; t < count; t += kJoinWarps) {
      visit(partials[static_cast<std::size_t>(t) * step]);
    }
  }
};

/// Adds up exponentials of which the largest is not known yet.
struct JoinedExponentials {
  float maximum = -INFINITY, sum = 0;
  __device__ void add(float2 other) {
    const float joined = fmaxf(maximum, other.x);
    if (joined == -INFINITY) {  // nothing yet, or nothing but NaN
      sum += other.y;
    } else {
      sum = sum * exp2_fast(maximum - joined) + other.y * exp2_fast(other.x - joined);
    }
    maximum = joined;
  }
};

__global__ void __launch_bounds__(kRowThreads)
    finish_softmax_kernel(Extent extent, RowStatistics statistics, float* lse) {
  __shared__ float2 shares[kJoinWarps][kWarp];
  wait_for_previous_kernel();
  const JoinedRow<float2> own(extent, statistics);
  JoinedExponentials joined;
  own.for_each([&](float2 partial) { joined.add(partial); });
  shares[own.warp][own.lane] = {joined.maximum, joined.sum};
  __syncthreads();
  if (!own.is_written()) return;
#pragma unroll
  for (int w = 1; w < kJoinWarps; ++w) joined.add(shares[w][own.lane]);
  lse[static_cast<std::size_t>(own.map) * extent.tokens + own.row] =
      (joined.maximum + log2f(joined.sum)) / kLog2e;
}

__global__ void __launch_bounds__(kRowThreads)
    finish_dots_kernel(Extent extent, RowDots partials, float* dots) {
  __shared__ float shares[kJoinWarps][kWarp];
  wait_for_previous_kernel();
  const JoinedRow<float> own(extent, partials);
  float sum = 0;
  own.for_each([&](float partial) { sum += partial; });
  shares[own.warp][own.lane] = sum;
  __syncthreads();
  if (!own.is_written()) return;
#pragma unroll
  for (int w = 1; w < kJoinWarps; ++w) sum += shares[w][own.lane];
  dots[static_cast<std::size_t>(own.map) * partials.rows + own.row - partials.begin] = sum;
}

/// Blocks of 16 rows. The last ones, which are the longest, come first.
dim3 block_grid(const Extent& extent) {
  return dim3(static_cast<unsigned>(ceil_div(extent.rows.size(), kMapRows)),
              static_cast<unsigned>(extent.maps));
}

/// A thread's row of a block of 16, and its eight keys of each tile. extent.rows.begin is a
/// multiple of 16; all maps of a launch have one shape.
struct TilePieces {
  int map, row, key;  // of the first tile
  std::size_t place;  // of its piece of the first tile, from the maps' data on
  int tiles;          // of the row
  bool inside;        // is there such a row?
  __device__ TilePieces(const Extent& extent, const MapView& view) {
    const int n = static_cast<int>(threadIdx.x);
    static_assert(kRowThreads * kChunk == kMapTile, "a thread has one piece of a tile in memory");
    const int first_row =
        extent.rows.begin + static_cast<int>(gridDim.x - 1 - blockIdx.x) * kMapRows;
    map = static_cast<int>(blockIdx.y);
    row = first_row + n / (kTileKeys / kChunk);
    key = n % (kTileKeys / kChunk) * kChunk;
    place = static_cast<std::size_t>(map * view.numbers + tile_numbers(row_tile(view, first_row)) +
                                     n * kChunk);
    tiles = key_tiles(first_row, extent.tokens, 0);  // as of the block's other rows
    inside = row < extent.rows.end;
  }
  static_assert(kTileKeys % kMapRows == 0);
  __device__ uint4 load(const MapView& view, int tile) const {
    return *reinterpret_cast<const uint4*>(view.data + place + tile_numbers(tile));
  }
  __device__ void store(const MapView& view, int tile, const uint4& x) const {
    store_piece(view.data + place + tile_numbers(tile), x);
  }
  /// Causal keys of a piece, or more.
  __device__ int causal(int tile) const { return row + 1 - key - tile * kTileKeys; }
};

/// Tiles whose pieces a thread asks for before it works on them.
constexpr int kTilesAtOnce = 4;

/// Calls visit(tile, count) along a row: kTilesAtOnce tiles as long as there are, then single ones.
template <class Visit>
__device__ void for_each_tiles(const TilePieces& pieces, Visit&& visit) {
  int tile = 0;
  for (; tile + kTilesAtOnce <= pieces.tiles; tile += kTilesAtOnce) {
    visit(tile, std::integral_constant<int, kTilesAtOnce>{});
  }
  for (; tile < pieces.tiles; ++tile) visit(tile, std::integral_constant<int, 1>{});
}

/// Sum over the lanes that have one row of a tile.
__device__ float lanes_sum(float x) {
#pragma unroll
  for (int step = kTileKeys / kChunk / 2; step > 0; step /= 2) {
    x += __shfl_xor_sync(0xFFFFFFFFu, x, step);
  }
  return x;
}

/// The dot of a row's keys of a tile, which eight lanes have; all lanes call together.
template <class E>
__device__ inline void store_dot(const uint4& p, const uint4& d, const RowDots& dots,
                                 const TilePieces& own, int tile) {
  float dot = 0;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const float2 x = unpack<E>((&p.x)[n]), y = unpack<E>((&d.x)[n]);
    dot += x.x * y.x + x.y * y.y;
  }
  dot = lanes_sum(dot);
  if (own.inside && own.key == 0) dots.partials[dots.index(own.map, own.row, tile)] = dot;
}

/// A = dropout(P); with `kDots` also the partial sums of P dA.
template <class E, bool kDots>
__global__ void __launch_bounds__(kRowThreads) softmax_weights_kernel(const PointwiseArgs args) {
  wait_for_previous_kernel();
  const Extent& extent = args.extent;
  const TilePieces own(extent, args.mixed);
  const int row = min(own.row, extent.rows.end - 1);
  const float lse2 = args.lse[static_cast<std::size_t>(own.map) * extent.tokens + row] * kLog2e;
  for_each_tiles(own, [&](int tile, auto count) {
    constexpr int kCount = decltype(count)::value;
    uint4 p[kCount], d[kCount];
#pragma unroll
    for (int n = 0; n < kCount; ++n) {
      p[n] = own.load(args.mixed, tile + n);
      if (kDots) d[n] = own.load(args.gradient, tile + n);
    }
#pragma unroll
    for (int n = 0; n < kCount; ++n) {
      const int causal = own.causal(tile + n);
      p[n] = keep_first(softmax_weights<E>(p[n], lse2), causal);
      if (kDots) store_dot<E>(p[n], keep_first(d[n], causal), args.row_dots, own, tile + n);
      if (args.dropout.threshold > 0) {
        p[n] = drop<E>(p[n], args.dropout, own.map, own.row, own.key + (tile + n) * kTileKeys);
      }
      if (own.inside) own.store(args.target, tile + n, p[n]);
    }
  });
}

/// dM = P (dP - D).
template <class E>
__global__ void __launch_bounds__(kRowThreads) softmax_backward_kernel(const PointwiseArgs args) {
  wait_for_previous_kernel();
  const Extent& extent = args.extent;
  const TilePieces own(extent, args.mixed);
  if (!own.inside) return;
  const float lse2 = args.lse[static_cast<std::size_t>(own.map) * extent.tokens + own.row] * kLog2e;
  const float dot =
      args.dots[static_cast<std::size_t>(own.map) * args.dot_rows + own.row - extent.rows.begin];
  for_each_tiles(own, [&](int tile, auto count) {
    constexpr int kCount = decltype(count)::value;
    uint4 m[kCount], d[kCount];
#pragma unroll
    for (int n = 0; n < kCount; ++n) {
      m[n] = own.load(args.mixed, tile + n);
      d[n] = own.load(args.gradient, tile + n);
    }
#pragma unroll
    for (int n = 0; n < kCount; ++n) {
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        (&m[n].x)[w] = softmax_gradient_pair<E>((&m[n].x)[w], (&d[n].x)[w], lse2, dot);
      }
      own.store(args.target, tile + n, keep_first(m[n], own.causal(tile + n)));
    }
  });
}

template <class E>
void launch_softmax_weights(const PointwiseArgs& args, cudaStream_t stream) {
  if (args.row_dots.partials != nullptr) {
    launch(softmax_weights_kernel<E, true>, block_grid(args.extent), kRowThreads, 0, stream, args);
  } else {
    launch(softmax_weights_kernel<E, false>, block_grid(args.extent), kRowThreads, 0, stream, args);
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
    launch(softmax_backward_kernel<Brain>, block_grid(args.extent), kRowThreads, 0, stream, args);
  } else {
    launch(softmax_backward_kernel<Half>, block_grid(args.extent), kRowThreads, 0, stream, args);
  }
}

}  // namespace mta::kernels
