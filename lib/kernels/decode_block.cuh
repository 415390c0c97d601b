// What a block of the decoding kernels works on, and the stages that two of them share.
//
// A block has the heads of a unit and a range of keys. Maps in shared memory are [heads, rows,
// keys]; their last row is the newest token's.
#pragma once

#include "lib/kernels/decode_plan.h"
#include "lib/kernels/launch.cuh"
#include "lib/kernels/matrix_unit.cuh"
#include "lib/kernels/prefetch.cuh"
#include "lib/kernels/tile_plan.h"
#include "lib/kernels/warp_sums.cuh"

namespace mta::kernels::decoding {

/// The parts of the workspace.
struct Parts {
  float* map;          ///< M [B, H, map_rows, map_pitch], keys up to each row's own are written
  float2* statistics;  ///< of M: (maximum, sum of exponentials) [B, H, map_rows, ranges]
  float* sums;         ///< weighted sums [B, H, R, ranges, d]
};

struct Block {
  __device__ Block(const DecodeRows& call_, const DecodePlan& plan_) : call(call_), plan(plan_) {
    tokens = call.length != nullptr ? *call.length : call.keys;
    range = static_cast<int>(blockIdx.x), first_key = range * plan.range;
    first_head = static_cast<int>(blockIdx.y) * plan.unit_heads;
    batch = static_cast<int>(blockIdx.z);
    warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  }

  /// The position of a map's row, of `rows` in all; negative: there is no such token.
  __device__ int position(int row, int rows) const { return tokens - rows + row; }
  /// The first position that has a query.
  __device__ int first_query() const { return call.query_rows == 0 ? 0 : tokens - call.query_rows; }
  __device__ int first_row() const { return max(0, first_query()); }
  /// Ranges that have keys.
  __device__ int ranges() const { return ceil_div(tokens, plan.range); }
  __device__ int keys() const { return min(plan.range, tokens - first_key); }
  /// Which row of q, k, v or a map in the workspace belongs to head `head` of the unit.
  __device__ int map_index(int head) const { return batch * call.heads + first_head + head; }
  template <class T>
  __device__ const T* rows_of(const Tensor& t, int head) const {
    return static_cast<const T*>(t.data) + batch * t.batch_stride +
           (first_head + head) * t.head_stride;
  }

  const DecodeRows& call;
  const DecodePlan& plan;
  int tokens, range, first_key, first_head, batch, warp, lane;
};

/// Asks for the block's rows of v, which are wanted when the weights are there.
__device__ inline void fetch_ahead(const Block& block) {
  constexpr int kLine = 64;  // numbers of 128 bytes
  const Tensor& v = block.call.v;
  const int keys = block.keys(), rows = block.plan.unit_heads * keys;
  for (int n = static_cast<int>(threadIdx.x); n < rows; n += kDecodeThreads) {
    const Number* const row =
        block.rows_of<Number>(v, n / keys) + (block.first_key + n % keys) * v.token_stride;
    for (int at = 0; at < block.call.head_dim; at += kLine) prefetch(row + at);
  }
}

/// The unit's part of a stage's weights, in shared memory.
__device__ inline void copy_weights(const Block& block, const float* from, int a_head, float* to) {
  if (from == nullptr) return;
  from += block.first_head * a_head;
  const int count = block.plan.unit_heads * a_head;
  for (int n = static_cast<int>(threadIdx.x); n < count; n += kDecodeThreads) to[n] = from[n];
}

/// to = kernel * from for the block's range of keys, eight at a time. Column 0 of `from` is the
/// first key that column 0 of `to` reads; `rows` of `to`, the last is the newest token's.
__device__ inline void convolve(const Block& block, const Convolution& conv, bool exact,
                                const float* kernel, const DecodeMap& from, const DecodeMap& to,
                                int rows) {
  constexpr int kKeys = kDecodeTile;
  const int eighths = block.plan.range / kKeys, lag = conv.query_span - 1;
  const int items = block.plan.unit_heads * rows * eighths;
  for (int n = static_cast<int>(threadIdx.x); n < items; n += kDecodeThreads) {
    const int first = n % eighths * kKeys, row = n / eighths % rows, head = n / eighths / rows;
    const int written = block.position(row, rows);
    float sums[kKeys] = {};
    for (int a = 0; a < conv.query_span; ++a) {
      const float* const x = from.row(head, row + a) + first;
      const float* const weights = kernel + (head * conv.query_span + a) * conv.key_span;
      // Behind the last column that the row may read, there is nothing.
      const int last =
          (exact ? written : written - lag + a) - (block.first_key - conv.pad_left + first);
      float window[kKeys];
#pragma unroll
      for (int t = 0; t < kKeys - 1; ++t) window[t] = t <= last ? x[t] : 0.0f;
#pragma unroll 4
      for (int b = 0; b < conv.key_span; ++b) {
        window[kKeys - 1] = b + kKeys - 1 <= last ? x[b + kKeys - 1] : 0.0f;
        const float weight = weights[b];
#pragma unroll
        for (int t = 0; t < kKeys; ++t) sums[t] += weight * window[t];
#pragma unroll
        for (int t = 0; t + 1 < kKeys; ++t) window[t] = window[t + 1];
      }
    }
    float* const y = to.row(head, row) + first;
#pragma unroll
    for (int t = 0; t < kKeys; ++t) y[t] = sums[t];
  }
}

/// One entry of a mixed map: over the heads of head g's group. Before the softmax weights are
/// [output, input], after it [input, output].
__device__ inline float mixed(const Mixing& mix, const float* weights, const DecodeMap& from, int g,
                              int row, int key, bool after) {
  if (mix.weight == nullptr) return from.row(g, row)[key];
  const int group = mix.group, first = g / group * group;
  const float* const square = weights + first * group;
  const int first_weight = after ? g - first : (g - first) * group, step = after ? group : 1;
  float sum = 0;
  for (int h = 0; h < group; ++h) {
    sum += square[first_weight + h * step] * from.row(first + h, row)[key];
  }
  return sum;
}

/// Sums over the block's keys of weights[head, row, key] v[key], for the workspace. A warp's lanes
/// hold eight columns each of one key or of several; all splits of a head's keys are then added in
/// order. `scratch` is free.
template <class E>
__device__ void weighted_sums(const Block& block, const DecodeMap& weights, float* scratch,
                              float* to) {
  constexpr int kColumns = 8, kRows = kDecodeRowsAtATime;
  const DecodeRows& call = block.call;
  const int d = call.head_dim, a_row = d / kColumns, subs = kWarp / a_row;
  const int column = block.lane % a_row * kColumns, sub = block.lane / a_row;
  const int warps_a_head = max(1, kDecodeWarps / block.plan.unit_heads);
  const int heads_at_once = kDecodeWarps / warps_a_head, splits = warps_a_head * subs;
  const int slot = block.warp / warps_a_head, split = block.warp % warps_a_head * subs + sub;
  const int keys = block.keys();
  for (int h0 = 0; h0 < block.plan.unit_heads; h0 += heads_at_once) {
    const int heads = min(heads_at_once, block.plan.unit_heads - h0), head = h0 + slot;
    for (int r0 = 0; r0 < call.rows; r0 += kRows) {
      const int rows = min(kRows, call.rows - r0);
      if (slot < heads && sub < subs) {
        const Number* const v = block.rows_of<Number>(call.v, head) + column;
        float sums[kRows][kColumns] = {};
#pragma unroll 8
        for (int key = split; key < keys; key += splits) {
          const uint4 packed =
              *reinterpret_cast<const uint4*>(v + (block.first_key + key) * call.v.token_stride);
          const Word words[kColumns / 2] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            const float weight = r < rows ? weights.row(head, r0 + r)[key] : 0.0f;
#pragma unroll
            for (int w = 0; w < kColumns / 2; ++w) {
              const float2 pair = unpack<E>(words[w]);
              sums[r][2 * w] += weight * pair.x, sums[r][2 * w + 1] += weight * pair.y;
            }
          }
        }
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          float* const place = scratch + ((slot * kRows + r) * splits + split) * d + column;
#pragma unroll
          for (int c = 0; c < kColumns; ++c) place[c] = sums[r][c];
        }
      }
      __syncthreads();
      for (int n = static_cast<int>(threadIdx.x); n < heads * rows * d; n += kDecodeThreads) {
        const int c = n % d, r = n / d % rows, h = n / d / rows;
        const float* const from = scratch + (h * kRows + r) * splits * d + c;
        float sum = 0;
        for (int s = 0; s < splits; ++s) sum += from[s * d];
        const int line = block.map_index(h0 + h) * call.rows + r0 + r;
        to[(static_cast<std::size_t>(line) * block.plan.ranges + block.range) * d + c] = sum;
      }
      __syncthreads();
    }
  }
}

}  // namespace mta::kernels::decoding
