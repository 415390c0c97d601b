// Decoding, first kernel: from q and k to what the softmax reads, and its statistics a range.
//
// The products run on the matrix unit, 16 rows by 8 keys, straight from memory: the order of the
// columns of a head is free as long as both sides agree, so each lane loads 16 bytes of a row, and
// four lanes make two steps of 16 columns of it.
#pragma once

#include "lib/kernels/decode_block.cuh"

#include <cmath>

namespace mta::kernels::decoding {

constexpr int kProductRows = 16;     // of the matrix unit
constexpr int kProductColumns = 32;  // of a head that a warp loads at a time: 8 a lane

/// This lane's 8 columns of each 32 of a row; zeros where there is no such row or column.
template <int kChunks>
__device__ void load_row(Word (&words)[kChunks][4], const Number* row, int column, int columns,
                         bool there) {
#pragma unroll
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    const int at = chunk * kProductColumns + column;
    uint4 packed = {0, 0, 0, 0};
    if (there && at < columns) packed = *reinterpret_cast<const uint4*>(row + at);
    words[chunk][0] = packed.x, words[chunk][1] = packed.y;
    words[chunk][2] = packed.z, words[chunk][3] = packed.w;
  }
}

/// Row `row` of the scores, whose query may be absent.
template <int kChunks>
__device__ void load_query(Word (&words)[kChunks][4], const Block& block, int head, int row,
                           int column) {
  const DecodeRows& call = block.call;
  const int position = block.position(row, block.plan.score_rows);
  const bool there = row < block.plan.score_rows && position >= block.first_row();
  const int index = there ? position - block.first_query() : 0;
  load_row(words, block.rows_of<Number>(call.q, head) + index * call.q.token_stride, column,
           call.head_dim, there);
}

/// Scores of the block's range and of the keys beside it, zeros where there is no row or no key. A
/// warp takes a head and a few tiles of 8 keys at a time, all of whose loads are under way
/// together.
template <class E, int kChunks>
__device__ void scores(const Block& block, const DecodeMap& to) {
  constexpr int kTiles = kChunks < 4 ? 4 : 2;
  const DecodeRows& call = block.call;
  const DecodePlan& plan = block.plan;
  const int first_key =
      block.first_key - (call.conv_before.kernel != nullptr ? call.conv_before.pad_left : 0);
  const int bundles = ceil_div(plan.score_keys, kTiles * kDecodeTile);
  const Lane at = lane_place();
  const int column = 8 * at.q;
  for (int row0 = 0; row0 < plan.score_rows; row0 += kProductRows) {
    for (int item = block.warp; item < plan.unit_heads * bundles; item += kDecodeWarps) {
      const int head = item % plan.unit_heads, bundle = item / plan.unit_heads;
      const int first = bundle * kTiles * kDecodeTile;
      const Number* const k = block.rows_of<Number>(call.k, head);
      Word keys[kTiles][kChunks][4], upper[kChunks][4], lower[kChunks][4];
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const int n = first + tile * kDecodeTile + at.g, key = first_key + n;
        const bool there = n < plan.score_keys && key >= 0 && key < block.tokens;
        load_row(keys[tile], k + (there ? key : 0) * call.k.token_stride, column, call.head_dim,
                 there);
      }
      load_query(upper, block, head, row0 + at.g, column);
      load_query(lower, block, head, row0 + at.g + 8, column);
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        float sums[4] = {};
#pragma unroll
        for (int chunk = 0; chunk < kChunks; ++chunk) {
#pragma unroll
          for (int w = 0; w < 4; w += 2) {
            mma_k16<E>(sums, upper[chunk][w], lower[chunk][w], upper[chunk][w + 1],
                       lower[chunk][w + 1], keys[tile][chunk][w], keys[tile][chunk][w + 1]);
          }
        }
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int row = row0 + at.g + e / 2 * 8;
          const int n = first + tile * kDecodeTile + 2 * at.q + e % 2;
          if (row < plan.score_rows && n < plan.score_keys) {
            to.row(head, row)[n] = call.scale * sums[e];
          }
        }
      }
    }
  }
}

/// The last stage before the softmax, a row of the range a warp: to the workspace, or to `to` as
/// exponentials below the range's maximum. Statistics to the workspace.
__device__ inline void finish_rows(const Block& block, const DecodeMap& from, const float* weights,
                                   const DecodeMap& to, const Parts& parts) {
  const DecodePlan& plan = block.plan;
  const int rows = plan.map_rows;
  for (int n = block.warp; n < plan.unit_heads * rows; n += kDecodeWarps) {
    const int head = n / rows, row = n % rows;
    const int keys = min(block.position(row, rows) - block.first_key + 1, plan.range);
    const int line = block.map_index(head) * rows + row;
    float* const made = to.row(head, row);
    float* const map = parts.map + static_cast<std::size_t>(line) * plan.map_pitch;
    float maximum = -INFINITY, sum = 0;
    for (int key = block.lane; key < keys; key += kWarp) {
      const float x = mixed(block.call.mix_before, weights, from, head, row, key, false);
      made[key] = x;
      if (!plan.one_pass) map[block.first_key + key] = x;
      maximum = fmaxf(maximum, x);
    }
    maximum = warp_max(maximum);
    for (int key = block.lane; key < plan.range; key += kWarp) {
      const float p = key < keys ? __expf(made[key] - maximum) : 0.0f;
      made[key] = p;
      sum += p;
    }
    sum = warp_sum(sum);
    if (block.lane == 0) {
      parts.statistics[static_cast<std::size_t>(line) * plan.ranges + block.range] = {maximum, sum};
    }
  }
}

template <class E, int kChunks>
__global__ void __launch_bounds__(kDecodeThreads, 1)
    score_kernel(DecodeRows call, DecodePlan plan, Parts parts) {
  wait_for_previous_kernel();
  const Block block(call, plan);
  if (block.first_key >= block.tokens) return;
  fetch_ahead(block);
  float* const first = dynamic_shared<float>();
  float* const second = first + plan.score_buffers[0];
  float* const kernel = second + plan.score_buffers[1];
  const bool convolves = call.conv_before.kernel != nullptr;
  const int taps = convolves ? call.conv_before.query_span * call.conv_before.key_span : 0;
  float* const mixing = kernel + plan.unit_heads * taps;
  copy_weights(block, call.conv_before.kernel, taps, kernel);
  copy_weights(block, call.mix_before.weight, call.mix_before.group, mixing);
  const DecodeMap made = {first, plan.score_rows * plan.score_pitch, plan.score_pitch};
  scores<E, kChunks>(block, made);
  __syncthreads();
  DecodeMap from = made, to = {second, plan.map_rows * plan.range_pitch, plan.range_pitch};
  if (convolves) {
    convolve(block, call.conv_before, call.causality == Causality::Exact, kernel, made, to,
             plan.map_rows);
    __syncthreads();
    from = to, to.data = first;
  }
  finish_rows(block, from, mixing, to, parts);
  if (!plan.one_pass) return;
  __syncthreads();
  weighted_sums<E>(block, to, from.data, parts.sums);
}

}  // namespace mta::kernels::decoding
