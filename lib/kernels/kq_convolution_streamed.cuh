// Stage: the kq convolution's gradients where rows can stream through a warp: Causality::Double, up
// to kMaxStreamedSpan query offsets, windows of up to 3 blocks. What they are:
// kq_convolution_backward.cuh.
//
// A warp walks down a segment of rows of 128 keys, a row a step, eight steps a group, and loads
// each row once. On the matrix unit dX has the row's 16 windows of 8 outputs where a tile has rows,
// so the query offset chooses no row to load but the sum to add to; the kernel's gradient has
// windows inside:
//
//   dX       row r-a [16 windows, 8 keys] += dY row r [16 windows, 8 kBlocks columns] band a
//   gradient a [8 kBlocks columns, 8 keys] += dY row r [8 kBlocks columns, 16 windows]
//                                             X row r-a [16 windows, 8 keys]         for every a
//
//   sums of dX in flight, kSpan = 6:    r-5  r-4  r-3  r-2  r-1   r
//                                       complete after this step: word `lane` of each of two tiles
#pragma once

#include "lib/kernels/streamed_gradient.cuh"

namespace mta::kernels {

/// What a warp keeps from step to step. X's rows turn at compile time, once around in a group.
template <int kBlocks, int kSpan>
struct StreamSums {
  static constexpr int kTails = kBlocks > 2 ? kSpan / 2 : 0;
  Word band[kSpan][kBlocks];
  float rows[kSpan][4] = {};   // of dX: row r-a
  Word x[kGroupRows][2] = {};  // of X: the last rows, transposed
  // The kernel's gradient: columns g and g+8 by keys 2q, 2q+1; columns 16+g for two offsets.
  float taps[kSpan][4] = {}, tails[kTails + 1][4] = {};
  static_assert(kBlocks <= 3 && kSpan % 2 == 0, "a pair of blocks, and one more of two offsets");
  static_assert(kSpan <= kGroupRows);

  /// X of the row `back` rows before a group's row.
  __device__ Word (&x_of(int row, int back))[2] {
    return x[(row - back + kGroupRows) % kGroupRows];
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

/// Where the first step of a group finds third blocks, the row above being the last one of the slot
/// before: as they lie, and transposed.
struct FirstThirds {
  SharedPlace blocks, columns;
  __device__ FirstThirds(const StreamLanes& lanes, int to_slot_before)
      : blocks(lanes.thirds), columns(lanes.third_columns) {
    const int to_last_row = to_slot_before + kGroupRows * kRowBytes;
    blocks += lanes.is_above() ? to_last_row : 0;
    columns += lanes.is_column_above() ? to_last_row : 0;
  }
};

/// Adds a row of dY to dX. Its third blocks and those of the row above make one product for two
/// offsets.
template <class E, int kRow, int kBlocks, int kSpan>
__device__ void add_to_rows(StreamSums<kBlocks, kSpan>& sums, const StreamLanes& lanes,
                            const FirstThirds& first) {
  Word y[4], thirds[4];
  lanes.windows.load_blocks(y, kRow * kRowBytes);
  if (kBlocks > 2) (kRow == 0 ? first.blocks : lanes.thirds).load_blocks(thirds, kRow * kRowBytes);
#pragma unroll
  for (int a = kSpan - 1; a >= 0; --a) {
    float(&sum)[4] = sums.rows[a];
#pragma unroll
    for (int e = 0; e < 4; ++e) sum[e] = a > 0 ? sums.rows[a - 1][e] : 0;
    mma_k16<E>(sum, y[0], y[1], y[2], y[3], sums.band[a][0], sums.band[a][1]);
  }
  if constexpr (kBlocks > 2) {
#pragma unroll
    for (int a = 1; a < kSpan; a += 2) {
      mma_k16<E>(sums.rows[a], thirds[0], thirds[1], thirds[2], thirds[3], sums.band[a][2],
                 sums.band[a - 1][2]);
    }
  }
}

/// Adds it to the kernel's gradient: its columns times X of the rows that it meets. The third block
/// of columns, and that of the row above for the offset before, make one product.
template <class E, int kRow, bool kConvert, int kBlocks, int kSpan>
__device__ void add_to_taps(StreamSums<kBlocks, kSpan>& sums, const StreamLanes& lanes,
                            const FirstThirds& first) {
  Word y[4], thirds[4];
  if constexpr (kBlocks > 2) {
    (kRow == 0 ? first.columns : lanes.third_columns)
        .load_blocks_transposed(thirds, kRow * kRowBytes);
#pragma unroll
    for (int n = 0; n < StreamSums<kBlocks, kSpan>::kTails; ++n) {
      const Word(&x)[2] = sums.x_of(kRow, 2 * n + 1);
      mma_k16<E>(sums.tails[n], thirds[0], thirds[1], thirds[2], thirds[3], x[0], x[1]);
    }
  }
  Word(&new_x)[2] = sums.x_of(kRow, 0);
  lanes.own.load_two_blocks_transposed(new_x, kRow * kRowBytes);
  lanes.columns.load_blocks_transposed(y, kRow * kRowBytes);
  if (kConvert) new_x[0] = convert<Half, E>(new_x[0]), new_x[1] = convert<Half, E>(new_x[1]);
#pragma unroll
  for (int a = kSpan - 1; a >= 0; --a) {
    const Word(&x)[2] = sums.x_of(kRow, a);
    mma_k16<E>(sums.taps[a], y[0], y[1], y[2], y[3], x[0], x[1]);
  }
}

/// A warp at work on its segment, group after group.
template <class E, int kBlocks, int kSpan, MapKind kKind>
class SegmentStream {
 public:
  __device__ SegmentStream(const ConvolutionBackwardArgs& args, const RowSegment& segment,
                           const GroupPlaces& places, const SharedPlace& ring)
      : args_(args),
        segment_(segment),
        places_(places, args.source, segment),
        ring_(ring),
        lanes_(ring, args.window.halo),
        copies_(args, segment, places_, ring),
        target_(args, segment),
        softmax_(args, segment, ring) {}

  __device__ void run(StreamSums<kBlocks, kSpan>& sums) {
    const int end = segment_.end_row + kSpan;  // all that the last row of X meets lies above
    clear_last_row(ring_ + Ring::before(0));
#pragma unroll
    for (int n = 0; n < Ring::kAhead; ++n) {
      copies_.start(segment_.first_row + n * kGroupRows, n * kSlotBytes,
                    lanes_.own + n * kSlotBytes);
    }
    for (int row = segment_.first_row; row < end; row += kGroupRows) {
      wait_for_copies<Ring::kAhead - 1>();
      __syncwarp();
      const int free = Ring::template after<Ring::kAhead>(place_);
      copies_.start(row + Ring::kAhead * kGroupRows, free, lanes_.own + (free - place_));
      const bool at_diagonal =
                     in_register(row) - segment_.first_key < kSegmentKeys + (kBlocks - 1) * kChunk,
                 is_cut = row < segment_.end_row && row + kGroupRows > segment_.end_row;
      if (!at_diagonal && !is_cut) {
        take_group<true>(sums, row);
      } else {
        take_group<false>(sums, row);
      }
      const int next = Ring::template after<1>(place_);
      lanes_ += next - place_, place_ = next;
    }
    wait_for_copies<0>();
  }

 private:
  static constexpr bool kWeights = kKind == MapKind::SoftmaxWeights,
                        kGradient = kKind == MapKind::ScoresBeforeSoftmax;
  using Ring = StreamRing<kGradient>;
  using Softmax =
      std::conditional_t<kWeights, StreamWeights<E, kSpan>,
                         std::conditional_t<kGradient, StreamGradient<E, kBlocks>, NoSoftmax>>;
  static constexpr int kBehind = kSpan - 1;  // the first row that a group completes, before its own

  /// `kPlain`: nothing is to be masked, and the segment has all rows of the group, or none.
  template <bool kPlain>
  __device__ void take_group(StreamSums<kBlocks, kSpan>& sums, int row) {
    if constexpr (kWeights || kGradient) {
      softmax_.template make<kPlain>(lanes_.own, place_, row);
      __syncwarp();
    }
    if (!kPlain) {
      mask_rows<kBlocks>(ring_ + place_, row - segment_.first_key, args_.window.halo);
      __syncwarp();
    }
    Word* const before = target_.in(places_(before_)) + kGroupRows * StreamTarget::kRowWords;
    before_ = places_.group(row);
    Word* const here = target_.in(places_(before_));
    const FirstThirds first(lanes_, Ring::before(place_) - place_);
    const int past = target_.past(row);
    for_each_row([&](auto number) {
      constexpr int kRow = decltype(number)::value, kDone = kRow - kBehind;
      add_to_rows<E, kRow>(sums, lanes_, first);
      add_to_taps<E, kRow, !kWeights>(sums, lanes_, first);
      if (kDone < 0) {
        write<kPlain, kRow>(sums.rows[kBehind], before, row, past, row > segment_.first_row);
      } else {
        write<kPlain, kRow>(sums.rows[kBehind], here, row, past, row < segment_.end_row);
      }
      // Stores stay above: where they sink below later rows, these lack the registers.
      if (kRow % 2 == 1) __syncwarp();
    });
    if constexpr (kWeights) softmax_.store_dots(row, place_);
  }

  /// The row that row kRow of the group from `row` on has completed, its sums to `group`, the group
  /// that it is in. `past`: of row `row`; `is_inside`: without any test by key.
  template <bool kPlain, int kRow>
  __device__ void write(const float (&sums)[4], Word* group, int row, int past,
                        bool is_inside) const {
    constexpr int kDone = kRow - kBehind;
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
      Word done = pack<E>(sums[2 * tile], sums[2 * tile + 1]);
      const int key = past + tile * kTileKeys - kDone;
      if (!kPlain) done = keep_pair(done, key <= 0, key < 0);
      if (kPlain ? is_inside : target_.has(row + kDone, tile)) {
        group[kDone * StreamTarget::kRowWords + tile * StreamTarget::kTileWords] = done;
      }
      if constexpr (kWeights) softmax_.keep(done, kRow, tile);
    }
  }

  const ConvolutionBackwardArgs& args_;
  const RowSegment& segment_;
  const SegmentPlaces places_;
  const SharedPlace ring_;
  StreamLanes lanes_;
  const StreamCopies<kBlocks, kGradient> copies_;
  const StreamTarget target_;
  Softmax softmax_;
  int place_ = 0;        // of the present slot, in bytes
  unsigned before_ = 0;  // where the group before lies in a map
};

/// Adds the diagonals of a warp's sums to its slot, in a fixed order. `scratch` is its ring.
template <int kBlocks, int kSpan>
__device__ void finish_taps(const StreamSums<kBlocks, kSpan>& sums,
                            const ConvolutionBackwardArgs& args, float* scratch, int map) {
  const int query_span = args.query_span;
  const KeyWindow& window = args.window;
  const int block = static_cast<int>(blockIdx.y) * args.strips + static_cast<int>(blockIdx.x);
  float* slot =
      args.sums + (static_cast<std::size_t>(map) * args.slots + block) * query_span * window.span;
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
      scratch[(2 * n + 1 - half) * kSquare + 128 + place] = sums.tails[n][e];
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

/// A warp of a block, and its map: made where they are asked for.
struct StreamWarp {
  __device__ static int number() {
    return __shfl_sync(0xFFFFFFFFu, in_register(static_cast<int>(threadIdx.x)) / kWarp, 0);
  }
  __device__ static int map() { return static_cast<int>(blockIdx.z) * kStreamWarps + number(); }
};

/// Blocks a multiprocessor that registers must leave room for: as many as do without spills.
template <int kSpan>
constexpr int kStreamBlocks =
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
    3;
#else
    kSpan > 2 ? 3 : 4;
#endif

/// Grid: (pairs of key tiles, segments of rows, maps by kStreamWarps): the warps of a block have as
/// much to do, each in a map of its own.
template <class E, int kBlocks, int kSpan, MapKind kKind>
__global__ void __launch_bounds__(kStreamThreads, kStreamBlocks<kSpan>)
    convolution_streamed_kernel(const ConvolutionBackwardArgs args) {
  wait_for_previous_kernel();
  const Extent& extent = args.extent;
  const int begin = extent.rows.begin + static_cast<int>(blockIdx.y) * args.block_rows;
  const int end = min(begin + args.block_rows, extent.rows.end);
  const int first_key = static_cast<int>(blockIdx.x) * kSegmentKeys,
            first_row = max(begin, first_key);
  if (first_row >= end) return;
  Number* const shared = dynamic_shared<Number>();
  constexpr int kOfWarp = stream_numbers(kKind == MapKind::ScoresBeforeSoftmax);
  const GroupPlaces places(args.target, first_row,
                           reinterpret_cast<unsigned*>(shared + kStreamWarps * kOfWarp),
                           kStreamGroups);
  __syncthreads();
  const StreamWarp warp;
  if (warp.map() >= extent.maps) return;
  const RowSegment segment = {warp.map(), first_key, first_row, end};
  StreamSums<kBlocks, kSpan> sums;
  load_bands(sums.band, args, warp.map() % extent.heads);
  SegmentStream<E, kBlocks, kSpan, kKind>(args, segment, places,
                                          SharedPlace(shared + warp.number() * kOfWarp))
      .run(sums);
  finish_taps(sums, args, reinterpret_cast<float*>(shared + warp.number() * kOfWarp), warp.map());
}

template <class E, int kBlocks, int kSpan, MapKind kKind>
void launch_streamed(const ConvolutionBackwardArgs& args, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(ceil_div(args.extent.rows.end, kSegmentKeys)),
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
