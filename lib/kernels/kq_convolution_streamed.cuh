// Stage: the kq convolution's gradients where rows can stream through a warp: Causality::Double, up
// to kMaxStreamedSpan query offsets, windows of up to 3 blocks. What they are:
// kq_convolution_backward.cuh.
//
// A warp walks down a segment of rows of 64 keys, two rows r, r+1 a step, four steps a group, and
// loads each row once. On the matrix unit dX has windows of 8 outputs where a tile has rows, so the
// query offset chooses no row to load but the sum to add to; the kernel's gradient has windows
// inside:
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

#include "lib/kernels/streamed_gradient.cuh"

namespace mta::kernels {

/// What a warp keeps from step to step. Everything that is indexed by rows turns at compile time,
/// once around in a group.
template <int kBlocks, int kSpan>
struct StreamSums {
  static constexpr int kTails = kBlocks > 2 ? kSpan / 2 : 0;
  Word band[kSpan][kBlocks];
  float rows[kGroupRows][4] = {};  // pairs of rows of dX: word `lane` of the first, of the second
  float last[2] = {};              // the second row of the pair that was done last
  Word x[kGroupSteps][2] = {};     // X of the last pairs of rows, transposed
  // The kernel's gradient: columns g and g+8 by keys 2q, 2q+1; columns 16+g for two offsets.
  float taps[kSpan][4] = {}, tails[kTails + 1][4] = {};
  static_assert(kSpan <= kGroupRows && kSpan / 2 < kGroupSteps);

  /// The pair that offset a of a group's step adds to.
  __device__ static constexpr int pair(int step, int a) {
    return (2 * step - a + kGroupRows) % kGroupRows;
  }
  /// X of the pair of rows `back` steps before a group's step.
  __device__ Word (&x_of(int step, int back))[2] {
    return x[(step - back + kGroupSteps) % kGroupSteps];
  }
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

/// Where the first step of a group finds fragments with rows before its own, which may lie at the
/// ring's end: third blocks as they lie and transposed, columns of the row before and the first.
struct StepPlaces {
  SharedPlace thirds, third_columns, odd_columns;
  __device__ StepPlaces(const StreamLanes& lanes, bool at_begin)
      : thirds(lanes.third + (kRowBytes + lanes.wrap(8, at_begin))),
        third_columns(lanes.third + lanes.wrap(24, at_begin)),
        odd_columns(lanes.columns + (lanes.wrap(16, at_begin) - kRowBytes)) {}
};

/// Adds two rows of dY to dX. The third block of columns is that of rows r-1, r and of r, r+1, so
/// that two offsets share one product.
template <class E, int kStep, int kBlocks, int kSpan>
__device__ void add_to_rows(StreamSums<kBlocks, kSpan>& sums, const StreamLanes& lanes,
                            const StepPlaces& first) {
  using Sums = StreamSums<kBlocks, kSpan>;
  Word y[4], thirds[4];
  lanes.windows.load_blocks(y, 2 * kStep * kRowBytes);
  if (kBlocks > 2) {
    if (kStep == 0) {
      first.thirds.load_blocks(thirds, 0);
    } else {
      lanes.third.load_blocks(thirds, (2 * kStep + 1) * kRowBytes);
    }
  }
#pragma unroll
  for (int a = 0; a < kSpan; ++a) {
    float(&pair)[4] = sums.rows[Sums::pair(kStep, a)];
    if (a < 2) pair[0] = pair[1] = pair[2] = pair[3] = 0;
    mma_k16<E>(pair, y[0], y[1], y[2], y[3], sums.band[a][0], sums.band[a][1]);
  }
#pragma unroll
  for (int a = 1; a < 2 * Sums::kTails; a += 2) {
    mma_k16<E>(sums.rows[Sums::pair(kStep, a)], thirds[0], thirds[1], thirds[2], thirds[3],
               sums.band[a - 1][kBlocks - 1], sums.band[a][kBlocks - 1]);
  }
}

/// Adds them to the kernel's gradient. X comes in pairs (s, s+1) of an even row, so that no
/// fragment is put together from two loads: even offsets meet them in rows r, r+1 of dY, odd ones
/// in r-1, r. The third block of columns takes rows r-2, r-1 for even offsets and r-1, r for odd
/// ones, so that two offsets share one product.
template <class E, int kStep, bool kConvert, int kBlocks, int kSpan>
__device__ void add_to_taps(StreamSums<kBlocks, kSpan>& sums, const StreamLanes& lanes,
                            const StepPlaces& first) {
  using Sums = StreamSums<kBlocks, kSpan>;
  Word y[4], odd[4], third[4];
  if constexpr (kBlocks > 2) {
    const SharedPlace& place = kStep == 0 ? first.third_columns : lanes.third;
    place.load_blocks_transposed(third, 2 * kStep * kRowBytes);
#pragma unroll
    for (int n = 0; n < Sums::kTails; ++n) {
      const Word(&x)[2] = sums.x_of(kStep, n + 1);
      mma_k16<E>(sums.tails[n], third[0], third[1], third[2], third[3], x[0], x[1]);
    }
  }
  if (kStep == 0) {
    first.odd_columns.load_blocks_transposed(odd, 0);
  } else {
    lanes.columns.load_blocks_transposed(odd, (2 * kStep - 1) * kRowBytes);
  }
#pragma unroll
  for (int a = 1; a < kSpan; a += 2) {
    const Word(&x)[2] = sums.x_of(kStep, (a + 1) / 2);
    mma_k16<E>(sums.taps[a], odd[0], odd[1], odd[2], odd[3], x[0], x[1]);
  }
  Word(&new_x)[2] = sums.x_of(kStep, 0);
  lanes.keys.load_two_blocks_transposed(new_x, 2 * kStep * kRowBytes);
  if (kConvert) new_x[0] = convert<Half, E>(new_x[0]), new_x[1] = convert<Half, E>(new_x[1]);
  lanes.columns.load_blocks_transposed(y, 2 * kStep * kRowBytes);
#pragma unroll
  for (int a = 0; a < kSpan; a += 2) {
    const Word(&x)[2] = sums.x_of(kStep, a / 2);
    mma_k16<E>(sums.taps[a], y[0], y[1], y[2], y[3], x[0], x[1]);
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

/// A warp at work on its segment, group after group.
template <class E, int kBlocks, int kSpan, MapKind kKind>
class SegmentStream {
 public:
  __device__ SegmentStream(const ConvolutionBackwardArgs& args, const StreamSegment& segment,
                           const GroupPlaces& places, Number* ring)
      : args_(args),
        segment_(segment),
        places_(places),
        ring_(ring),
        lanes_(ring, args.window.halo),
        copies_(args, segment, places, ring),
        target_(args, segment),
        softmax_(args, segment, ring, ring + kRingNumbers) {}

  __device__ void run(StreamSums<kBlocks, kSpan>& sums) {
    const int end = segment_.end_row + kSpan;  // all that the last row of X meets lies above
    clear_rows(ring_ + (kRingRows - 2) * kRingPitch, 2);
    copies_.start(0, 0);
    copies_.start(1, kGroupBytes);
    for (int row = segment_.first_row, group = 0; row < end; row += kGroupRows, ++group) {
      wait_for_copies<1>();
      __syncwarp();
      copies_.start(group + 2,
                    place_ < kRingBytes / 2 ? place_ + kRingBytes / 2 : place_ - kRingBytes / 2);
      const bool edge = row < segment_.first_key + kTileKeys + (kBlocks - 1) * kChunk;
      if (!edge && target_.holds(row - kBehind)) {
        take_group<true>(sums, row, group, false);
      } else {
        take_group<false>(sums, row, group, edge);
      }
      const int further =
          place_ + kGroupBytes == kRingBytes ? kGroupBytes - kRingBytes : kGroupBytes;
      place_ += further, lanes_ += further;
    }
    wait_for_copies<0>();
  }

 private:
  static constexpr bool kWeights = kKind == MapKind::SoftmaxWeights,
                        kGradient = kKind == MapKind::ScoresBeforeSoftmax;
  using Softmax =
      std::conditional_t<kWeights, StreamWeights<E, kSpan>,
                         std::conditional_t<kGradient, StreamGradient<E, kBlocks>, NoSoftmax>>;
  static constexpr int kBehind = kSpan - 1;  // the first row that a group completes, before its own

  /// `kPlain`: nothing is to be masked, and all rows that the group completes are the segment's.
  template <bool kPlain>
  __device__ void take_group(StreamSums<kBlocks, kSpan>& sums, int row, int group, bool edge) {
    if constexpr (kWeights) softmax_.make(copies_.own_pieces(place_), group);
    if constexpr (kGradient) softmax_.make(copies_, place_, group);
    if (!kPlain && edge) {
      __syncwarp();
      mask_rows<kBlocks>(ring_ + place_ / kNumberBytes, row - segment_.first_key,
                         args_.window.halo);
    }
    if (kWeights || kGradient || !kPlain) __syncwarp();
    Word* const before = target_.in(before_) + kGroupRows * kMapRowNumbers / 2;
    before_ = places_[group];
    Word* const here = target_.in(before_);
    const StepPlaces first(lanes_, place_ == 0);
    for_each_step([&](auto step) {
      constexpr int kStep = decltype(step)::value, kDone = 2 * kStep - kBehind;
      add_to_rows<E, kStep>(sums, lanes_, first);
      add_to_taps<E, kStep, !kWeights>(sums, lanes_, first);
      Word done[2];
      take_rows<E, kStep>(done, sums);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        Word* const to = (kDone + r < 0 ? before : here) + (kDone + r) * (kMapRowNumbers / 2);
        if (kPlain || target_.keep(done[r], row + kDone + r)) *to = done[r];
        if constexpr (kWeights) softmax_.keep(done[r], 2 * kStep + r);
      }
    });
    if constexpr (kWeights) softmax_.store_dots(group, place_);
  }

  const ConvolutionBackwardArgs& args_;
  const StreamSegment& segment_;
  const GroupPlaces& places_;
  Number* const ring_;
  StreamLanes lanes_;
  const StreamCopies<kBlocks, kGradient> copies_;
  const StreamTarget target_;
  Softmax softmax_;
  int place_ = 0;        // of the present group in the ring, in bytes
  unsigned before_ = 0;  // where the group before lies in a map
};

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
template <int kSpan>
constexpr int kStreamBlocks =
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
    3;
#else
    kSpan > 2 ? 3 : 4;
#endif

/// Grid: (key tiles, segments of rows, maps by kStreamWarps): the warps of a block have as much to
/// do, each in a map of its own.
template <class E, int kBlocks, int kSpan, MapKind kKind>
__global__ void __launch_bounds__(kStreamThreads, kStreamBlocks<kSpan>)
    convolution_streamed_kernel(const ConvolutionBackwardArgs args) {
  wait_for_previous_kernel();
  const Extent& extent = args.extent;
  const int begin = extent.rows.begin + static_cast<int>(blockIdx.y) * args.block_rows;
  const int end = min(begin + args.block_rows, extent.rows.end);
  const int tile = static_cast<int>(blockIdx.x), first_row = max(begin, tile * kTileKeys);
  if (first_row >= end) return;
  Number* const shared = dynamic_shared<Number>();
  constexpr int kOfWarp = stream_numbers(kKind == MapKind::ScoresBeforeSoftmax);
  const GroupPlaces places(args.target, first_row,
                           reinterpret_cast<unsigned*>(shared + kStreamWarps * kOfWarp),
                           kStreamGroups);
  __syncthreads();
  const int warp = __shfl_sync(0xFFFFFFFFu, static_cast<int>(threadIdx.x) / kWarp, 0),
            map = static_cast<int>(blockIdx.z) * kStreamWarps + warp;
  if (map >= extent.maps) return;
  Number* const ring = shared + warp * kOfWarp;
  const StreamSegment segment = {map, tile, tile * kTileKeys, first_row, end};
  StreamSums<kBlocks, kSpan> sums;
  load_bands(sums.band, args, map % extent.heads);
  SegmentStream<E, kBlocks, kSpan, kKind>(args, segment, places, ring).run(sums);
  const int block = static_cast<int>(blockIdx.y) * args.strips + static_cast<int>(blockIdx.x);
  float* slot = args.sums + (static_cast<std::size_t>(map) * args.slots + block) * args.query_span *
                                args.window.span;
  finish_taps(sums, reinterpret_cast<float*>(ring), slot, args.query_span, args.window);
}

template <class E, int kBlocks, int kSpan, MapKind kKind>
void launch_streamed(const ConvolutionBackwardArgs& args, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(args.extent.last_key_tiles()),
                  static_cast<unsigned>(ceil_div(args.extent.rows.size(), args.block_rows)),
                  static_cast<unsigned>(ceil_div(args.extent.maps, kStreamWarps)));
  const auto kernel = convolution_streamed_kernel<E, kBlocks, kSpan, kKind>;
  const int bytes = streamed_shared_bytes(kKind == MapKind::ScoresBeforeSoftmax);
  allow_shared_bytes(kernel, bytes);
  launch(kernel, grid, kStreamThreads, bytes, stream, args);
}

template <class E, int kBlocks, int kSpan>
void launch_streamed(MapKind kind, const ConvolutionBackwardArgs& args, cudaStream_t stream) {
  if (kind == MapKind::Scores) {
    launch_streamed<E, kBlocks, kSpan, MapKind::Scores>(args, stream);
  } else if (kind == MapKind::SoftmaxWeights) {
    launch_streamed<E, kBlocks, kSpan, MapKind::SoftmaxWeights>(args, stream);
  } else {
    launch_streamed<E, kBlocks, kSpan, MapKind::ScoresBeforeSoftmax>(args, stream);
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
