// How decoding is cut into blocks, and where a block's maps and the workspace's parts lie.
#pragma once

#include "lib/kernels/decode.h"
#include "lib/kernels/host_device.h"

#include <cstddef>

namespace mta::kernels {

inline constexpr int kDecodeThreads = 512;
inline constexpr int kDecodeWarps = kDecodeThreads / 32;
inline constexpr int kDecodeTile = 8;         // keys of a product
inline constexpr int kDecodeRowsAtATime = 2;  // of a weighted sum

/// A map in memory: [heads, rows, keys].
struct DecodeMap {
  float* data;
  int head_pitch, row_pitch;
  MTA_HOST_DEVICE float* row(int head, int index) const {
    return data + head * head_pitch + index * row_pitch;
  }
};

struct DecodePlan {
  int unit_heads;   ///< heads that a block works on: whole mixing groups
  int range;        ///< keys that a block works on, a multiple of 32
  int ranges;       ///< blocks along the keys
  int map_rows;     ///< rows of the softmax: the wanted ones and those that conv_after reads above
  int score_rows;   ///< and those that conv_before reads above
  int score_keys;   ///< keys of a block's scores: its range and what conv_before reads beside it
  int weight_keys;  ///< the same of conv_after
  bool one_pass;    ///< nothing after the softmax: weighted sums before its statistics are joined
  int map_pitch;    ///< of a row of the map in the workspace
  /// Shared memory in floats: two buffers that take turns as a stage's input and output.
  int score_pitch, weight_pitch, range_pitch;
  int score_buffers[2], weight_buffers[2];
  /// Of the workspace, in bytes.
  std::size_t map_offset, statistics_offset, parts_offset, bytes;
};

/// `call` must have passed check_decode, but for its pointers.
DecodePlan decode_plan(const DecodeRows& call);

/// Shared memory of the kernel that makes scores, and of the one that makes weights.
std::size_t decode_score_bytes(const DecodeRows& call, const DecodePlan& plan);
std::size_t decode_weight_bytes(const DecodeRows& call, const DecodePlan& plan);

}  // namespace mta::kernels
