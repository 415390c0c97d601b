// How a problem is cut into chunks of rows and batch elements, and where its buffers lie in the
// workspace.
#pragma once

#include "lib/kernels/params.h"
#include "lib/kernels/tile_plan.h"

#include <cstddef>
#include <cstdint>

namespace mta::kernels {

constexpr std::size_t kDefaultWorkspaceBytes = std::size_t{512} << 20;

/// Bytes to give a call so that it stays within `budget`; more than `budget` only if the smallest
/// chunk (one batch element, the fewest heads, 64 rows) needs it. Grows linearly with T for a fixed
/// number of rows a chunk. 0 if check(problem) fails.
std::size_t forward_workspace_bytes(const Problem& problem,
                                    std::size_t budget = kDefaultWorkspaceBytes);
/// `with_output`: the call gets o.
std::size_t backward_workspace_bytes(const Problem& problem, std::size_t budget, bool with_output);

enum class Direction { Forward, Backward };

/// Heads are mixed 16 at a time: several whole groups in one block, or one group in several blocks.
struct MixingPlan {
  int group = 0;         // c_h
  int parts = 0;         // 16-head blocks that one output block reads: 1, 2 or 4; 0: no mixing
  int units = 0;         // output blocks for all H heads
  int heads_a_unit = 0;  // first-head step between units of different groups
};
/// `head_group` heads are in flight at a time: no unit spans two such groups.
MixingPlan mixing_plan(const Mixing& mix, int heads, int head_group);

constexpr int kMixingBlock = 16 * 16;  // numbers of a block of weights, or of a gradient

/// First head and number of heads that unit `unit` reads (in_*), and writes (out_*).
struct MixingUnit {
  int in_first, in_count, out_first, out_count;
};
MTA_HOST_DEVICE constexpr MixingUnit mixing_unit(const MixingPlan& plan, int unit, int heads) {
  if (plan.parts == 1) {
    const int first = unit * plan.heads_a_unit;
    const int count = min_of(plan.heads_a_unit, heads - first);
    return {first, count, first, count};
  }
  const int first = unit / plan.parts * plan.group;
  const int offset = unit % plan.parts * 16;
  return {first, plan.group, first + offset, min_of(16, plan.group - offset)};
}

/// The unit that head `head` is in: the first of its group where that spans several.
MTA_HOST_DEVICE constexpr int unit_of_head(const MixingPlan& plan, int head) {
  return plan.parts == 1 ? head / plan.heads_a_unit : head / plan.group * plan.parts;
}

/// Rows beyond a chunk's own that a lagging stage may cover in the last chunk, and that a ring
/// keeps.
constexpr int kSpareRows = 32;

/// How the backward of a convolution is cut into blocks, each of which adds its part of the
/// kernel's gradient to a slot of its own, in the order [row tile or segment, strip].
struct ConvolutionBlocks {
  bool streamed = false;   // rows stream through a warp: kq_convolution_streamed.cuh
  int rows = 0, keys = 0;  // of a block
  int slots = 0;           // for one map
};

/// Offsets in bytes into the workspace; kNone where a buffer is not needed.
struct WorkspacePlan {
  static constexpr std::size_t kNone = ~std::size_t{0};
  LaunchPlan launch;    // the problem's, with every number filled in
  int batch_group = 0;  // batch elements in flight
  int head_group = 0;   // heads in flight; fewer than H only with one batch element
  int rows = 0;         // query rows a chunk; a multiple of 64, or T
  int key_tiles = 0;    // of 64 keys in a row
  MapShape shape = {};  // of a map in memory; triangular where a chunk has all rows
  std::size_t map_bytes = 0;
  // Prepared weights: Toeplitz tables and 16x16 mixing blocks.
  std::size_t table_before = kNone, table_after = kNone;
  std::size_t flipped_before = kNone, flipped_after = kNone;
  std::size_t mix_before = kNone, mix_after = kNone;
  std::size_t unmix_before = kNone, unmix_after = kNone;
  // Maps. Several names may share one buffer: see README.md, "Buffers".
  std::size_t scores = kNone, convolved = kNone, mixed = kNone;
  std::size_t reconvolved = kNone, weights = kNone;                  // R and A
  std::size_t d_weights = kNone, d_reconvolved = kNone;              // dA and dR
  std::size_t d_softmax = kNone, d_mixed = kNone, d_scores = kNone;  // dP, dC and dS
  // Row statistics and ordered partial sums.
  std::size_t softmax_partials = kNone;  // float2 [maps, key_tiles, rows]: see RowStatistics
  std::size_t dot_partials = kNone;      // float [maps, key_tiles, rows + spare]: sum_j P dP
  std::size_t dots = kNone;              // float [maps, rows + spare]
  std::size_t conv_sums_before = kNone, conv_sums_after = kNone;
  ConvolutionBlocks blocks_before, blocks_after;  // that the two are from
  std::size_t mix_sums_before = kNone, mix_sums_after = kNone;
  std::size_t sums_begin = 0, sums_end = 0;      // the four above: cleared once a call
  std::size_t d_k_sum = kNone, d_v_sum = kNone;  // float [maps, T, d]; only with several chunks
  std::size_t sum_partials = kNone;  // float [parts, maps, rows, d], of several parts of the keys
  std::size_t bytes = 0;
  int keys() const { return key_tiles * kTileKeys; }
};

/// Numbers from one map to the next.
constexpr std::int64_t map_numbers(const MapShape& shape) {
  return static_cast<std::int64_t>(shape.tiles()) * kMapTile;
}

/// Of the chain: the largest chunks that fit into `budget`; the smallest ones if none fits (then
/// bytes > budget).
WorkspacePlan workspace_plan(const Problem& problem, Direction direction, std::size_t budget);

/// Can rows stream through a warp in this convolution's backward?
bool gradients_stream(const Problem& p, const Convolution& conv);
/// Is there a convolution in this direction that may work by tiles, in strips of convolution_keys?
bool convolves_by_tiles(const Problem& p, Direction direction);
/// Does the backward of the convolution before the softmax make dM itself, of M and dP? It reads
/// rows that an earlier chunk has finished, whose dots are gone: a chunk must have all rows.
bool softmax_streams(const Problem& p, const WorkspacePlan& plan);
/// The blocks of its backward in the chain.
ConvolutionBlocks convolution_blocks(const Problem& p, const Convolution& conv,
                                     const WorkspacePlan& plan);
/// Blocks of 64 rows and a strip of keys that write partial sums for one map in one launch, in the
/// order [row tile, strip].
inline int convolution_sum_slots(const WorkspacePlan& plan) {
  return ceil_div(plan.rows + kSpareRows, kTileRows) *
         ceil_div(plan.keys(), plan.launch.convolution_keys);
}
/// The slots of one mixing unit of one batch element, [row group, strip]: room for the blocks of a
/// mixing, and for those of a convolution and mixing in one kernel.
inline int mixing_sum_slots(const WorkspacePlan& plan) {
  const int alone = ceil_div(plan.rows + kSpareRows, plan.launch.mixing_rows) *
                    ceil_div(plan.keys(), plan.launch.mixing_keys);
  const int fused = ceil_div(plan.rows, kFusedRows) * plan.key_tiles;
  return max_of(alone, fused);
}

/// Keys past the diagonal that a row of the score map, and of its gradient, reaches.
inline int score_reach(const Problem& p) {
  const bool exact = p.conv_before.kernel != nullptr && p.causality == Causality::Exact;
  return exact ? p.conv_before.query_span - 1 : 0;
}

/// Nothing stands between the softmax and the weighted sum: the products make A from M themselves.
inline bool weights_from_softmax(const Problem& p) {
  return p.conv_after.kernel == nullptr && p.mix_after.weight == nullptr && p.dropout.rate == 0;
}

/// Is head mixing the only stage before A, with the groups of 16 heads or fewer? Then each map but
/// S and dA is made in registers, and only A and dS are stored, in their places (mixing_alone.cu).
bool mixing_alone(const Problem& p);

/// Is the forward one kernel that keeps no map (one_pass_forward.cuh)? Its workspace holds tables
/// only.
bool forward_in_one_pass(const Problem& p);
WorkspacePlan one_pass_plan(const Problem& p);

/// Can the backward, given o, do with one kernel and two transposed sums, and P and dS as its only
/// maps (one_pass_backward.cuh)?
bool backward_in_one_pass(const Problem& p);
/// Its largest chunks that fit into `budget`, or the smallest ones.
WorkspacePlan one_pass_backward_plan(const Problem& p, std::size_t budget);

/// Does one kernel make this convolution and the mixing after it (convolved_mixing.cuh), on a card
/// that gives a block `shared_bytes` of shared memory? The buffers are the same either way.
bool stages_are_fused(const Convolution& conv, const Mixing& mix, const WorkspacePlan& plan,
                      int shared_bytes);

/// One chunk of a batch group and a head group: the rows of its forward stages, and of the gradient
/// stages that lag behind them.
struct Chunk {
  int first_batch, batches, first_head, heads;
  RowRange rows;          // S, C, M, R, A, dA, dR
  RowRange softmax_rows;  // dP, dC: lag of the convolution after softmax
  RowRange score_rows;    // dS: that and the lag of the convolution before softmax
};

/// Calls `visit(chunk)` for every chunk, rows ascending inside each group of batch elements and
/// heads. Stops early when it returns false.
template <class Visit>
void for_each_chunk(const Problem& p, const WorkspacePlan& plan, Visit&& visit) {
  const int lag_after = p.conv_after.kernel == nullptr ? 0 : lag_of(p.conv_after.query_span);
  const int lag_before = p.conv_before.kernel == nullptr ? 0 : lag_of(p.conv_before.query_span);
  for (int batch = 0; batch < p.batch; batch += plan.batch_group) {
    const int batches = min_of(plan.batch_group, p.batch - batch);
    for (int head = 0; head < p.heads; head += plan.head_group) {
      const int heads = min_of(plan.head_group, p.heads - head);
      for (int row = 0; row < p.tokens; row += plan.rows) {
        const RowRange rows = {row, min_of(row + plan.rows, p.tokens)};
        const Chunk chunk = {batch,
                             batches,
                             head,
                             heads,
                             rows,
                             lagged(rows, lag_after, p.tokens),
                             lagged(rows, lag_after + lag_before, p.tokens)};
        if (!visit(chunk)) return;
      }
    }
  }
}

}  // namespace mta::kernels
