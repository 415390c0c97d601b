// Prepares kernels and mixing weights for the matrix unit, with zeros for the partial sums of their
// gradients, and finishes these in order.
#include "lib/kernels/launch.cuh"
#include "lib/kernels/matrix_unit.cuh"
#include "lib/kernels/stages.h"

namespace mta::kernels {
namespace {

/// Which of a launch's parts a block works on, and the block's number among that part's.
template <int kParts>
struct PartBlock {
  int part = 0, block;
  __device__ explicit PartBlock(const int (&first_block)[kParts])
      : block(static_cast<int>(blockIdx.x)) {
    while (part + 1 < kParts && block >= first_block[part + 1]) ++part;
    block -= first_block[part];
  }
};

constexpr int kPrepareThreads = 256, kMaxTables = 4, kMaxMixings = 4;

/// Pair tables of a convolution's kernels, in `type`.
struct TableArgs {
  const float* kernel;  // [heads, c_q, c_k]
  Word* table;
  int heads, query_span, key_span, words;
  bool flipped;
  ElementType type;
};

/// Blocks of a mixing's weights, in `type`.
struct BlockArgs {
  const float* weight;  // [groups, c_h, c_h]
  Number* blocks;       // [units, parts, 16 outputs, 16 inputs]
  MixingPlan plan;
  int heads;
  bool transposed;  // outputs are the columns of `weight`
  ElementType type;
};

/// Parts of a launch: tables, mixings, and what is to be zero.
constexpr int kZeros = kMaxTables + kMaxMixings;

struct PrepareArgs {
  TableArgs tables[kMaxTables];
  BlockArgs mixings[kMaxMixings];
  uint4* zeros;
  std::size_t zero_pieces;
  int first_block[kZeros + 1];
};

__device__ Word pack_as(ElementType type, float low, float high) {
  return type == ElementType::BFloat16 ? pack<Brain>(low, high) : pack<Half>(low, high);
}

/// Word n of a table holds the taps n - kTableOrigin and the next.
__device__ void make_table(const TableArgs& args, int block) {
  const int place = block * kPrepareThreads + static_cast<int>(threadIdx.x);
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
  args.table[place] = pack_as(args.type, tap(word - kTableOrigin), tap(word - kTableOrigin + 1));
}

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

/// The 16x16 weights of a unit and part.
__device__ void make_block(const BlockArgs& args, int block) {
  const int unit = block / args.plan.parts, part = block % args.plan.parts;
  const int o = static_cast<int>(threadIdx.x) / 16, i = static_cast<int>(threadIdx.x) % 16;
  int output, input;
  block_heads(args.plan, args.heads, unit, part, o, i, output, input);
  const int index = args.transposed ? weight_index(args.plan, args.heads, input, output)
                                    : weight_index(args.plan, args.heads, output, input);
  const float value = index < 0 ? 0.0f : args.weight[index];
  args.blocks[block * kPrepareThreads + static_cast<int>(threadIdx.x)] =
      static_cast<Number>(pack_as(args.type, value, 0.0f) & 0xFFFFu);
}
static_assert(kPrepareThreads == 16 * 16, "a thread has one weight of a block");

constexpr int kZeroPieces = 8;  // of a thread
__device__ void make_zeros(uint4* zeros, std::size_t count, int block) {
  const auto first = static_cast<std::size_t>(block) * kZeroPieces * kPrepareThreads + threadIdx.x;
#pragma unroll
  for (int n = 0; n < kZeroPieces; ++n) {
    const std::size_t piece = first + static_cast<std::size_t>(n) * kPrepareThreads;
    if (piece < count) zeros[piece] = {};
  }
}

__global__ void __launch_bounds__(kPrepareThreads) prepare_kernel(const PrepareArgs args) {
  wait_for_previous_kernel();
  const PartBlock at(args.first_block);
  if (at.part < kMaxTables) {
    make_table(args.tables[at.part], at.block);
  } else if (at.part < kZeros) {
    make_block(args.mixings[at.part - kMaxTables], at.block);
  } else {
    make_zeros(args.zeros, args.zero_pieces, at.block);
  }
}

/// What one launch is to make.
class Preparation {
 public:
  Preparation(const PreparedWeights& prepared, int heads)
      : head_group_(prepared.head_group), heads_(heads) {}

  void add_table(const Convolution& conv, Word* table, bool flipped, ElementType type) {
    const int part = tables_++;
    if (table == nullptr) return;
    const KeyWindow window = key_window(conv.pad_left, conv.key_span);
    const int words =
        table_words(built_blocks(flipped ? transposed(window).blocks : window.blocks));
    args_.tables[part] = {conv.kernel,   table, heads_,  conv.query_span,
                          conv.key_span, words, flipped, type};
    blocks_[part] = ceil_div(heads_ * conv.query_span * words, kPrepareThreads);
  }
  void add_mixing(const Mixing& mix, Number* blocks, bool transposed, ElementType type) {
    const int part = mixings_++;
    if (blocks == nullptr) return;
    const MixingPlan plan = mixing_plan(mix, heads_, head_group_);
    args_.mixings[part] = {mix.weight, blocks, plan, heads_, transposed, type};
    blocks_[kMaxTables + part] = plan.units * plan.parts;
  }
  void add_zeros(void* zeros, std::size_t bytes) {
    args_.zeros = static_cast<uint4*>(zeros);
    args_.zero_pieces = bytes / sizeof(uint4);
    constexpr std::size_t kOfBlock = kZeroPieces * kPrepareThreads;
    blocks_[kZeros] = static_cast<int>((args_.zero_pieces + kOfBlock - 1) / kOfBlock);
  }
  void run(cudaStream_t stream) {
    int blocks = 0;
    for (int part = 0; part <= kZeros; ++part) {
      args_.first_block[part] = blocks;
      blocks += blocks_[part];
    }
    if (blocks == 0) return;
    launch(prepare_kernel, static_cast<unsigned>(blocks), kPrepareThreads, 0, stream, args_);
  }

 private:
  PrepareArgs args_ = {};
  int head_group_, heads_, tables_ = 0, mixings_ = 0;
  int blocks_[kZeros + 1] = {};
};

constexpr int kReduceThreads = 1024, kMaxSums = 4;
/// Columns of a block that adds up rows in their place, and of one that makes gradients of them.
constexpr int kRowColumns = 256, kGradientColumns = 32;
/// Rows that are added up in the place of their first one, where a gradient is the sum of many.
constexpr int kSummedRows = 64, kManyRows = 512;

struct SumsArgs {
  GradientSums sums[kMaxSums];
  int rows_each[kMaxSums];  // kSummedRows where rows have been, or are to be, added up so; else 1
  int first_block[kMaxSums];
};

/// The sum of one of `columns` columns over `count` rows: threads are slices of that many columns
/// and take every slices-th row, and slices are added up in order, which does not depend on the
/// run. Of use in the first slice. `value(n)`: this thread's number of row n.
template <class Value>
__device__ float sum_rows(int columns, int count, Value&& value) {
  __shared__ float sums[kReduceThreads];
  const int slices = kReduceThreads / columns, slice = static_cast<int>(threadIdx.x) / columns;
  float sum = 0;
  if (slice < slices) {
    constexpr int kLoads = 8;  // on their way together, also the last ones
    for (int n = slice; n < count; n += kLoads * slices) {
      float values[kLoads];
#pragma unroll
      for (int load = 0; load < kLoads; ++load) {
        const int row = n + load * slices;
        values[load] = value(min(row, count - 1));
        if (row >= count) values[load] = 0;
      }
#pragma unroll
      for (const float x : values) sum += x;
    }
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (slice > 0) return 0;
  for (int other = 1; other < slices; ++other) sum += sums[other * columns + threadIdx.x];
  return sum;
}

/// Adds up each kSummedRows rows in the place of their first one: whole rows at a time, where
/// weight_gradient_kernel's blocks take 128 bytes of each. Blocks: [batch and unit, rows, columns].
__global__ void __launch_bounds__(kReduceThreads) slot_sums_kernel(const SumsArgs args) {
  wait_for_previous_kernel();
  const PartBlock at(args.first_block);
  const GradientSums& of = args.sums[at.part];
  const int columns = min(of.width, kRowColumns), across = ceil_div(of.width, columns),
            pieces = ceil_div(of.slots, kSummedRows);
  const int first_slot = at.block / across % pieces * kSummedRows,
            column = at.block % across * columns + static_cast<int>(threadIdx.x) % columns;
  const auto outer = static_cast<std::size_t>(at.block / across / pieces);
  float* first = of.sums + (outer * of.slots + first_slot) * of.width + column;
  const int count = column < of.width ? min(kSummedRows, of.slots - first_slot) : 0;
  const float sum = sum_rows(columns, count, [&](int n) { return first[n * of.width]; });
  if (static_cast<int>(threadIdx.x) < columns && column < of.width) *first = sum;
}

/// Where the sum of a column goes in the gradient; -1: nowhere.
__device__ int gradient_index(const GradientSums& of, int unit, int column) {
  if (of.plan.parts == 0) return unit * of.width + column;
  int output, input;
  block_heads(of.plan, of.heads, unit / of.plan.parts, unit % of.plan.parts, column / 16,
              column % 16, output, input);
  return weight_index(of.plan, of.heads, output, input);
}

/// Blocks: [unit, columns].
__global__ void __launch_bounds__(kReduceThreads) weight_gradient_kernel(const SumsArgs args) {
  wait_for_previous_kernel();
  const PartBlock at(args.first_block);
  const GradientSums& of = args.sums[at.part];
  const int across = ceil_div(of.width, kGradientColumns), unit = at.block / across,
            column = at.block % across * kGradientColumns +
                     static_cast<int>(threadIdx.x) % kGradientColumns;
  const int rows_each = args.rows_each[at.part], pieces = ceil_div(of.slots, rows_each);
  const int count = column < of.width ? of.batches * pieces : 0;
  const float sum = sum_rows(kGradientColumns, count, [&](int n) {
    const auto outer = static_cast<std::size_t>(n / pieces * of.units + unit);
    return of.sums[(outer * of.slots + n % pieces * rows_each) * of.width + column];
  });
  if (static_cast<int>(threadIdx.x) >= kGradientColumns || column >= of.width) return;
  const int index = gradient_index(of, unit, column);
  if (index >= 0) of.gradient[index] = sum;
}

/// Launches `kernel` with blocks_of(n) blocks for the n-th sums; not at all if there are none.
template <class BlocksOf>
void launch_for_sums(void (*kernel)(SumsArgs), SumsArgs args, int count, cudaStream_t stream,
                     BlocksOf&& blocks_of) {
  int blocks = 0;
  for (int n = 0; n < kMaxSums; ++n) {
    args.first_block[n] = blocks;
    if (n < count) blocks += blocks_of(n);
  }
  if (blocks == 0) return;
  launch(kernel, static_cast<unsigned>(blocks), kReduceThreads, 0, stream, args);
}

}  // namespace

void prepare_weights(const Problem& p, const PreparedWeights& prepared, cudaStream_t stream) {
  constexpr ElementType kMaps = ElementType::Float16;
  Preparation all(prepared, p.heads);
  all.add_table(p.conv_before, prepared.table_before, false, kMaps);
  all.add_table(p.conv_after, prepared.table_after, false, kMaps);
  all.add_table(p.conv_before, prepared.flipped_before, true, p.type);
  all.add_table(p.conv_after, prepared.flipped_after, true, p.type);
  all.add_mixing(p.mix_before, prepared.mix_before, false, kMaps);
  all.add_mixing(p.mix_after, prepared.mix_after, true, kMaps);
  all.add_mixing(p.mix_before, prepared.unmix_before, true, p.type);
  all.add_mixing(p.mix_after, prepared.unmix_after, false, p.type);
  all.add_zeros(prepared.zeros, prepared.zero_bytes);
  all.run(stream);
}

void finish_gradients(const GradientSums* sums, int count, cudaStream_t stream) {
  SumsArgs args = {};
  for (int n = 0; n < count; ++n) {
    args.sums[n] = sums[n];
    args.rows_each[n] = sums[n].batches * sums[n].slots > kManyRows ? kSummedRows : 1;
  }
  launch_for_sums(slot_sums_kernel, args, count, stream, [&](int n) {
    const GradientSums& of = sums[n];
    if (args.rows_each[n] == 1) return 0;
    return of.batches * of.units * ceil_div(of.slots, kSummedRows) *
           ceil_div(of.width, min_of(of.width, kRowColumns));
  });
  launch_for_sums(weight_gradient_kernel, args, count, stream,
                  [&](int n) { return sums[n].units * ceil_div(sums[n].width, kGradientColumns); });
}

}  // namespace mta::kernels
