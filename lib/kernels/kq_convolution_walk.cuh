// Stage: the kq convolution of a map, forward, where rows can stream through a warp: keys up to the
// row read, up to kMaxStreamedSpan query offsets, windows of up to 3 blocks. On scores S as they
// are, or on the softmax weights exp(M - lse).
//
// A warp walks down a segment of rows of 128 keys, a row a step, and loads each row once. On the
// matrix unit a row's 16 windows of 8 outputs stand where a tile has rows, so the distance d
// of an output row r + d to the row r at hand chooses no row to load but the sum to add to:
//
//   row r+d [16 windows, 8 keys] += row r [16 windows, 8 kBlocks columns] band d     for every d
//
//   sums in flight, kSpan = 6:    r   r+1  r+2  r+3  r+4  r+5
//                                 complete after this step: word `lane` of each of two tiles
#pragma once

#include "lib/kernels/walked_rows.cuh"

namespace mta::kernels {

/// What a warp keeps from step to step.
template <int kBlocks, int kSpan>
struct WalkSums {
  Word band[kSpan][kBlocks];  // of each distance
  float rows[kSpan][4] = {};  // of row r + d
};

/// The bands of all distances; zero from query_span on.
template <int kBlocks, int kSpan>
__device__ void load_bands(Word (&band)[kSpan][kBlocks], const ConvolutionArgs& args, int head) {
  const Word* tables =
      args.tables + static_cast<std::size_t>(head) * args.query_span * table_words(kBlocks);
  const Lane lane = own_place();
#pragma unroll
  for (int d = 0; d < kSpan; ++d) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) band[d][b] = 0;
    if (d < args.query_span) {
      load_band<kBlocks>(band[d], tables + (args.query_span - 1 - d) * table_words(kBlocks),
                         args.window.slack, lane);
    }
  }
}

/// One step with the row whose first loaded key is at `row`; `thirds`: this lane's address of the
/// third blocks of this row and of the one above it, which make one product for two distances.
template <int kBlocks, int kSpan>
__device__ inline void step_down(WalkSums<kBlocks, kSpan>& sums, const Number* row,
                                 const Number* thirds) {
  static_assert(kBlocks <= 3 && kSpan % 2 == 0, "a pair of blocks, and one more of two distances");
  Word x[4], y[4];
  load_blocks(x, row + walked_windows());
  if (kBlocks > 2) load_blocks(y, thirds);
#pragma unroll
  for (int d = 0; d < kSpan; ++d) {
    float(&sum)[4] = sums.rows[d];
#pragma unroll
    for (int e = 0; e < 4; ++e) sum[e] = d + 1 < kSpan ? sums.rows[d + 1][e] : 0;
    mma_k16<Half>(sum, x[0], x[1], x[2], x[3], sums.band[d][0], sums.band[d][1]);
  }
  if constexpr (kBlocks > 2) {
#pragma unroll
    for (int d = 0; d < kSpan; d += 2) {
      mma_k16<Half>(sums.rows[d], y[0], y[1], y[2], y[3], sums.band[d][2], sums.band[d + 1][2]);
    }
  }
}

/// The eight rows of a slot of a ring of kGroups: `done` gets what is complete after each.
template <class E, int kGroups = kWalkGroups, int kBlocks, int kSpan>
__device__ inline void step_down_rows(WalkedRows& done, WalkSums<kBlocks, kSpan>& sums,
                                      const Number* rows, bool is_first_slot) {
  const Number* const thirds = rows + walked_thirds();
#pragma unroll
  for (int r = 0; r < kGroupRows; ++r) {
    const bool wraps = r == 0 && is_first_slot && static_cast<int>(threadIdx.x) % kWarp >= 16;
    step_down(sums, rows + r * kWalkPitch,
              thirds + r * kWalkPitch + (wraps ? kGroups * kGroupRows * kWalkPitch : 0));
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
      done[r][tile] = pack<E>(sums.rows[0][2 * tile], sums.rows[0][2 * tile + 1]);
    }
  }
}

/// A warp's walk down its segment, from the rows above that it reads on.
template <int kBlocks, int kSpan, MapKind kKind, class E>
__device__ void walk_segment(Number* ring, const ConvolutionArgs& args, const RowSegment& segment) {
  WalkSums<kBlocks, kSpan> sums;
  load_bands(sums.band, args, segment.map % args.extent.heads);
  const int begin = max(segment.first_row - kGroupRows, 0);
  static_assert(kMaxStreamedSpan - 1 <= kGroupRows);
  const WalkPlaces places(args.source, begin);
  WalkInput<kBlocks, kKind> input(args, segment, begin, ring);
  const WalkOutput<kKind, E> output(args, segment);
  unsigned place[kWalkGroups];
#pragma unroll
  for (int n = 0; n < kWalkGroups - 1; ++n) {
    const int row = begin + n * kGroupRows;
    place[n] = places(row);
    input.start(row, place[n], n);
  }
  for (int row = begin, slot = 0; row < segment.end_row; row += kGroupRows) {
    const int next_row = row + (kWalkGroups - 1) * kGroupRows;
    place[kWalkGroups - 1] = places(next_row);
    wait_for_copies<kWalkGroups - 2>();
    input.finish(row, slot);
    __syncwarp();
    WalkedRows done;
    step_down_rows<E>(done, sums, input.rows(slot), slot == 0);
    __syncwarp();  // the slot before has been read
    input.start(next_row, place[kWalkGroups - 1], slot == 0 ? kWalkGroups - 1 : slot - 1);
    if (row >= segment.first_row) output.write(done, row, place[0]);
#pragma unroll
    for (int n = 0; n + 1 < kWalkGroups; ++n) place[n] = place[n + 1];
    slot = slot + 1 == kWalkGroups ? 0 : slot + 1;
  }
  wait_for_copies<0>();
}

/// Blocks a multiprocessor that registers must leave room for.
constexpr int kWalkBlocks = 4;

/// Grid: (pairs of key tiles, segments of rows, maps by kWalkWarps): the warps of a block have as
/// much to do, each in a map of its own.
template <int kBlocks, int kSpan, MapKind kKind, class E>
__global__ void __launch_bounds__(kWalkThreads, kWalkBlocks)
    convolution_walk_kernel(const ConvolutionArgs args, int segment_rows) {
  wait_for_previous_kernel();
  const Extent& extent = args.extent;
  const int begin = extent.rows.begin + static_cast<int>(blockIdx.y) * segment_rows;
  const int end = min(begin + segment_rows, extent.rows.end);
  const int first_key = static_cast<int>(blockIdx.x) * kSegmentKeys,
            first_row = max(begin, first_key);
  const int warp = __shfl_sync(0xFFFFFFFFu, static_cast<int>(threadIdx.x) / kWarp, 0),
            map = static_cast<int>(blockIdx.z) * kWalkWarps + warp;
  if (first_row >= end || map >= extent.maps) return;
  walk_segment<kBlocks, kSpan, kKind, E>(dynamic_shared<Number>() + warp * kWalkNumbers, args,
                                         {map, first_key, first_row, end});
}

template <int kBlocks, int kSpan, MapKind kKind, class E>
void launch_walk(const ConvolutionArgs& args, cudaStream_t stream) {
  const Extent& extent = args.extent;
  const int columns = ceil_div(extent.rows.end, kSegmentKeys),
            segment_rows = walked_rows(extent.rows.size(), extent.maps * columns);
  const dim3 grid(static_cast<unsigned>(columns),
                  static_cast<unsigned>(ceil_div(extent.rows.size(), segment_rows)),
                  static_cast<unsigned>(ceil_div(extent.maps, kWalkWarps)));
  launch(convolution_walk_kernel<kBlocks, kSpan, kKind, E>, grid, kWalkThreads,
         walked_shared_bytes(), stream, args, segment_rows);
}

template <int kBlocks, int kSpan>
void launch_walk(MapKind kind, const ConvolutionArgs& args, cudaStream_t stream) {
  if (kind == MapKind::Scores) {
    launch_walk<kBlocks, kSpan, MapKind::Scores, Half>(args, stream);
  } else if (args.brain_target) {
    launch_walk<kBlocks, kSpan, MapKind::SoftmaxWeights, Brain>(args, stream);
  } else {
    launch_walk<kBlocks, kSpan, MapKind::SoftmaxWeights, Half>(args, stream);
  }
}

template <int kBlocks>
void StreamedConvolution<kBlocks>::forward(MapKind kind, const ConvolutionArgs& args,
                                           cudaStream_t stream) {
  if (args.query_span <= 2) {
    launch_walk<kBlocks, 2>(kind, args, stream);
  } else {
    launch_walk<kBlocks, kMaxStreamedSpan>(kind, args, stream);
  }
}

}  // namespace mta::kernels
