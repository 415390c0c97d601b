// Stage: a kq convolution and the head mixing that follows it, forward, where rows can stream
// through a warp and a block may have the shared memory for it.
//
// A block of sixteen warps walks down rows of 128 keys of all heads of one mixing unit, eight rows
// a step:
//
//   1  each warp convolves the rows of its head (kq_convolution_walk.cuh), leaves them, 16-bit, in
//      shared memory, with words in the order of `convolved_place`, and, where they are wanted, as
//      whole lines in memory
//   2  one barrier
//   3  each warp mixes all heads of one row of one key tile, straight to the target
//
// Convolved rows have two places, used in turns, so that a warp which has mixed goes on while
// others still mix; half of the warps do so a step late, and convolve while the others mix. The
// steps of all columns of 128 keys, one below the other, of all units make one list, of which each
// block has an equal share: as many blocks as multiprocessors.
#pragma once

#include "lib/kernels/convolved_mixing.cuh"
#include "lib/kernels/kq_convolution_walk.cuh"
#include "lib/kernels/unit_walk.cuh"

namespace mta::kernels {

constexpr int kUnitWalkWarps = kUnitHeads;
static_assert(kUnitWalkWarps == kGroupRows * (kSegmentKeys / kTileKeys), "a row of a tile each");

/// This thread's warp, the same number in all of its lanes.
__device__ inline int own_warp() {
  return __shfl_sync(0xFFFFFFFFu, static_cast<int>(threadIdx.x) / kWarp, 0);
}

/// A warp's row of a step.
struct UnitRow {
  int r, tile, row, key;
  bool exists;
  /// Of the step whose first row is `first`.
  __device__ UnitRow(const FusedPlace& segment, int warp, int first)
      : r(in_register(warp) % kGroupRows),
        tile(in_register(warp) / kGroupRows),
        row(first + r),
        key(segment.first_key + tile * kTileKeys),
        exists(row < segment.end_row && first >= key) {}
  /// Its first key's place in a map; the step is at `place`.
  __device__ std::ptrdiff_t offset(unsigned place) const {
    return key_place(key) + r * kTileKeys + static_cast<std::ptrdiff_t>(place) * kChunk;
  }
};

/// What a step leaves in shared memory, behind the rings: convolved rows [head][row][128 keys],
/// and, forward, the statistics of mixed ones [tile][head][row]. Steps take two places in turns.
struct UnitStep {
  int turn, rings;
  /// `groups`: slots of a ring.
  __device__ explicit UnitStep(int first_row, int groups = kWalkGroups)
      : turn(first_row / kGroupRows % 2), rings(kUnitHeads * walk_numbers(groups)) {}
  __device__ Number* head(int h) const {
    return dynamic_shared<Number>() + rings + (turn * kUnitHeads + h) * kConvolvedNumbers;
  }
  MTA_HOST_DEVICE static constexpr int row(int r, int tile) {
    return r * kSegmentKeys + tile * kTileKeys;
  }
  /// The lane's ldmatrix address in a row: head lane % 16, the second of two blocks for the upper
  /// lanes.
  __device__ const Number* corner(const UnitRow& at) const {
    const int lane = own_lane();
    return head(lane % 16) + row(at.r, at.tile) + lane / 16 * kChunk;
  }
  __device__ float2* partial(int tile, int h, int r) const {
    auto* const first = reinterpret_cast<float2*>(dynamic_shared<Number>() + kUnitWalkNumbers);
    return first + ((2 * turn + tile) * kUnitHeads + h) * kStepPartials + r;
  }
};

__device__ inline void clear(WalkedRows& rows) {
#pragma unroll
  for (int r = 0; r < kGroupRows; ++r) rows[r][0] = rows[r][1] = 0;
}

/// Eight rows of a head, word `lane` of each tile.
__device__ inline void store_walked(Number* head, const WalkedRows& rows) {
  Word* const words = reinterpret_cast<Word*>(head) + convolved_place();
#pragma unroll
  for (int r = 0; r < kGroupRows; ++r) {
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) words[UnitStep::row(r, tile) / 2] = rows[r][tile];
  }
}

/// Eight rows of a head to memory, where they are at `place`: whole lines, zero past the diagonal.
/// A tile in memory has all of them, also those from the last token on.
__device__ inline void write_walked(const MapView& view, const RowSegment& segment,
                                    const WalkedRows& rows, int row, unsigned place) {
  const int lane = own_lane();
#pragma unroll
  for (int tile = 0; tile < 2; ++tile) {
    const int key = segment.first_key + tile * kTileKeys, past = key + 2 * lane - row;
    if (key > row) break;  // there is no such tile
    Word* const target =
        reinterpret_cast<Word*>(map_column(view, segment.map, key) + std::size_t{place} * kChunk) +
        lane;
    const bool whole = row >= key + kTileKeys - 1;
#pragma unroll
    for (int r = 0; r < kGroupRows; ++r) {
      target[r * (kTileKeys / 2)] =
          whole ? rows[r][tile] : keep_pair(rows[r][tile], past <= r, past < r);
    }
  }
}

/// What a warp does with its row of a step, once all heads of it are convolved.
template <MapKind kKind, class E>
class UnitOutput {
 public:
  __device__ UnitOutput(const ConvolvedMixingArgs& args, const FusedPlace& segment, int warp)
      : args_(args),
        segment_(segment),
        warp_(warp),
        weights_(load_weights(args.weights + segment.unit.unit * kMixingBlock)),
        first_((segment.first_map + lane_place().g) * args.target.numbers +
               lane_place().q * kChunk) {}

  /// Mixes the row of the step whose first row is `first`, at `place` in memory.
  __device__ void mix(const UnitStep& step, int first, unsigned place) const {
    const UnitRow at(segment_, warp_, first);
    if (!at.exists) return;
    Points out = mix_convolved<E>(weights_, step.corner(at));
    keep_causal_outputs(out, at.row, at.key);
    if (kKind == MapKind::SoftmaxWeights && args_.dropout.threshold > 0)
      drop_row<E>(out, args_.dropout, segment_.unit, args_.extent.heads, at.row, at.key);
    if (has_statistics()) {  // first: registers that are being stored cannot be written
      const float2 partial = mixed_partials(out, at.row, at.key);
      const Lane lane = lane_place();
      if (lane.q < 2) *step.partial(at.tile, lane.g + 8 * lane.q, at.r) = partial;
    }
    store_points(args_.target, first_ + at.offset(place), out, segment_.unit.heads.out_count);
  }

  /// The statistics of all rows of a step, once they are mixed: a warp has a head's.
  __device__ void leave(int first) const {
    const int lane = own_lane(), r = lane % kGroupRows, tile = lane / kGroupRows,
              key = segment_.first_key + tile * kTileKeys;
    if (!has_statistics() || warp_ >= segment_.unit.heads.out_count || tile > 1 || first < key ||
        first + r >= segment_.end_row)
      return;
    const RowStatistics& all = args_.statistics;
    const int map =
        segment_.unit.batch * args_.extent.heads + segment_.unit.heads.out_first + warp_;
    all.partials[all.index(map, first + r, key / kTileKeys)] =
        *UnitStep(first).partial(tile, warp_, r);
  }

 private:
  __device__ bool has_statistics() const {
    return kKind == MapKind::Scores && args_.statistics.partials != nullptr;
  }

  const ConvolvedMixingArgs& args_;
  const FusedPlace& segment_;
  int warp_;
  WeightBlock weights_;
  std::ptrdiff_t first_;  // of head g, key group q in row 0, from the maps' data on
};

/// Where a warp convolves: its head's rows of the segment, or none.
struct UnitHead {
  bool exists;
  RowSegment segment;
  int begin;  // the first row that is read
  __device__ UnitHead(const FusedPlace& place, int warp)
      : exists(warp < place.unit.heads.in_count),
        segment{place.first_map + (exists ? warp : 0), place.first_key, place.first_row,
                place.end_row},
        begin(max(place.first_row - kGroupRows, 0)) {}
};

/// Asks for the first rows of a ring.
template <int kBlocks, MapKind kKind, int kGroups>
__device__ inline void start_ring(const WalkInput<kBlocks, kKind, kGroups>& input,
                                  const WalkPlaces& places, int begin) {
#pragma unroll 1
  for (int n = 0; n < kGroups - 1; ++n) {
    const int row = begin + n * kGroupRows;
    input.start(row, places(row), row / kGroupRows % kGroups);
  }
}

/// Rows row.. of the ring, convolved. The warp makes kCopies groups of copies a step.
template <int kCopies = 1, int kBlocks, MapKind kKind, int kGroups>
__device__ inline void convolve_step(WalkedRows& done, WalkSums<kBlocks, kMaxStreamedSpan>& sums,
                                     WalkInput<kBlocks, kKind, kGroups>& input,
                                     const WalkPlaces& places, int row) {
  const int slot = row / kGroupRows % kGroups;
  wait_for_copies<kCopies*(kGroups - 2)>();
  input.finish(row, slot);
  __syncwarp();
  step_down_rows<Half, kGroups>(done, sums, input.rows(slot), slot == 0);
  __syncwarp();  // the slot before has been read
  const int next_row = row + (kGroups - 1) * kGroupRows;
  input.start(next_row, places(next_row), (slot + kGroups - 1) % kGroups);
}

/// A block's walk down a piece of a column. Every second four warps mix a step late, after they
/// have convolved the next one: the matrix unit then has work at more times.
template <int kBlocks, MapKind kKind, class E>
__device__ void walk_unit(const ConvolvedMixingArgs& args, const ConvolutionArgs& source,
                          const FusedPlace& place, int warp) {
  const UnitHead head(place, warp);
  const WalkPlaces places(args.source, head.begin);
  WalkInput<kBlocks, kKind> input(source, head.segment, head.begin,
                                  dynamic_shared<Number>() + warp * kWalkNumbers);
  WalkSums<kBlocks, kMaxStreamedSpan> sums;
  load_bands(sums.band, source, head.segment.map % args.extent.heads);
  if (head.exists) start_ring(input, places, head.begin);
  const UnitOutput<kKind, E> output(args, place, warp);
  const bool is_late = in_register(warp) / 4 % 2 == 1;
  const int end = place.end_row + (is_late ? kGroupRows : 0);
  for (int row = head.begin; row < end; row += kGroupRows) {
    const UnitStep step(row);
    if (row < place.end_row) {
      WalkedRows done;
      if (head.exists) {
        convolve_step(done, sums, input, places, row);
      } else {
        clear(done);
      }
      if (row < place.first_row) continue;
      store_walked(step.head(warp), done);
      if (kKind == MapKind::Scores && args.convolved.data != nullptr && head.exists)
        write_walked(args.convolved, head.segment, done, row, places(row));
      if (!is_late) __syncthreads();
    }
    const int mixed = is_late ? row - kGroupRows : row;
    if (mixed >= place.first_row) output.mix(UnitStep(mixed), mixed, places(mixed));
    if (is_late && row < place.end_row) __syncthreads();
    if (row < place.end_row && row > place.first_row) output.leave(row - kGroupRows);
  }
  wait_for_copies<0>();
  __syncthreads();  // what is in shared memory is not needed any more, but for the last partials
  output.leave((place.end_row - 1) / kGroupRows * kGroupRows);
}

/// M = W conv(S) with its row statistics, or A = dropout(W conv(exp(M - lse))). `source` says the
/// convolution's part of `args` once more.
template <int kBlocks, MapKind kKind, class E>
__global__ void __launch_bounds__(kUnitWalkWarps* kWarp, 1)
    convolved_mixing_walk_kernel(const ConvolvedMixingArgs args, const ConvolutionArgs source,
                                 const UnitWalk walk) {
  wait_for_previous_kernel();
  const int warp = own_warp();
  for_each_segment(args, walk, [&](const FusedPlace& place, int) {
    walk_unit<kBlocks, kKind, E>(args, source, place, warp);
  });
}

using UnitWalkKernel = void (*)(ConvolvedMixingArgs, ConvolutionArgs, UnitWalk);

/// `most_blocks`: that the launch may have, `bytes` of shared memory each.
inline void launch_unit_walk(UnitWalkKernel kernel, const ConvolvedMixingArgs& args, bool is_steep,
                             int most_blocks, int bytes, cudaStream_t stream) {
  ConvolutionArgs source = {};
  source.extent = args.extent;
  source.source = args.source;
  source.tables = args.tables;
  source.query_span = args.query_span;
  source.window = args.window;
  source.lse = args.lse;
  UnitWalk walk = unit_walk(args.extent.rows, is_steep);
  const int counts = args.extent.maps / args.extent.heads * args.plan.units * walk.counts;
  const int blocks = min_of(min_of(current_device().multiprocessors, most_blocks), counts);
  walk.share = counts / blocks;
  walk.rest = counts % blocks;
  allow_shared_bytes(kernel, bytes);
  launch(kernel, dim3(static_cast<unsigned>(blocks)), kUnitWalkWarps * kWarp, bytes, stream, args,
         source, walk);
}

inline void launch_unit_walk(UnitWalkKernel kernel, const ConvolvedMixingArgs& args,
                             cudaStream_t stream) {
  launch_unit_walk(kernel, args, args.convolved.data == nullptr, current_device().multiprocessors,
                   unit_walk_shared_bytes(), stream);
}

/// Does a block walk that asks for `bytes` of shared memory?
inline bool unit_walks(const ConvolvedMixingArgs& args, int bytes = unit_walk_shared_bytes()) {
  return args.extent.reach == 0 && rows_fit_a_warp(args.query_span, args.window) &&
         bytes <= current_device().shared_bytes;
}

template <int kBlocks>
void ConvolvedMixingKernels<kBlocks>::before(const ConvolvedMixingArgs& args, cudaStream_t stream) {
  constexpr MapKind kKind = MapKind::Scores;
  if (unit_walks(args)) {
    launch_unit_walk(convolved_mixing_walk_kernel<kBlocks, kKind, Half>, args, stream);
  } else if (args.extent.reach > 0) {
    launch_fused_forward<kBlocks, kKind, Half, FusedRows::Exact>(args, stream);
  } else if (args.query_span > kMaxStreamedSpan) {
    launch_fused_forward<kBlocks, kKind, Half, FusedRows::Sixteen>(args, stream);
  } else {
    launch_fused_forward<kBlocks, kKind, Half, FusedRows::Streamed>(args, stream);
  }
}

template <int kBlocks, class E>
void launch_fused_weights(const ConvolvedMixingArgs& args, cudaStream_t stream) {
  constexpr MapKind kKind = MapKind::SoftmaxWeights;
  if (unit_walks(args)) {
    launch_unit_walk(convolved_mixing_walk_kernel<kBlocks, kKind, E>, args, stream);
  } else if (args.query_span > kMaxStreamedSpan) {
    launch_fused_forward<kBlocks, kKind, E, FusedRows::Sixteen>(args, stream);
  } else {
    launch_fused_forward<kBlocks, kKind, E, FusedRows::Streamed>(args, stream);
  }
}
template <int kBlocks>
void ConvolvedMixingKernels<kBlocks>::after(const ConvolvedMixingArgs& args, ElementType type,
                                            cudaStream_t stream) {
  if (type == ElementType::BFloat16) {
    launch_fused_weights<kBlocks, Brain>(args, stream);
  } else {
    launch_fused_weights<kBlocks, Half>(args, stream);
  }
}

}  // namespace mta::kernels
