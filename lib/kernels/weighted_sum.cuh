// Stage: target_i = factor sum_j map[i, j] y_j. The output O = A V, and dQ = scale dS K.
#pragma once

#include "lib/kernels/device.h"
#include "lib/kernels/sector_rows.cuh"

namespace mta::kernels {

constexpr int kSumThreads = 128;  // four warps of 32 rows

/// Blocks a multiprocessor that registers must leave room for; a thread has kDim sums.
template <int kDim>
constexpr int kSumBlocks = kDim <= 64   ? 4
                           : kDim <= 96 ? 3
                                        : 2;

/// Blocks of a turn, whose longest come first, those of all its maps, then their next ones: a
/// launch ends with short blocks everywhere. Enough for a card, and few enough that what all of
/// them multiply stays in the L2 cache.
constexpr int kTurnBlocks = 640;
/// Grid of `blocks` blocks a map: (maps of a turn, blocks, turns).
inline dim3 sum_grid(int maps, int blocks) {
  const int turns = ceil_div(maps, max_of(kTurnBlocks / blocks, 1));
  return {static_cast<unsigned>(ceil_div(maps, turns)), static_cast<unsigned>(blocks),
          static_cast<unsigned>(turns)};
}
/// This block's map; the last turn may have blocks too many.
__device__ inline int map_in_turn() {
  return static_cast<int>(blockIdx.z * gridDim.x + blockIdx.x);
}

/// Tiles on their way to each block of a launch whose longest blocks walk `tiles`; `wanted`: of the
/// launch plan. Blocks that find a multiprocessor free before others do start there together, and
/// these are the longest. Where there are not many more blocks than start at once they should be
/// two to a multiprocessor, with more on its way for each.
inline int sum_ahead(int dim, int wanted, const dim3& grid, int tiles) {
  constexpr unsigned kMany = 6;  // blocks, for each multiprocessor
  constexpr int kLong = 8;       // tiles
  const Device device = current_device();
  if (wanted > 0) return min_of(wanted, most_sum_ahead(dim, 1, device.shared_bytes));
  const unsigned blocks = grid.x * grid.y * grid.z;
  if (blocks >= kMany * static_cast<unsigned>(device.multiprocessors) || tiles < kLong) return 1;
  return most_sum_ahead(dim, 2, device.shared_bytes);
}

/// sums += A B for this warp's 16 rows of A (as fragments `a` for each 16 columns) and B [64,
/// kDim].
template <class E, int kDim>
__device__ void accumulate_product(float (&sums)[kDim / 8][4], const Word (&a)[4][4],
                                   const Number* b) {
  const Number* corner = b + square_offset(kDim + 8);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
#pragma unroll
    for (int n = 0; n < kDim / 16; ++n) {
      Word y[4];  // transposed: (k low, n low), (k high, n low), (k low, n high), (k high, n high)
      load_blocks_transposed(y, corner + 16 * k * (kDim + 8) + 16 * n);
      mma_k16<E>(sums[2 * n], a[k][0], a[k][1], a[k][2], a[k][3], y[0], y[1]);
      mma_k16<E>(sums[2 * n + 1], a[k][0], a[k][1], a[k][2], a[k][3], y[2], y[3]);
    }
  }
}

/// Writes 16 tokens of sums from registers; token first + g and + 8.
template <class E, int kDim>
__device__ void store_tokens(const float (&sums)[kDim / 8][4], const TensorView& target, int map,
                             int heads, int first, int end, float factor) {
  const Lane lane = lane_place();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int token = first + lane.g + 8 * half;
    if (token >= end) continue;
    Number* row = const_cast<Number*>(tensor_row(target, map, heads, token));
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      *reinterpret_cast<Word*>(row + 8 * n + 2 * lane.q) =
          pack<E>(factor * sums[n][2 * half], factor * sums[n][2 * half + 1]);
    }
  }
}

/// sums += A B for 32 rows: A [32, 16] as fragments of its two blocks of 16 rows, B [16, 8 kBlocks]
/// of the rows `offset` bytes after the squares'. What is loaded of B serves both.
template <class E, int kDim, int kBlocks>
__device__ void accumulate_both(float (&sums)[2][kBlocks][4], const Word (&a)[2][4],
                                const Squares<kDim, true>& b, int offset) {
#pragma unroll
  for (int n = 0; n < kBlocks / 2; ++n) {
    Word y[4];  // as in accumulate_product
    b.load_transposed(y, n, offset);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      mma_k16<E>(sums[m][2 * n], a[m][0], a[m][1], a[m][2], a[m][3], y[0], y[1]);
      mma_k16<E>(sums[m][2 * n + 1], a[m][0], a[m][1], a[m][2], a[m][3], y[2], y[3]);
    }
  }
}

/// Turns a fragment of M into softmax weights: rows first_row + g and + 8, keys first_key + 2 q and
/// + 8.
template <class E>
__device__ void apply_softmax(Word (&a)[4], const float (&lse2)[2], int first_row, int first_key) {
#pragma unroll
  for (int n = 0; n < 4; ++n) a[n] = weight_pair<E>(a[n], lse2[n % 2]);
  if (first_key + 15 <= first_row) return;
  __syncwarp();  // a branch, not instructions that do nothing
  const Lane lane = lane_place();
  const int causal = first_row + lane.g - first_key - 2 * lane.q;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const int past = n / 2 * 8 - n % 2 * 8;
    a[n] = keep_pair(a[n], past <= causal, past < causal);
  }
}

/// Writes 16 rows of sums from registers as they are, row first + g and + 8 of rows up to `end`.
template <int kDim>
__device__ void store_partials(const float (&sums)[kDim / 8][4], float* row, int first, int end) {
  const Lane lane = lane_place();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (first + lane.g + 8 * half >= end) continue;
    float* const own = row + (lane.g + 8 * half) * kDim + 2 * lane.q;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      *reinterpret_cast<float2*>(own + 8 * n) = {sums[n][2 * half], sums[n][2 * half + 1]};
    }
  }
}

/// Which rows and keys a block sums up: tiles first_tile.. of those of rows first_row..end_row-1.
/// The last parts of few tiles may be empty.
struct SumPlace {
  int part, first_row, end_row, first_tile, tiles;
  /// Of `block`, counted from the last rows, which have more keys: they start first.
  __device__ SumPlace(const WeightedSumArgs& args, int block, int blocks, int parts)
      : part(block % parts),
        first_row(args.extent.rows.begin + (blocks / parts - 1 - block / parts) * kProductRows),
        end_row(min(first_row + kProductRows, args.extent.rows.end)) {
    const int all = key_tiles(end_row - 1, args.extent.tokens, args.extent.reach),
              most = parts == 1 ? all : ceil_div(all, parts);
    first_tile = part * most;
    tiles = min(most, all - first_tile);
  }
};

/// Grid: sum_grid(maps, blocks of kProductRows x parts of their keys).
template <class E, int kDim, bool kSoftmax, bool kParts>
__global__ void __launch_bounds__(kSumThreads, kSumBlocks<kDim>)
    weighted_sum_kernel(const WeightedSumArgs args) {
  wait_for_previous_kernel();
  Number* const shared = dynamic_shared<Number>();
  const Extent& extent = args.extent;
  const int map = map_in_turn(), warp = static_cast<int>(threadIdx.x) / kWarp;
  if (map >= extent.maps) return;
  const SumPlace place(args, static_cast<int>(blockIdx.y), static_cast<int>(gridDim.y),
                       kParts ? args.parts : 1);
  if (kParts && place.tiles <= 0) return;
  const int first_row = place.first_row, end_row = place.end_row;
  const WrittenMap weights(args.map, map, first_row, extent.rows.end, extent.tokens, extent.reach);
  const HeadTokens y = head_tokens(args.y, map, extent.heads);
  const MapStrip strips[] = {weights.strip(0), weights.strip(kTileRows)};
  const auto load = [&](int n, int in) {
    const int tile = place.first_tile + n;
    Number* const stage = shared + in * sum_stage_numbers(kDim);
    weights.load(stage, strips[0], 0, tile);
    if (first_row + kTileRows < end_row) {
      weights.load(stage + kMapRowsNumbers, strips[1], kTileRows, tile);
    }
    load_token_rows<kDim>(stage + 2 * kMapRowsNumbers, y, tile * kTileKeys, extent.tokens);
  };
  const int row = first_row + 32 * warp, last_row = min(row + 32, end_row) - 1;
  const int own_tiles = row <= last_row ? key_tiles(last_row, extent.tokens, extent.reach) : 0;
  float lse2[2][2] = {};
  if (kSoftmax && own_tiles > 0) {
    const float* lse = args.lse + static_cast<std::size_t>(map) * extent.tokens;
    for (int n = 0; n < 4; ++n)
      lse2[n / 2][n % 2] = lse[min(row + lane_place().g + 8 * n, last_row)] * kLog2e;
  }
  float sums[2][kDim / 8][4] = {};
  const auto use = [&](int n, int in) {
    const int tile = place.first_tile + n;
    if (tile >= own_tiles) return;  // above the diagonal
    const Number* stage = shared + in * sum_stage_numbers(kDim);
    const Squares<kTileKeys, true> own(stage + 32 * warp * kTileKeys);
    const Squares<kDim, true> tokens(stage + 2 * kMapRowsNumbers);
#pragma unroll 1
    for (int k = 0; k < kTileKeys / 16; ++k) {
      Word a[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        own.load(a[m], k, 16 * m * SectorRows<kTileKeys>::kBytes);
        if (kSoftmax) apply_softmax<E>(a[m], lse2[m], row + 16 * m, tile * kTileKeys + 16 * k);
      }
      accumulate_both<E, kDim>(sums, a, tokens, 16 * k * SectorRows<kDim>::kBytes);
    }
  };
  for_each_staged_tile(
      args.ahead + 1, place.tiles, load, [](int, int) {}, use);
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const int first = row + 16 * m;
    if (kParts) {
      const std::size_t rows =
          static_cast<std::size_t>(place.part * extent.maps + map) * extent.rows.size() + first -
          extent.rows.begin;
      store_partials<kDim>(sums[m], args.partials + rows * kDim, first, end_row);
    } else {
      store_tokens<E, kDim>(sums[m], args.target, map, extent.heads, first, extent.rows.end,
                            args.factor);
    }
  }
}

constexpr int kPartsThreads = 256;

/// Adds up the parts, in order. Grid: two numbers of a row a thread.
template <class E, int kDim>
__global__ void __launch_bounds__(kPartsThreads) weighted_parts_kernel(const WeightedSumArgs args) {
  wait_for_previous_kernel();
  const Extent& extent = args.extent;
  const int rows = extent.rows.size();
  const std::int64_t index = std::int64_t{blockIdx.x} * kPartsThreads + threadIdx.x,
                     line = index / (kDim / 2), all = std::int64_t{extent.maps} * rows;
  if (line >= all) return;
  const int map = static_cast<int>(line / rows),
            n = static_cast<int>(line - std::int64_t{map} * rows),
            column = static_cast<int>(index % (kDim / 2));
  const int blocks = ceil_div(rows, kProductRows) * args.parts;
  const int block = blocks - (n / kProductRows + 1) * args.parts;
  float2 sum = {0, 0};
  for (int part = 0; part < args.parts; ++part) {
    if (SumPlace(args, block + part, blocks, args.parts).tiles <= 0) break;
    const float2 own =
        reinterpret_cast<const float2*>(args.partials + (part * all + line) * kDim)[column];
    sum.x += own.x;
    sum.y += own.y;
  }
  Number* const row =
      const_cast<Number*>(tensor_row(args.target, map, extent.heads, extent.rows.begin + n));
  reinterpret_cast<Word*>(row)[column] = pack<E>(args.factor * sum.x, args.factor * sum.y);
}

template <class E, int kDim, bool kParts>
void launch_sum_blocks(WeightedSumArgs args, cudaStream_t stream) {
  const dim3 grid =
      sum_grid(args.extent.maps, ceil_div(args.extent.rows.size(), kProductRows) * args.parts);
  const auto kernel = args.lse != nullptr ? weighted_sum_kernel<E, kDim, true, kParts>
                                          : weighted_sum_kernel<E, kDim, false, kParts>;
  args.ahead =
      sum_ahead(kDim, args.ahead, grid, ceil_div(args.extent.last_key_tiles(), args.parts));
  const int bytes = sum_shared_bytes(kDim, args.ahead);
  allow_shared_bytes(kernel, bytes);
  launch(kernel, grid, kSumThreads, bytes, stream, args);
}
template <class E, int kDim>
void launch_weighted_sum(const WeightedSumArgs& args, cudaStream_t stream) {
  if (args.parts == 1) {
    launch_sum_blocks<E, kDim, false>(args, stream);
    return;
  }
  launch_sum_blocks<E, kDim, true>(args, stream);
  const std::int64_t words = std::int64_t{args.extent.maps} * args.extent.rows.size() * (kDim / 2);
  launch(weighted_parts_kernel<E, kDim>,
         dim3(static_cast<unsigned>((words + kPartsThreads - 1) / kPartsThreads)), kPartsThreads, 0,
         stream, args);
}

}  // namespace mta::kernels
