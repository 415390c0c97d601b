// Prepares kernels and mixing weights for the matrix unit, and finishes their gradients from
// ordered partial sums.
#include "lib/kernels/launch.cuh"
#include "lib/kernels/matrix_unit.cuh"
#include "lib/kernels/stages.h"

namespace mta::kernels {
namespace {

constexpr int kPrepareThreads = 256;

struct TableArgs {
  const float* kernel;  // [heads, c_q, c_k]
  Word* table;
  int heads, query_span, key_span, words;
  bool flipped;
};

/// Pair tables: word n holds the taps n - kTableOrigin and the next.
template <class E>
__global__ void __launch_bounds__(kPrepareThreads) table_kernel(const TableArgs args) {
  wait_for_previous_kernel();
  const int place = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (place >= args.heads * args.query_span * args.words) return;
  const int word = place % args.words, a = place / args.words % args.query_span;
  const int head = place / args.words / args.query_span;
  const float* taps =
      args.kernel + static_cast<std::size_t>(head) * args.query_span * args.key_span;
  const auto tap = [&](int b) {
    if (b < 0 || b >= args.key_span) return 0.0f;
    if (args.flipped)
      return taps[(args.query_span - 1 - a) * args.key_span + args.key_span - 1 - b];
    return taps[a * args.key_span + b];
  };
  args.table[place] = pack<E>(tap(word - kTableOrigin), tap(word - kTableOrigin + 1));
}

struct BlockArgs {
  const float* weight;  // [groups, c_h, c_h]
  Number* blocks;       // [units, parts, 16 outputs, 16 inputs]
  MixingPlan plan;
  int heads;
  bool transposed;  // outputs are the columns of `weight`
};

/// Index into [groups, c_h, c_h] of (row, column), or -1 where the heads are not of one group.
__device__ int weight_index(const MixingPlan& plan, int heads, int row, int column) {
  const int c = plan.group;
  if (row >= heads || column >= heads || row / c != column / c) return -1;
  return row * c + column % c;
}

/// Heads of the output and the input at (unit, part, o, i); past the unit's heads they are `heads`.
__device__ void block_heads(const MixingPlan& plan, int heads, int unit, int part, int o, int i,
                            int& output, int& input) {
  const MixingUnit u = mixing_unit(plan, unit, heads);
  output = o < u.out_count ? u.out_first + o : heads;
  input = 16 * part + i < u.in_count ? u.in_first + 16 * part + i : heads;
}

template <class E>
__global__ void __launch_bounds__(kPrepareThreads) block_kernel(const BlockArgs args) {
  wait_for_previous_kernel();
  const int unit = static_cast<int>(blockIdx.x) / args.plan.parts,
            part = static_cast<int>(blockIdx.x) % args.plan.parts;
  const int o = static_cast<int>(threadIdx.x) / 16, i = static_cast<int>(threadIdx.x) % 16;
  int output, input;
  block_heads(args.plan, args.heads, unit, part, o, i, output, input);
  const int index = args.transposed ? weight_index(args.plan, args.heads, input, output)
                                    : weight_index(args.plan, args.heads, output, input);
  const float value = index < 0 ? 0.0f : args.weight[index];
  args.blocks[blockIdx.x * 256 + threadIdx.x] = static_cast<Number>(pack<E>(value, 0.0f) & 0xFFFFu);
}

template <class E>
void prepare_table(const Convolution& conv, Word* table, int heads, bool flipped,
                   cudaStream_t stream) {
  if (table == nullptr) return;
  const KeyWindow window = key_window(conv.pad_left, conv.key_span);
  const int words = table_words(built_blocks(flipped ? transposed(window).blocks : window.blocks));
  const TableArgs args = {conv.kernel,   table, heads,  conv.query_span,
                          conv.key_span, words, flipped};
  const int count = heads * conv.query_span * words;
  launch(table_kernel<E>, static_cast<unsigned>(ceil_div(count, kPrepareThreads)), kPrepareThreads,
         0, stream, args);
}

template <class E>
void prepare_blocks(const Mixing& mix, Number* blocks, int heads, int head_group, bool transposed,
                    cudaStream_t stream) {
  if (blocks == nullptr) return;
  const MixingPlan plan = mixing_plan(mix, heads, head_group);
  const BlockArgs args = {mix.weight, blocks, plan, heads, transposed};
  launch(block_kernel<E>, static_cast<unsigned>(plan.units * plan.parts), kPrepareThreads, 0,
         stream, args);
}

template <class E>
void prepare_backward(const Problem& p, const PreparedWeights& prepared, cudaStream_t stream) {
  prepare_table<E>(p.conv_before, prepared.flipped_before, p.heads, true, stream);
  prepare_table<E>(p.conv_after, prepared.flipped_after, p.heads, true, stream);
  prepare_blocks<E>(p.mix_before, prepared.unmix_before, p.heads, prepared.head_group, true,
                    stream);
  prepare_blocks<E>(p.mix_after, prepared.unmix_after, p.heads, prepared.head_group, false, stream);
}

constexpr int kReduceWidth = 4, kReduceSlices = 256;

/// Partial sums [outer, slots, width], of which those of every stride-th outer block from `first`
/// on belong together: `batches` x slots rows.
struct SlotRows {
  int first, batches, stride, slots, width;
  __device__ int count() const { return batches * slots; }
  __device__ std::size_t operator()(int n) const {
    const int outer = first + n / slots * stride;
    return (static_cast<std::size_t>(outer) * slots + n % slots) * width;
  }
};

/// The sum of one column over every step-th row. A slice takes every 256th of them, and slices are
/// added up in pairs, so that the order does not depend on the run. Lane: column; threadIdx.y:
/// slice.
__device__ float sum_slots(const float* sums, const SlotRows& rows, int step, int column) {
  __shared__ float slices[kReduceSlices][kReduceWidth];
  const int slice = static_cast<int>(threadIdx.y);
  float sum = 0;
#pragma unroll 8  // a load each, on their way together
  for (int n = slice * step; n < rows.count() && column < rows.width; n += kReduceSlices * step) {
    sum += sums[rows(n) + column];
  }
  slices[slice][threadIdx.x] = sum;
  for (int half = kReduceSlices / 2; half > 0; half /= 2) {
    __syncthreads();
    if (slice < half) slices[slice][threadIdx.x] += slices[slice + half][threadIdx.x];
  }
  return slices[slice][threadIdx.x];  // of use in slice 0
}

__global__ void __launch_bounds__(kReduceWidth* kReduceSlices)
    convolution_gradient_kernel(const float* sums, float* gradient, int batches, int heads,
                                int slots, int taps) {
  wait_for_previous_kernel();
  const int column = static_cast<int>(blockIdx.x * kReduceWidth + threadIdx.x),
            head = static_cast<int>(blockIdx.y);
  const float sum = sum_slots(sums, {head, batches, heads, slots, taps}, 1, column);
  if (threadIdx.y == 0 && column < taps) gradient[head * taps + column] = sum;
}

constexpr int kSummedRows = 64, kRowSlices = 4;

/// Adds up each 64 rows of sums of the mixings' gradients in the place of their first one: whole
/// rows of 1 KB at a time, where mixing_gradient_kernel's blocks take 16 bytes of each. Grid: (64
/// rows, units x parts); threadIdx.x: column.
__global__ void __launch_bounds__(kMixingBlock* kRowSlices)
    mixing_gradient_rows_kernel(float* sums, int batches, int slots) {
  wait_for_previous_kernel();
  __shared__ float slices[kRowSlices][kMixingBlock];
  const SlotRows rows = {static_cast<int>(blockIdx.y), batches, static_cast<int>(gridDim.y), slots,
                         kMixingBlock};
  constexpr int kOwnRows = kSummedRows / kRowSlices;
  const int slice = static_cast<int>(threadIdx.y), column = static_cast<int>(threadIdx.x),
            first = static_cast<int>(blockIdx.x) * kSummedRows;
  float sum = 0;
#pragma unroll 8
  for (int n = 0; n < kOwnRows; ++n) {
    const int row = first + slice * kOwnRows + n;
    if (row < rows.count()) sum += sums[rows(row) + column];
  }
  slices[slice][column] = sum;
  __syncthreads();
  if (slice > 0) return;
  for (int other = 1; other < kRowSlices; ++other) sum += slices[other][column];
  sums[rows(first) + column] = sum;
}

__global__ void __launch_bounds__(kReduceWidth* kReduceSlices)
    mixing_gradient_kernel(const float* sums, float* gradient, int batches, MixingPlan plan,
                           int heads, int slots, int step) {
  wait_for_previous_kernel();
  const int column =
      static_cast<int>(blockIdx.x * kReduceWidth + threadIdx.x);  // 16 row + column of the square
  const int unit = static_cast<int>(blockIdx.y) / plan.parts,
            part = static_cast<int>(blockIdx.y) % plan.parts;
  const SlotRows rows = {static_cast<int>(blockIdx.y), batches, plan.units * plan.parts, slots,
                         kMixingBlock};
  const float sum = sum_slots(sums, rows, step, column);
  int output, input;
  block_heads(plan, heads, unit, part, column / 16, column % 16, output, input);
  const int index = weight_index(plan, heads, output, input);
  if (threadIdx.y == 0 && index >= 0) gradient[index] = sum;
}

}  // namespace

void prepare_weights(const Problem& p, const PreparedWeights& prepared, cudaStream_t stream) {
  prepare_table<Half>(p.conv_before, prepared.table_before, p.heads, false, stream);
  prepare_table<Half>(p.conv_after, prepared.table_after, p.heads, false, stream);
  prepare_blocks<Half>(p.mix_before, prepared.mix_before, p.heads, prepared.head_group, false,
                       stream);
  prepare_blocks<Half>(p.mix_after, prepared.mix_after, p.heads, prepared.head_group, true, stream);
  if (p.type == ElementType::BFloat16) {
    prepare_backward<Brain>(p, prepared, stream);
  } else {
    prepare_backward<Half>(p, prepared, stream);
  }
}

void finish_convolution_gradient(const Convolution& conv, const float* sums, int batches, int heads,
                                 int slots, cudaStream_t stream) {
  const int taps = conv.query_span * conv.key_span;
  const dim3 grid(static_cast<unsigned>(ceil_div(taps, kReduceWidth)),
                  static_cast<unsigned>(heads));
  launch(convolution_gradient_kernel, grid, dim3(kReduceWidth, kReduceSlices), 0, stream, sums,
         conv.gradient, batches, heads, slots, taps);
}

void finish_mixing_gradient(const Mixing& mix, float* sums, int batches, int heads, int head_group,
                            int slots, cudaStream_t stream) {
  const MixingPlan plan = mixing_plan(mix, heads, head_group);
  const auto blocks = static_cast<unsigned>(plan.units * plan.parts);
  const bool many = batches * slots > kReduceSlices;
  if (many) {
    launch(mixing_gradient_rows_kernel,
           dim3(static_cast<unsigned>(ceil_div(batches * slots, kSummedRows)), blocks),
           dim3(kMixingBlock, kRowSlices), 0, stream, sums, batches, slots);
  }
  launch(mixing_gradient_kernel, dim3(kMixingBlock / kReduceWidth, blocks),
         dim3(kReduceWidth, kReduceSlices), 0, stream, sums, mix.gradient, batches, plan, heads,
         slots, many ? kSummedRows : 1);
}

}  // namespace mta::kernels
