// Sizes of decoding's blocks, buffers and workspace.
#include "lib/kernels/decode_plan.h"

#include "lib/kernels/support.h"
#include "lib/kernels/tile_plan.h"

#include <algorithm>
#include <initializer_list>
#include <numeric>
#include <string>

namespace mta::kernels {
namespace {

constexpr int kUnitHeads = 16;  // of a block, at most, where groups are not larger
constexpr int kRangeKeys = 32;  // of a block with as many heads; more with fewer
constexpr std::size_t kAlignment = 256;

bool is_on(const Convolution& conv) { return conv.kernel != nullptr; }
bool is_on(const Mixing& mix) { return mix.weight != nullptr; }
int rows_above(const Convolution& conv) { return is_on(conv) ? conv.query_span - 1 : 0; }
int keys_beside(const Convolution& conv) { return is_on(conv) ? conv.key_span - 1 : 0; }
int group_of(const Mixing& mix) { return is_on(mix) ? mix.group : 1; }

/// Whole groups of both mixings that divide the heads: as many as a block takes.
int unit_heads(const DecodeRows& call) {
  const int least = std::lcm(group_of(call.mix_before), group_of(call.mix_after));
  int unit = least;
  for (int heads = least; heads <= min_of(call.heads, kUnitHeads); heads += least) {
    if (call.heads % heads == 0) unit = heads;
  }
  return unit;
}

/// Floats of the warps' weighted sums before they are joined: 8 columns a lane.
constexpr int kScratch = kDecodeThreads * kDecodeTile * kDecodeRowsAtATime;

/// The first buffer takes the input [heads, rows, pitch] of a convolution, the second its output;
/// what is made of that goes back to the first. The one that is left is scratch.
void set_buffers(int (&buffers)[2], int first, int second, bool has_scratch) {
  const int least = has_scratch ? kScratch : 0;
  buffers[0] = max_of(first, least);
  buffers[1] = max_of(second, least);
}

Status refuse(const std::string& reason) {
  return fail(Status::Unsupported, "decoding: " + reason);
}

Status check_stages(const DecodeRows& c) {
  for (const Convolution* conv : {&c.conv_before, &c.conv_after}) {
    if (!is_on(*conv)) continue;
    if (conv->query_span < 1 || conv->query_span > kMaxQuerySpan || conv->key_span < 1 ||
        conv->key_span > kMaxKeySpan || conv->pad_left < 0 || conv->pad_left >= conv->key_span) {
      return refuse("kernel of " + std::to_string(conv->query_span) + "x" +
                    std::to_string(conv->key_span) + ", " + std::to_string(conv->pad_left) +
                    " columns of zeros on the left (up to 16x32, less than the key span)");
    }
  }
  for (const Mixing* mix : {&c.mix_before, &c.mix_after}) {
    if (is_on(*mix) && (mix->group < 1 || c.heads % mix->group != 0)) {
      return refuse("groups of " + std::to_string(mix->group) + " of " + std::to_string(c.heads) +
                    " heads (must divide them)");
    }
  }
  return Status::Ok;
}

}  // namespace

DecodePlan decode_plan(const DecodeRows& call) {
  DecodePlan plan = {};
  plan.unit_heads = unit_heads(call);
  plan.range = kRangeKeys * max_of(1, kUnitHeads / plan.unit_heads);
  plan.ranges = ceil_div(call.keys, plan.range);
  plan.map_rows = call.rows + rows_above(call.conv_after);
  plan.score_rows = plan.map_rows + rows_above(call.conv_before);
  plan.score_keys = plan.range + keys_beside(call.conv_before);
  plan.weight_keys = plan.range + keys_beside(call.conv_after);
  plan.one_pass = !is_on(call.conv_after) && !is_on(call.mix_after);
  plan.map_pitch = round_up(call.keys, kDecodeTile);
  // One more than a multiple of 8: rows and every eighth key lie in different banks.
  plan.score_pitch = round_up(plan.score_keys, kDecodeTile) + 1;
  plan.weight_pitch = round_up(plan.weight_keys, kDecodeTile) + 1;
  plan.range_pitch = plan.range + 1;
  const int heads = plan.unit_heads;
  set_buffers(plan.score_buffers, heads * plan.score_rows * plan.score_pitch,
              heads * plan.map_rows * plan.range_pitch, plan.one_pass);
  set_buffers(plan.weight_buffers, heads * plan.map_rows * plan.weight_pitch,
              heads * call.rows * plan.range_pitch, true);

  const auto maps = static_cast<std::size_t>(call.batch) * static_cast<std::size_t>(call.heads);
  const auto size = [&](int rows, int columns, std::size_t of) {
    const std::size_t bytes =
        maps * static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns) * of;
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  };
  const std::size_t map = plan.one_pass ? 0 : size(plan.map_rows, plan.map_pitch, sizeof(float));
  plan.statistics_offset = plan.map_offset + map;
  plan.parts_offset = plan.statistics_offset + size(plan.map_rows, plan.ranges, 2 * sizeof(float));
  plan.bytes = plan.parts_offset + size(call.rows * plan.ranges, call.head_dim, sizeof(float));
  return plan;
}

std::size_t decode_score_bytes(const DecodeRows& call, const DecodePlan& plan) {
  const int taps =
      is_on(call.conv_before) ? call.conv_before.query_span * call.conv_before.key_span : 0;
  const int mixing = is_on(call.mix_before) ? call.mix_before.group : 0;
  return sizeof(float) * static_cast<std::size_t>(plan.score_buffers[0] + plan.score_buffers[1] +
                                                  plan.unit_heads * (taps + mixing));
}

std::size_t decode_weight_bytes(const DecodeRows& call, const DecodePlan& plan) {
  if (plan.one_pass) return 0;
  const int taps =
      is_on(call.conv_after) ? call.conv_after.query_span * call.conv_after.key_span : 0;
  const int mixing = is_on(call.mix_after) ? call.mix_after.group : 0;
  return sizeof(float) *
         static_cast<std::size_t>(plan.weight_buffers[0] + plan.weight_buffers[1] +
                                  plan.unit_heads * (taps + mixing + plan.map_rows));
}

Status check_decode(const DecodeRows& c, int shared_bytes) {
  if (c.batch < 1 || c.heads < 1 || c.keys < 1 || c.keys > kMaxTokens) {
    return fail(Status::InvalidArgument, "decoding: batch, heads and keys must be positive");
  }
  if (c.rows < 1 || c.rows > kDecodeRows || c.rows > c.keys) {
    return refuse(std::to_string(c.rows) + " new rows of " + std::to_string(c.keys) + " (1 to 8)");
  }
  if (c.query_rows != 0 && (c.query_rows < c.rows || c.query_rows > c.keys)) {
    return fail(Status::InvalidArgument, "decoding: fewer queries than rows, or more than keys");
  }
  if (c.head_dim < kDecodeTile || c.head_dim > kDecodeHeadDim || c.head_dim % kDecodeTile != 0) {
    return refuse("head size " + std::to_string(c.head_dim) + " (multiples of 8, at most 128)");
  }
  if (const Status status = check_stages(c); status != Status::Ok) return status;
  const DecodePlan plan = decode_plan(c);
  const std::size_t most = std::max(decode_score_bytes(c, plan), decode_weight_bytes(c, plan));
  if (most > static_cast<std::size_t>(shared_bytes)) {
    return refuse("the maps of " + std::to_string(plan.unit_heads) + " heads and " +
                  std::to_string(plan.score_rows) + " rows need " + std::to_string(most) +
                  " bytes of shared memory, a block has " + std::to_string(shared_bytes));
  }
  return Status::Ok;
}

std::size_t decode_workspace_bytes(const DecodeRows& call) { return decode_plan(call).bytes; }

}  // namespace mta::kernels
