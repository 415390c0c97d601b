// Stage: the kq convolution after the softmax made again together with the gradients of the head
// mixing after it, in one kernel: A, dR and the mixing's gradient from M and dA. R is not stored.
// By tiles, where blocks cannot walk (convolved_mixing_backward_walk.cuh).
#pragma once

#include "lib/kernels/convolved_mixing.cuh"
#include "lib/kernels/head_mixing_backward.cuh"

namespace mta::kernels {

constexpr int kRowsAWarp = kFusedRows / kFusedWarps;  // of a warp

/// Where a lane reads dA of rows in input layout; zeros for heads that the unit does not have.
struct GradientLoad {
  std::ptrdiff_t offset;  // of head 2q of the first row, from the maps' data on
  int heads;              // of the unit, from head 2q on
  /// Of rows from row r of the block on, to a multiple of kMapRows.
  __device__ GradientLoad(const MapView& view, const FusedPlace& place, int r)
      : offset(fused_row(view, place, place.first_map + 2 * lane_place().q, r) +
               input_group() * kChunk),
        heads(place.unit.heads.in_count - 2 * lane_place().q) {}
  /// The n-th row.
  __device__ Points operator()(const MapView& view, int n) const {
    const Number* const row = view.data + offset + n * kTileKeys;
    Points points = {};
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int head = n % 2 + n / 2 * 8;
      if (head < heads)
        points.chunk[n] = *reinterpret_cast<const uint4*>(row + head * view.numbers);
    }
    return points;
  }
};

/// `out` = W in, and `moved` = in, both in output layout: as mix_points and to_output_layout, but
/// two keys of each group at a time: the barriers keep all sixteen products from being in registers
/// at once.
template <class E>
__device__ inline void mix_and_move(Points& out, Points& moved, const WeightBlock& w,
                                    const Points& in) {
  const WeightBlock identity = identity_weights<E>();
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    __syncwarp();
    const auto word = [&](int slot) { return (&in.chunk[slot].x)[s]; };
    float mixed[2][4] = {}, same[2][4] = {};
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      const unsigned halves = t == 0 ? 0x5410u : 0x7632u;
      const Word low = __byte_perm(word(0), word(1), halves),
                 high = __byte_perm(word(2), word(3), halves);
      mma_k16<E>(mixed[t], w.a[0], w.a[1], w.a[2], w.a[3], low, high);
      mma_k16<E>(same[t], identity.a[0], 0u, 0u, identity.a[3], low, high);
    }
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      (&out.chunk[n].x)[s] = pack<E>(mixed[0][n], mixed[1][n]);
      (&moved.chunk[n].x)[s] = pack<E>(same[0][n], same[1][n]);
    }
  }
}

/// Adds the warps' sums, in order, to the block's slot of 256 numbers [head of R, head of dA].
/// `shared` is memory that nobody needs any more.
__device__ inline void finish_fused_sums(const float (&sums)[2][4], float* shared, float* target) {
  const Lane lane = lane_place();
  float* const square = shared + static_cast<int>(threadIdx.x) / kWarp * kMixingBlock;
  __syncthreads();
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const int e = n % 4, row = lane.g + e / 2 * 8, column = n / 4 * 8 + 2 * lane.q + e % 2;
    square[row * 16 + column] = sums[n / 4][e];
  }
  __syncthreads();
  static_assert(kFusedWarps * kWarp == kMixingBlock, "a thread adds up one number");
  float sum = 0;
  for (int warp = 0; warp < kFusedWarps; ++warp) sum += shared[warp * kMixingBlock + threadIdx.x];
  target[threadIdx.x] += sum;
}

/// dR of this warp's rows, and their part of the gradient of W.
template <int kBlocks, class E, FusedRows kRows>
__device__ void unmix_rows(float (&sums)[2][4], Number* shared, int head_numbers,
                           const ConvolvedMixingArgs& args, const FusedPlace& place) {
  const int first = static_cast<int>(threadIdx.x) / kWarp * kRowsAWarp,
            rows = min(kRowsAWarp, place.end_row - place.first_row - first);
  if (rows <= 0) return;
  const WeightBlock w = load_weights(args.transposed + place.unit.unit * kMixingBlock);
  const FusedStore store(args.d_target, place, first);
  const GradientLoad load(args.gradient, place, first);
  Points d_a = load(args.gradient, 0);
#pragma unroll 1
  for (int n = 0; n < rows; ++n) {
    const int r = first + n;
    const Points next = n + 1 < rows ? load(args.gradient, n + 1) : Points{};
    keep_causal_inputs(d_a, place.first_row + r, place.first_key);
    Points d_r, d_a_out;
    mix_and_move<E>(d_r, d_a_out, w, d_a);
    store(args.d_target, n, d_r);
    __syncwarp();
    Points r_out = convolved_points(convolved_corner<kBlocks>(
        shared, head_numbers, args, first_convolved_row<kRows>(args.query_span), r));
#pragma unroll
    for (int m = 0; m < 4; ++m) r_out.chunk[m] = convert_chunk<Half, E>(r_out.chunk[m]);
    accumulate_gram<E>(sums, r_out, d_a_out);
    d_a = next;
  }
}

/// Blocks a multiprocessor that registers must leave room for: code for compute capability 8, and
/// for wide query spans, spills a few at two.
template <FusedRows kRows>
constexpr int kFusedBackwardBlocks =
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
    1;
#else
    kRows == FusedRows::Streamed ? kFusedBlocks : 1;
#endif

/// A = dropout(W R), dR = W^T dA and the gradient of W, with R = conv(exp(M - lse)). dR may take
/// the place of dA: a warp has read all heads of a row before it writes them. The same grid.
template <int kBlocks, class E, FusedRows kRows>
__global__ void __launch_bounds__(kFusedWarps* kWarp, kFusedBackwardBlocks<kRows>)
    convolved_mixing_backward_kernel(const ConvolvedMixingArgs args) {
  wait_for_previous_kernel();
  Number* const shared = dynamic_shared<Number>();
  const FusedPlace place = fused_place(args);
  if (place.first_key >= written_keys(place.end_row - 1, args.extent.tokens, 0)) return;
  const int head_numbers = fused_head_numbers(kBlocks, args.query_span);
  convolve_unit<kBlocks, MapKind::SoftmaxWeights, kRows>(shared, head_numbers, args, place);
  __syncthreads();
  float sums[2][4] = {};
  unmix_rows<kBlocks, E, kRows>(sums, shared, head_numbers, args, place);
  mix_rows<kBlocks, MapKind::SoftmaxWeights, E, kRows>(shared, head_numbers, args, place);
  const auto unit = static_cast<std::size_t>(place.unit.batch * args.plan.units + place.unit.unit);
  const auto slot = static_cast<std::size_t>(blockIdx.y * gridDim.x + blockIdx.x);
  finish_fused_sums(sums, dynamic_shared<float>(),
                    args.sums + (unit * args.slots + slot) * kMixingBlock);
}

template <int kBlocks, class E>
void launch_fused_backward(const ConvolvedMixingArgs& args, cudaStream_t stream) {
  launch_fused<kBlocks>(args.query_span > kMaxStreamedSpan
                            ? convolved_mixing_backward_kernel<kBlocks, E, FusedRows::Sixteen>
                            : convolved_mixing_backward_kernel<kBlocks, E, FusedRows::Streamed>,
                        args, stream);
}

}  // namespace mta::kernels
