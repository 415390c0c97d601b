// Decoding, second kernel, where stages follow the softmax: weights, and their sums a range.
#pragma once

#include "lib/kernels/decode_block.cuh"

namespace mta::kernels::decoding {

/// Logarithms of the sums of exponentials of the map's rows, from those of all ranges. A warp a
/// row.
__device__ inline void join_statistics(const Block& block, const float2* statistics, float* to) {
  const int rows = block.plan.map_rows, ranges = block.ranges();
  for (int n = block.warp; n < block.plan.unit_heads * rows; n += kDecodeWarps) {
    const int head = n / rows, row = n % rows;
    const int line = block.map_index(head) * rows + row;
    const float2* const each = statistics + static_cast<std::size_t>(line) * block.plan.ranges;
    float maximum = -INFINITY, sum = 0;
    for (int range = block.lane; range < ranges; range += kWarp) {
      maximum = fmaxf(maximum, each[range].x);
    }
    maximum = warp_max(maximum);
    for (int range = block.lane; range < ranges; range += kWarp) {
      sum += each[range].y * __expf(each[range].x - maximum);
    }
    sum = warp_sum(sum);
    if (block.lane == 0) to[n] = maximum + __logf(sum);  // not a number where there is no row
  }
}

/// P = exp(M - lse) of the range and of the keys that the convolution reads beside it, zeros where
/// there is no row or key.
__device__ inline void load_weights(const Block& block, const float* map, const float* lse,
                                    const DecodeMap& to) {
  const DecodePlan& plan = block.plan;
  const Convolution& conv = block.call.conv_after;
  const int rows = plan.map_rows;
  const int first = block.first_key - (conv.kernel != nullptr ? conv.pad_left : 0);
  for (int n = block.warp; n < plan.unit_heads * rows; n += kDecodeWarps) {
    const int head = n / rows, row = n % rows, position = block.position(row, rows);
    const bool there = position >= block.first_row();
    const float* const from =
        map + static_cast<std::size_t>(block.map_index(head) * rows + row) * plan.map_pitch;
    float* const made = to.row(head, row);
#pragma unroll 2
    for (int at = block.lane; at < plan.weight_keys; at += kWarp) {
      const int key = first + at;
      made[at] = there && key >= 0 && key <= position ? __expf(from[key] - lse[n]) : 0.0f;
    }
  }
}

/// The last stage: mixing, and zeros behind each row's own key.
__device__ inline void finish_weights(const Block& block, const DecodeMap& from,
                                      const float* mixing, const DecodeMap& to) {
  const int rows = block.call.rows, range = block.plan.range;
  for (int n = block.warp; n < block.plan.unit_heads * rows; n += kDecodeWarps) {
    const int head = n / rows, row = n % rows;
    const int keys = block.position(row, rows) - block.first_key + 1;
    for (int key = block.lane; key < range; key += kWarp) {
      to.row(head, row)[key] =
          key < keys ? mixed(block.call.mix_after, mixing, from, head, row, key, true) : 0.0f;
    }
  }
}

template <class E>
__global__ void __launch_bounds__(kDecodeThreads, 1)
    weight_kernel(DecodeRows call, DecodePlan plan, Parts parts) {
  wait_for_previous_kernel();
  const Block block(call, plan);
  if (block.first_key >= block.tokens) return;
  float* const first = dynamic_shared<float>();
  float* const second = first + plan.weight_buffers[0];
  float* const lse = second + plan.weight_buffers[1];
  float* const kernel = lse + plan.unit_heads * plan.map_rows;
  const bool convolves = call.conv_after.kernel != nullptr;
  const int taps = convolves ? call.conv_after.query_span * call.conv_after.key_span : 0;
  float* const mixing = kernel + plan.unit_heads * taps;
  copy_weights(block, call.conv_after.kernel, taps, kernel);
  copy_weights(block, call.mix_after.weight, call.mix_after.group, mixing);
  join_statistics(block, parts.statistics, lse);
  __syncthreads();
  const DecodeMap made = {first, plan.map_rows * plan.weight_pitch, plan.weight_pitch};
  load_weights(block, parts.map, lse, made);
  __syncthreads();
  DecodeMap from = made, to = {second, call.rows * plan.range_pitch, plan.range_pitch};
  if (convolves) {
    convolve(block, call.conv_after, false, kernel, made, to, call.rows);
    __syncthreads();
    from = to, to.data = first;
  }
  finish_weights(block, from, mixing, to);
  __syncthreads();
  weighted_sums<E>(block, to, from.data, parts.sums);
}

}  // namespace mta::kernels::decoding
