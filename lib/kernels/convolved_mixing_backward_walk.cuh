// Stage: the kq convolution after the softmax made again together with the gradients of the head
// mixing after it, where blocks may walk: as convolved_mixing_walk.cuh, but that a warp which has
// the row of a tile mixes its dA as well, 32 keys at a time, and keeps what the row gives to the
// gradient of W. dA of a row is on its way from the row of the step before on.
//
//   shared memory:  rings, three slots | convolved rows | dA, a row of a tile a warp | W, W^T
#pragma once

#include "lib/kernels/convolved_mixing_backward.cuh"
#include "lib/kernels/convolved_mixing_walk.cuh"

namespace mta::kernels {

/// W as it is loaded again for each row, which takes no registers between.
class SharedWeights {
 public:
  /// `which`: 0 for W, 1 for its transpose.
  __device__ explicit SharedWeights(int which)
      : own_(dynamic_shared<Number>() + kUnmixNumbers + kUnitHeads * kRowNumbers +
             which * kFragmentNumbers + own_lane() * kChunk) {}
  __device__ void put(const WeightBlock& w) const {
    own_.store(0, {w.a[0], w.a[1], w.a[2], w.a[3]});
  }
  __device__ WeightBlock get() const {
    const uint4 w = own_.load(0);
    return {{w.x, w.y, w.z, w.w}};
  }

 private:
  SharedPlace own_;
};

/// A warp's row of dA in shared memory: 16 heads of 64 keys. The pieces of a head lie in an order
/// of its own, so that neither two heads' first four nor one piece of four even heads share banks.
class GradientRow {
 public:
  __device__ explicit GradientRow(int warp)
      : row_(dynamic_shared<Number>() + kUnmixNumbers + warp * kRowNumbers) {}

  /// Asks for a row whose first key is `offset` numbers from its maps' data on.
  __device__ void start(const MapView& view, const FusedPlace& place, std::ptrdiff_t offset) const {
    constexpr int kHeads = kWarp / kPieces;  // at a time
    const int lane = own_lane(), head = lane / kPieces, piece = lane % kPieces;
    const Number* const from =
        view.data + (place.first_map + head) * view.numbers + offset + piece * kChunk;
#pragma unroll
    for (int n = 0; n < kUnitHeads / kHeads; ++n) {
      const bool exists = head + n * kHeads < place.unit.heads.in_count;
      row_.copy_async(at(head + n * kHeads, piece),
                      exists ? from + n * kHeads * view.numbers : view.data, exists);
    }
  }
  __device__ uint4 load(int head, int piece) const { return row_.load(at(head, piece)); }

 private:
  static constexpr int kPieces = kTileKeys / kChunk;
  __device__ static int at(int head, int piece) {
    return kNumberBytes * (head * kTileKeys + (piece ^ (head / 2 % 4 + head % 2 * 4)) * kChunk);
  }
  SharedPlace row_;
};

/// out = W in, of groups first.. of a row of dA. Point n of instruction t is key 2 t + n % 2 of
/// group n / 2, so that a lane's results are neighbours.
template <class E>
__device__ inline HalfPoints mix_gradient(const WeightBlock& w, const GradientRow& in, int first,
                                          const Lane& lane) {
  const int group = first + lane.g / 2;
  const unsigned halves = lane.g % 2 == 0 ? 0x5410u : 0x7632u;
  Points x;
#pragma unroll
  for (int slot = 0; slot < 4; ++slot) {
    x.chunk[slot] = in.load(2 * lane.q + slot % 2 + slot / 2 * 8, group);
  }
  HalfPoints out;
#pragma unroll
  for (int t = 0; t < 4; ++t) {
    const auto word = [&](int slot) { return (&x.chunk[slot].x)[t]; };
    float mixed[4] = {};
    mma_k16<E>(mixed, w.a[0], w.a[1], w.a[2], w.a[3], __byte_perm(word(0), word(1), halves),
               __byte_perm(word(2), word(3), halves));
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      (&out.head[half].x)[t] = pack<E>(mixed[2 * half], mixed[2 * half + 1]);
    }
  }
  return out;
}

/// Half of the keys of the convolved heads of one row as they are, in E; `corner`: of the first.
template <class E>
__device__ inline HalfPoints half_of_convolved(const Number* corner) {
  HalfPoints out;
#pragma unroll
  for (int t = 0; t < 4; t += 2) {
    Word square[4];
    load_blocks(square, corner + t * kChunk);
#pragma unroll
    for (int n = 0; n < 4; ++n) (&out.head[n % 2].x)[t + n / 2] = convert<Half, E>(square[n]);
  }
  return out;
}

/// sums[row head, column head] += rows columns^T over 32 keys.
template <class E>
__device__ inline void accumulate_half_gram(float (&sums)[2][4], const HalfPoints& rows,
                                            const HalfPoints& columns) {
#pragma unroll
  for (int t = 0; t < 4; t += 2) {
    const auto word = [&](const HalfPoints& of, int half, int n) {
      return (&of.head[half].x)[t + n];
    };
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      mma_k16<E>(sums[half], word(rows, 0, 0), word(rows, 1, 0), word(rows, 0, 1), word(rows, 1, 1),
                 word(columns, half, 0), word(columns, half, 1));
    }
  }
}

/// What a warp does with its row of a step, once all heads of it are convolved.
template <class E>
class UnmixOutput {
 public:
  __device__ UnmixOutput(const ConvolvedMixingArgs& args, const FusedPlace& segment, int warp)
      : args_(args), segment_(segment), warp_(warp) {}

  /// Asks for dA of the step whose first row is `first`, at `place` in memory.
  __device__ void start(int first, unsigned place) const {
    if (first < segment_.end_row) {
      const UnitRow at(segment_, warp_, first);
      if (at.exists) row_of_gradient().start(args_.gradient, segment_, at.offset(place));
    }
    commit_copies();
  }

  /// A and dR of the row of the step whose first row is `first`, and what it gives to the sums.
  __device__ void mix(float (&sums)[2][4], const UnitStep& step, int first, unsigned place) const {
    const UnitRow at(segment_, warp_, first);
    if (!at.exists) return;
    const Number* const corner = step.corner(at);
    const std::ptrdiff_t offset = at.offset(place);
    const int causal = at.row + 1 - at.key;
    const GradientRow gradient = row_of_gradient();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Lane lane = own_place();
      const int first_group = 4 * half, group = first_group + lane.q;
      const auto keep_causal = [&](HalfPoints& points) {
        if (causal >= kTileKeys) return;
        for (uint4& piece : points.head) piece = keep_first(piece, causal - kChunk * group);
      };
      const auto store = [&](const MapView& view, const HalfPoints& points) {
        Number* const row =
            view.data + (segment_.first_map + lane.g) * view.numbers + offset + group * kChunk;
        const int left = segment_.unit.heads.in_count - lane.g;
        if (left > 0) store_piece(row, points.head[0]);
        if (left > 8) store_piece(row + 8 * view.numbers, points.head[1]);
      };
      {
        HalfPoints d_r = mix_gradient<E>(SharedWeights(1).get(), gradient, first_group, lane);
        keep_causal(d_r);
        store(args_.d_target, d_r);
      }
      {
        HalfPoints d_a = {{gradient.load(lane.g, group), gradient.load(lane.g + 8, group)}};
        keep_causal(d_a);
        accumulate_half_gram<E>(sums, half_of_convolved<E>(corner + first_group * kChunk), d_a);
      }
      HalfPoints a = mix_half<E>(SharedWeights(0).get(), corner + first_group * kChunk);
      keep_causal(a);
      if (args_.dropout.threshold > 0) drop_half(a, at.row, at.key + group * kChunk);
      store(args_.target, a);
    }
  }

 private:
  __device__ GradientRow row_of_gradient() const { return GradientRow(in_register(warp_)); }
  /// One piece after the other, as the random numbers take many registers.
  __device__ void drop_half(HalfPoints& points, int row, int key) const {
    DropoutArgs own = args_.dropout;
    auto low = static_cast<Word>(own.seed), high = static_cast<Word>(own.seed >> 32);
    asm volatile("" : "+r"(low), "+r"(high));  // keeps the generator's ten keys out of registers
    own.seed = static_cast<std::uint64_t>(high) << 32 | low;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int map = segment_.first_map + own_lane() / 4 + 8 * half;
      points.head[half] = drop<E>(points.head[half], own, map, row, key);
    }
  }

  const ConvolvedMixingArgs& args_;
  const FusedPlace& segment_;
  int warp_;
};

/// Adds the warps' sums, in order, to the block's slot of 256 numbers [head of R, head of dA].
__device__ inline void finish_unmix_sums(const float (&sums)[2][4], int warp, float* target) {
  const Lane lane = own_place();
  auto* const squares = reinterpret_cast<float*>(dynamic_shared<Number>() + kUnmixNumbers);
  static_assert(kMixingBlock * kWordBytes <= kRowNumbers * kNumberBytes, "in its own row of dA");
  constexpr int kPitch = kRowNumbers * kNumberBytes / kWordBytes;
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const int e = n % 4, row = lane.g + e / 2 * 8, column = n / 4 * 8 + 2 * lane.q + e % 2;
    squares[warp * kPitch + row * 16 + column] = sums[n / 4][e];
  }
  __syncthreads();
  const int own = static_cast<int>(threadIdx.x);
  if (own < kMixingBlock) {
    float sum = 0;
    for (int n = 0; n < kUnitWalkWarps; ++n) sum += squares[n * kPitch + own];
    target[own] += sum;
  }
  __syncthreads();
}

/// A block's walk down a piece of a column, as walk_unit.
template <int kBlocks, class E>
__device__ void walk_unmix(float (&gram)[2][4], const ConvolvedMixingArgs& args,
                           const ConvolutionArgs& source, const FusedPlace& place, int warp) {
  constexpr int kCopies = 2;  // groups a step: the ring's and dA's
  const UnitHead head(place, warp);
  const WalkPlaces places(args.source, head.begin);
  WalkInput<kBlocks, MapKind::SoftmaxWeights, kUnmixGroups> input(
      source, head.segment, head.begin,
      dynamic_shared<Number>() + warp * walk_numbers(kUnmixGroups));
  WalkSums<kBlocks, kMaxStreamedSpan> sums;
  load_bands(sums.band, source, head.segment.map % args.extent.heads);
  if (head.exists) start_ring(input, places, head.begin);
  const UnmixOutput<E> output(args, place, warp);
  output.start(place.first_row, places(place.first_row));
  const bool is_late = in_register(warp) / 4 % 2 == 1;
  const int end = place.end_row + (is_late ? kGroupRows : 0);
  for (int row = head.begin; row < end; row += kGroupRows) {
    const UnitStep step(row, kUnmixGroups);
    if (row < place.end_row && head.exists) {
      WalkedRows done;
      convolve_step<kCopies>(done, sums, input, places, row);
      if (row >= place.first_row) store_walked(step.head(warp), done);
    } else {
      if (row < place.end_row && row >= place.first_row) {
        WalkedRows none;
        clear(none);
        store_walked(step.head(warp), none);
      }
      commit_copies();
    }
    const bool meets = row >= place.first_row && row < place.end_row;
    if (meets && !is_late) __syncthreads();
    const int mixed = is_late ? row - kGroupRows : row;
    if (mixed >= place.first_row) {
      wait_for_copies<1>();
      __syncwarp();
      output.mix(gram, UnitStep(mixed, kUnmixGroups), mixed, places(mixed));
      __syncwarp();  // all lanes have read dA
      output.start(mixed + kGroupRows, places(mixed + kGroupRows));
    } else {
      commit_copies();
    }
    if (meets && is_late) __syncthreads();
  }
  wait_for_copies<0>();
  __syncwarp();
}

/// A = dropout(W R), dR = W^T dA and the gradient of W, with R = conv(exp(M - lse)). dR may take
/// the place of dA. A block has a slot of the sums for each unit that it works at.
template <int kBlocks, class E>
__global__ void __launch_bounds__(kUnitWalkWarps* kWarp, 1)
    convolved_mixing_backward_walk_kernel(const ConvolvedMixingArgs args,
                                          const ConvolutionArgs source, const UnitWalk walk) {
  wait_for_previous_kernel();
  const int warp = own_warp();
  for_each_segment(args, walk, [&](const FusedPlace& place, int counted) {
    if (warp < 2) {
      const Number* const weights = warp == 0 ? args.weights : args.transposed;
      SharedWeights(warp).put(load_weights(weights + place.unit.unit * kMixingBlock, own_place()));
    }
    float gram[2][4] = {};
    walk_unmix<kBlocks, E>(gram, args, source, place, warp);
    const int unit = (counted - 1) / walk.counts,
              slot = static_cast<int>(blockIdx.x) - walk.block_of(unit * walk.counts);
    finish_unmix_sums(
        gram, warp,
        args.sums + (static_cast<std::size_t>(unit) * args.slots + slot) * kMixingBlock);
  });
}

/// Blocks that may walk: with no more of them at a unit than it has slots. As shares differ by one,
/// what counts is the smaller one, of which each but one of a unit's blocks has all.
inline int most_unmix_blocks(const ConvolvedMixingArgs& args) {
  if (args.slots < 2) return 0;
  const int counts = unit_walk(args.extent.rows, false).counts,
            units = args.plan.units * (args.extent.maps / args.extent.heads);
  return units * counts / ceil_div(counts, args.slots - 1);
}

template <int kBlocks, class E>
void launch_unmix(const ConvolvedMixingArgs& args, cudaStream_t stream) {
  constexpr int kBytes = unmix_walk_shared_bytes();
  if (most_unmix_blocks(args) > 0 && unit_walks(args, kBytes)) {
    launch_unit_walk(convolved_mixing_backward_walk_kernel<kBlocks, E>, args, false,
                     most_unmix_blocks(args), kBytes, stream);
  } else {
    launch_fused_backward<kBlocks, E>(args, stream);
  }
}
template <int kBlocks>
void ConvolvedMixingKernels<kBlocks>::after_backward(const ConvolvedMixingArgs& args,
                                                     ElementType type, cudaStream_t stream) {
  if (type == ElementType::BFloat16) {
    launch_unmix<kBlocks, Brain>(args, stream);
  } else {
    launch_unmix<kBlocks, Half>(args, stream);
  }
}

}  // namespace mta::kernels
