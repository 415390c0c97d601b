// Stage: the kq convolution's gradients where rows can stream through a warp: Causality::Double, up
// to kMaxStreamedSpan query offsets, windows of up to 3 blocks. What they are:
// kq_convolution_backward.cuh.
//
// A warp walks down a segment of rows of 64 keys, two rows r, r+1 a step, and loads each row once.
// On the matrix unit dX has windows of 8 outputs where a tile has rows, so the query offset chooses
// no row to load but the sum to add to; the kernel's gradient has windows inside:
//
//   dX       [8 windows of row r | of r+1, 8 keys] += dY [.., 8 kBlocks columns] band a
//                                                     into the pair of rows (r-a, r+1-a)
//   gradient [8 kBlocks columns of dY, 8 keys of X] += dY^T [.., 8 windows of two rows]
//                                                      X [8 windows of two rows, 8 keys]
//
//   pairs of dX in flight, kSpan = 6:    r-5  r-4  r-3  r-2  r-1   r     first row of the pair
//   of offset a                            5    4    3    2    1   0
//   rows done after this step: r-5 (first of its pair, second of pair r-6), r-4 (pairs r-4, r-5)
#pragma once

#include "lib/kernels/streamed_rows.cuh"

namespace mta::kernels {

/// What a warp keeps from step to step. Everything that is indexed by rows turns at compile time.
template <int kBlocks, int kSpan>
struct StreamSums {
  static constexpr int kTails = kBlocks > 2 ? kSpan / 2 : 0;
  Word band[kSpan][kBlocks];
  float rows[kSpan][4] = {};  // pairs of rows of dX: word `lane` of the first, of the second row
  float last[2] = {};         // the second row of the pair that was done last
  // X of pairs of rows, transposed: of the last steps, then of a group's.
  static constexpr int kPairs = kSpan / 2;
  Word x[kPairs + kGroupSteps][2] = {};
  // The kernel's gradient: columns g and g+8 by keys 2q, 2q+1; columns 16+g for two offsets.
  float taps[kSpan][4] = {}, tails[kTails + 1][4] = {};

  /// The pair that offset a of a group's step adds to.
  __device__ static constexpr int pair(int step, int a) { return (2 * step - a + kSpan) % kSpan; }
};

/// The B fragments of all offsets; zero from query_span on.
template <int kBlocks, int kSpan>
__device__ void load_bands(Word (&band)[kSpan][kBlocks], const ConvolutionBackwardArgs& args,
                           int head) {
  const Lane lane = lane_place();
  const Word* words = args.tables +
                      static_cast<std::size_t>(head) * args.query_span * table_words(kBlocks) +
                      kTableOrigin + 2 * lane.q - lane.g - args.window.slack;
#pragma unroll
  for (int a = 0; a < kSpan; ++a) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      band[a][b] = a < args.query_span ? words[a * table_words(kBlocks) + 8 * b] : 0;
    }
  }
}

/// Adds the two rows of dY at `rows` to dX.
template <class E, int kStep, int kBlocks, int kSpan>
__device__ void add_to_rows(StreamSums<kBlocks, kSpan>& sums, const Number* rows,
                            const StreamLanes& lanes) {
  using Sums = StreamSums<kBlocks, kSpan>;
  Word y[4], third[2];
  load_blocks(y, rows + lanes.windows);
  if (kBlocks > 2) load_two_blocks(third, rows + lanes.windows + 2 * kChunk);
#pragma unroll
  for (int a = 0; a < kSpan; ++a) {
    float(&pair)[4] = sums.rows[Sums::pair(kStep, a)];
    if (a < 2) pair[0] = pair[1] = pair[2] = pair[3] = 0;
    mma_k16<E>(pair, y[0], y[1], y[2], y[3], sums.band[a][0], sums.band[a][1]);
  }
  if constexpr (kBlocks > 2) {
#pragma unroll
    for (int a = 0; a < kSpan; ++a) {
      mma_k8<E>(sums.rows[Sums::pair(kStep, a)], third[0], third[1], sums.band[a][2]);
    }
  }
}

/// Adds them to the kernel's gradient. X comes in pairs (s, s+1) of an even row, so that no
/// fragment is put together from two loads: even offsets meet them in rows r, r+1 of dY, odd ones
/// in r-1, r. The third block of columns takes rows r-2, r-1 for even offsets and r-1, r for odd
/// ones, so that two offsets share one product.
template <class E, int kStep, bool kConvert, int kBlocks, int kSpan>
__device__ void add_to_taps(StreamSums<kBlocks, kSpan>& sums, const Number* rows,
                            const Number* above, const StreamLanes& lanes) {
  using Sums = StreamSums<kBlocks, kSpan>;
  constexpr int kNew = Sums::kPairs + kStep;
  Word y[4], odd[4], third[4];
  if constexpr (kBlocks > 2) {
    load_blocks_transposed(third, lanes.third(rows, above));
#pragma unroll
    for (int n = 0; n < Sums::kTails; ++n) {
      const Word(&x)[2] = sums.x[kNew - 1 - n];
      mma_k16<E>(sums.tails[n], third[0], third[1], third[2], third[3], x[0], x[1]);
    }
  }
  load_blocks_transposed(odd, lanes.odd_columns(rows, above));
#pragma unroll
  for (int a = 1; a < kSpan; a += 2) {
    const Word(&x)[2] = sums.x[kNew - (a + 1) / 2];
    mma_k16<E>(sums.taps[a], odd[0], odd[1], odd[2], odd[3], x[0], x[1]);
  }
  Word(&new_x)[2] = sums.x[kNew];
  load_two_blocks_transposed(new_x, rows + lanes.keys());
  if (kConvert) new_x[0] = convert<Half, E>(new_x[0]), new_x[1] = convert<Half, E>(new_x[1]);
  load_blocks_transposed(y, rows + lanes.columns);
#pragma unroll
  for (int a = 0; a < kSpan; a += 2) {
    const Word(&x)[2] = sums.x[kNew - a / 2];
    mma_k16<E>(sums.taps[a], y[0], y[1], y[2], y[3], x[0], x[1]);
  }
}

/// Makes room for the next group's X.
template <int kBlocks, int kSpan>
__device__ void turn_pairs(StreamSums<kBlocks, kSpan>& sums) {
#pragma unroll
  for (int n = 0; n < StreamSums<kBlocks, kSpan>::kPairs; ++n) {
    sums.x[n][0] = sums.x[n + kGroupSteps][0];
    sums.x[n][1] = sums.x[n + kGroupSteps][1];
  }
}

/// The two rows that a step has completed, as words of 16-bit numbers.
template <class E, int kStep, int kBlocks, int kSpan>
__device__ void take_rows(Word (&done)[2], StreamSums<kBlocks, kSpan>& sums) {
  using Sums = StreamSums<kBlocks, kSpan>;
  const float(&first)[4] = sums.rows[Sums::pair(kStep, kSpan - 1)];
  const float(&second)[4] = sums.rows[Sums::pair(kStep, kSpan - 2)];
  done[0] = pack<E>(first[0] + sums.last[0], first[1] + sums.last[1]);
  done[1] = pack<E>(second[0] + first[2], second[1] + first[3]);
  sums.last[0] = second[2], sums.last[1] = second[3];
}

/// One step with the two rows at `rows`, before which stand those before `above`.
template <class E, int kStep, bool kConvert, int kBlocks, int kSpan>
__device__ void step_down(Word (&done)[2], StreamSums<kBlocks, kSpan>& sums, const Number* rows,
                          const Number* above, const StreamLanes& lanes) {
  add_to_rows<E, kStep>(sums, rows, lanes);
  add_to_taps<E, kStep, kConvert>(sums, rows, above, lanes);
  take_rows<E, kStep>(done, sums);
}

/// A warp's walk down its segment.
template <class E, int kBlocks, int kSpan, MapKind kKind>
__device__ void stream_segment(StreamSums<kBlocks, kSpan>& sums, Number* ring,
                               const ConvolutionBackwardArgs& args, const StreamSegment& segment,
                               const RowPlaces& places) {
  constexpr bool kWeights = kKind == MapKind::SoftmaxWeights;
  const StreamLanes lanes(args.window.halo);
  const StreamCopies<kBlocks> copies(args, segment, places, ring);
  const StreamTarget target(args, segment, places);
  StreamWeights<E> weights(args, segment);
  const int end = segment.end_row + kSpan;  // all that the last row of X meets lies above
  clear_rows(ring + (kRingRows - 2) * kRingPitch, 2);
  copies.start(segment.first_row, 0);
  copies.start(segment.first_row + kGroupRows, kGroupRows);
  for (int row = segment.first_row, place = 0; row < end; row += kGroupRows) {
    wait_for_copies<1>();
    __syncwarp();
    copies.start(row + 2 * kGroupRows,
                 place < kRingRows / 2 ? place + kRingRows / 2 : place - kRingRows / 2);
    Number* const rows = ring + place * kRingPitch;
    const bool edge = row < segment.first_key + kTileKeys + (kBlocks - 1) * kChunk;
    const bool plain = !edge && target.holds(row - kSpan + 1);
    if (kWeights) weights.make(rows, row);
    if (edge) mask_rows<kBlocks>(rows, row - segment.first_key, args.window.halo);
    __syncwarp();
    float dots[3];
    for_each_step([&](auto step) {
      constexpr int kStep = decltype(step)::value;
      const Number* own = rows + 2 * kStep * kRingPitch;
      const Number* above = kStep == 0 && place == 0 ? ring + kRingRows * kRingPitch : own;
      Word done[2];
      step_down<E, kStep, !kWeights>(done, sums, own, above, lanes);
      target.store(done, row + 2 * kStep - kSpan + 1, plain);
      if (kWeights) dots[kStep] = weights.dots(done, ring, place + 2 * kStep - kSpan + 1);
    });
    turn_pairs(sums);
    if (kWeights) weights.store_dots(dots, row - kSpan + 1);
    place = place + kGroupRows == kRingRows ? 0 : place + kGroupRows;
  }
  wait_for_copies<0>();
}

/// Adds the diagonals of a warp's sums to its slot, in a fixed order. `scratch` is its ring.
template <int kBlocks, int kSpan>
__device__ void finish_taps(const StreamSums<kBlocks, kSpan>& sums, float* scratch, float* slot,
                            int query_span, const KeyWindow& window) {
  constexpr int kSquare = 8 * kBlocks * 8;
  const Lane lane = lane_place();
  __syncwarp();
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const int half = e / 2, place = lane.g * 8 + 2 * lane.q + e % 2;
#pragma unroll
    for (int a = 0; a < kSpan; ++a) scratch[a * kSquare + half * 64 + place] = sums.taps[a][e];
#pragma unroll
    for (int n = 0; n < StreamSums<kBlocks, kSpan>::kTails; ++n) {
      scratch[(2 * n + half) * kSquare + 128 + place] = sums.tails[n][e];
    }
  }
  __syncwarp();
  for (int tap = static_cast<int>(threadIdx.x) % kWarp; tap < query_span * window.span;
       tap += kWarp) {
    const int a = tap / window.span, b = tap % window.span;
    const float* square = scratch + a * kSquare;
    float sum = 0;
#pragma unroll
    for (int key = 0; key < 8; ++key) sum += square[(key + window.slack + b) * 8 + key];
    slot[(query_span - 1 - a) * window.span + window.span - 1 - b] += sum;  // flipped back
  }
}

/// Blocks a multiprocessor that registers must leave room for: as many as do without spills.
template <int kBlocks, int kSpan, MapKind kKind>
constexpr int kStreamBlocks =
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
    3;
#else
    kBlocks > 2 && kSpan > 2 && kKind == MapKind::Scores ? 3 : 4;
#endif

/// Grid: (key tiles, segments of rows, maps by kStreamWarps): the warps of a block have as much to
/// do, each in a map of its own.
template <class E, int kBlocks, int kSpan, MapKind kKind>
__global__ void __launch_bounds__(kStreamThreads, (kStreamBlocks<kBlocks, kSpan, kKind>))
    convolution_streamed_kernel(const ConvolutionBackwardArgs args) {
  wait_for_previous_kernel();
  const Extent& extent = args.extent;
  const int begin = extent.rows.begin + static_cast<int>(blockIdx.y) * args.block_rows;
  const int end = min(begin + args.block_rows, extent.rows.end);
  const int tile = static_cast<int>(blockIdx.x), first_row = max(begin, tile * kTileKeys);
  if (first_row >= end) return;
  Number* const shared = dynamic_shared<Number>();
  const RowPlaces places(args.target, first_row,
                         reinterpret_cast<unsigned*>(shared + kStreamWarps * kRingNumbers));
  __syncthreads();
  const int warp = __shfl_sync(0xFFFFFFFFu, static_cast<int>(threadIdx.x) / kWarp, 0),
            map = static_cast<int>(blockIdx.z) * kStreamWarps + warp;
  if (map >= extent.maps) return;
  Number* const ring = shared + warp * kRingNumbers;
  const StreamSegment segment = {map, tile, tile * kTileKeys, first_row, end};
  StreamSums<kBlocks, kSpan> sums;
  load_bands(sums.band, args, map % extent.heads);
  stream_segment<E, kBlocks, kSpan, kKind>(sums, ring, args, segment, places);
  const int block = static_cast<int>(blockIdx.y) * args.strips + static_cast<int>(blockIdx.x);
  float* slot = args.sums + (static_cast<std::size_t>(map) * args.slots + block) * args.query_span *
                                args.window.span;
  finish_taps(sums, reinterpret_cast<float*>(ring), slot, args.query_span, args.window);
}

template <class E, int kBlocks, int kSpan>
void launch_streamed(MapKind kind, const ConvolutionBackwardArgs& args, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(args.extent.last_key_tiles()),
                  static_cast<unsigned>(ceil_div(args.extent.rows.size(), args.block_rows)),
                  static_cast<unsigned>(ceil_div(args.extent.maps, kStreamWarps)));
  const int bytes = streamed_shared_bytes();
  if (kind == MapKind::Scores) {
    launch(convolution_streamed_kernel<E, kBlocks, kSpan, MapKind::Scores>, grid, kStreamThreads,
           bytes, stream, args);
  } else {
    launch(convolution_streamed_kernel<E, kBlocks, kSpan, MapKind::SoftmaxWeights>, grid,
           kStreamThreads, bytes, stream, args);
  }
}

template <int kBlocks>
void StreamedConvolution<kBlocks>::backward(MapKind kind, const ConvolutionBackwardArgs& args,
                                            ElementType type, cudaStream_t stream) {
  const bool short_span = args.query_span <= 2, brain = type == ElementType::BFloat16;
  const auto run =
      short_span ? brain ? launch_streamed<Brain, kBlocks, 2> : launch_streamed<Half, kBlocks, 2>
      : brain ? launch_streamed<Brain, kBlocks, kMaxStreamedSpan>
                 : launch_streamed<Half, kBlocks, kMaxStreamedSpan>;
  run(kind, args, stream);
}

}  // namespace mta::kernels
