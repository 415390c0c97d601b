// Stage: head mixing at single points of the maps; what forward and backward share, and forward
// itself.
//
// A warp mixes 16 heads at 64 neighbouring keys of one row, straight from global memory: no shared
// memory, no barrier. The product is out[16 heads, points] = W[16, 16] in[16 heads, points], eight
// points an instruction. Point n (0..7) of instruction t is key 8 * group(n) + t, so that a lane
// reads whole 16-byte pieces:
//   input layout  (B operand): lane (g, q) has heads 2q, 2q+1, 2q+8, 2q+9 at the eight keys of
//   group(g) output layout (C operand): lane (g, q) has heads g, g+8 at the keys of groups q and
//   q+4
// where group(2q) = q and group(2q+1) = q+4.
#pragma once

#include "lib/kernels/map_view.cuh"

namespace mta::kernels {

constexpr int kMixingThreads = 128;  // four warps: each takes every fourth row
constexpr int kMixingWarps = kMixingThreads / kWarp;

/// Four heads' chunks in input layout, or (head g: group q, q+4; head g+8: group q, q+4) in output
/// layout.
struct Points {
  uint4 chunk[4];
};

/// Where a warp stands.
struct MixingPlace {
  int batch, unit;
  MixingUnit heads;
  int part;  // which 16-head block of a wide group the outputs are; 0 for narrow ones
};

__device__ inline int input_group() {
  const Lane lane = lane_place();
  return lane.g / 2 + lane.g % 2 * 4;
}

/// The head of input slot 0..3 of part `part`, counted from the unit's first head.
__device__ inline int input_head(int part, int slot) {
  return 16 * part + 2 * lane_place().q + slot % 2 + slot / 2 * 8;
}

/// Loads a part's heads in input layout; heads that do not exist are zero.
__device__ inline Points load_inputs(const MapView& view, const MixingPlace& place, int heads,
                                     int part, int row, int key) {
  Points points;
#pragma unroll
  for (int slot = 0; slot < 4; ++slot) {
    const int head = input_head(part, slot);
    points.chunk[slot] = {0, 0, 0, 0};
    if (head < place.heads.in_count) {
      const int map = place.batch * heads + place.heads.in_first + head;
      points.chunk[slot] =
          *reinterpret_cast<const uint4*>(map_row(view, map, row) + key + 8 * input_group());
    }
  }
  return points;
}

/// Loads a part's heads in output layout.
__device__ inline Points load_outputs(const MapView& view, const MixingPlace& place, int heads,
                                      int part, int row, int key) {
  const Lane lane = lane_place();
  Points points;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const int head = 16 * part + lane.g + n / 2 * 8;
    points.chunk[n] = {0, 0, 0, 0};
    if (head < place.heads.in_count) {
      const int map = place.batch * heads + place.heads.in_first + head;
      points.chunk[n] =
          *reinterpret_cast<const uint4*>(map_row(view, map, row) + key + 8 * (lane.q + n % 2 * 4));
    }
  }
  return points;
}

/// Zeroes keys past the diagonal; `group_of(n)` is the key group of chunk n.
template <class GroupOf>
__device__ inline void keep_causal(Points& points, int row, int key, GroupOf&& group_of) {
  if (key + kTileKeys - 1 <= row) return;
#pragma unroll
  for (int n = 0; n < 4; ++n)
    points.chunk[n] = keep_first(points.chunk[n], row + 1 - key - 8 * group_of(n));
}
__device__ inline void keep_causal_inputs(Points& points, int row, int key) {
  keep_causal(points, row, key, [](int) { return input_group(); });
}
__device__ inline void keep_causal_outputs(Points& points, int row, int key) {
  keep_causal(points, row, key, [](int n) { return lane_place().q + n % 2 * 4; });
}

/// exp(M - lse) of a part's heads in input layout, zero past the diagonal.
__device__ inline void apply_softmax(Points& points, const float (&lse2)[4], int row, int key) {
#pragma unroll
  for (int slot = 0; slot < 4; ++slot)
    points.chunk[slot] = softmax_weights<Half>(points.chunk[slot], lse2[slot]);
  keep_causal_inputs(points, row, key);
}

/// A [16, 16] block of weights as the A fragment.
struct WeightBlock {
  Word a[4];
};
__device__ inline WeightBlock load_weights(const Number* block) {
  const Lane lane = lane_place();
  const Word* words = reinterpret_cast<const Word*>(block);  // rows of 8 words
  return {{words[lane.g * 8 + lane.q], words[(lane.g + 8) * 8 + lane.q],
           words[lane.g * 8 + lane.q + 4], words[(lane.g + 8) * 8 + lane.q + 4]}};
}

/// The identity as weights: moves numbers from input to output layout, exactly.
template <class E>
__device__ inline WeightBlock identity_weights() {
  const Lane lane = lane_place();
  const Word one = lane.g / 2 != lane.q
                       ? 0u
                       : pack<E>(lane.g % 2 == 0 ? 1.0f : 0.0f, lane.g % 2 == 0 ? 0.0f : 1.0f);
  return {{one, 0u, 0u, one}};
}

/// fp32 outputs: [t][n], chunk n of output layout at key t of its group.
using Mixed = float[8][4];

__device__ inline void clear(Mixed& mixed) {
#pragma unroll
  for (int t = 0; t < 8; ++t) {
#pragma unroll
    for (int n = 0; n < 4; ++n) mixed[t][n] = 0;
  }
}

/// out += W in. Chunk n of `out` is (head g + 8 (n / 2), group q + 4 (n % 2)): the C fragment's own
/// order.
template <class E>
__device__ inline void mix_points(Mixed& out, const WeightBlock& w, const Points& in) {
#pragma unroll
  for (int t = 0; t < 8; ++t) {
    const auto word = [&](int slot) { return (&in.chunk[slot].x)[t / 2]; };
    const unsigned halves = t % 2 == 0 ? 0x5410u : 0x7632u;
    mma_k16<E>(out[t], w.a[0], w.a[1], w.a[2], w.a[3], __byte_perm(word(0), word(1), halves),
               __byte_perm(word(2), word(3), halves));
  }
}

template <class E>
__device__ inline Points pack_outputs(const Mixed& mixed) {
  Points points;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    points.chunk[n] = {pack<E>(mixed[0][n], mixed[1][n]), pack<E>(mixed[2][n], mixed[3][n]),
                       pack<E>(mixed[4][n], mixed[5][n]), pack<E>(mixed[6][n], mixed[7][n])};
  }
  return points;
}

/// Moves inputs to output layout through the matrix unit.
template <class E>
__device__ inline Points to_output_layout(const Points& in) {
  Mixed mixed;
  clear(mixed);
  mix_points<E>(mixed, identity_weights<E>(), in);
  return pack_outputs<E>(mixed);
}

/// The map of an output head (0: g, 1: g+8), or -1 where there is none.
__device__ inline int output_map(const MixingPlace& place, int heads, int half) {
  const int head = lane_place().g + 8 * half;
  return head < place.heads.out_count ? place.batch * heads + place.heads.out_first + head : -1;
}

template <class E>
__device__ inline void store_outputs(const Points& points, const MapView& view,
                                     const MixingPlace& place, int heads, int row, int key,
                                     const DropoutArgs& dropout) {
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const int map = output_map(place, heads, n / 2);
    if (map < 0) continue;
    const int first = key + 8 * (lane_place().q + n % 2 * 4);
    uint4 chunk = points.chunk[n];
    if (dropout.threshold > 0) chunk = drop<E>(chunk, dropout, map, row, first);
    *reinterpret_cast<uint4*>(map_row(view, map, row) + first) = chunk;
  }
}

/// Row maxima and sums of exponentials of this tile's causal keys.
__device__ inline void store_mixed_partials(const Points& m, const RowStatistics& statistics,
                                            const MixingPlace& place, int heads, int row, int key) {
  const Lane lane = lane_place();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float values[16], maximum = -INFINITY, sum = 0;
#pragma unroll
    for (int n = 0; n < 16; n += 2) {
      const float2 pair = unpack<Half>((&m.chunk[2 * half + n / 8].x)[n % 8 / 2]);
      const int last = row - key - 8 * (lane.q + n / 8 * 4) - n % 8;
      values[n] = last >= 0 ? pair.x * kLog2e : -INFINITY;
      values[n + 1] = last >= 1 ? pair.y * kLog2e : -INFINITY;
      maximum = fmaxf(maximum, fmaxf(values[n], values[n + 1]));
    }
    maximum = quad_max(maximum);
#pragma unroll
    for (int n = 0; n < 16; ++n) sum += exp2_fast(values[n] - maximum);
    sum = quad_sum(sum);
    const int map = output_map(place, heads, half);
    if (lane.q == 0 && map >= 0)
      statistics.partials[statistics.index(map, row, key / kTileKeys)] = {maximum, sum};
  }
}

__device__ inline MixingPlace mixing_place(const MixingArgs& args) {
  MixingPlace place;
  place.batch = static_cast<int>(blockIdx.z) / args.plan.units;
  place.unit = static_cast<int>(blockIdx.z) % args.plan.units;
  place.heads = mixing_unit(args.plan, place.unit, args.extent.heads);
  place.part = place.unit % args.plan.parts;
  return place;
}

/// Calls visit(row) for this warp's rows of the block's row group, then tile(row, key) for the
/// strip's causal tiles.
template <class Row, class Tile>
__device__ inline void for_each_point_tile(const Extent& extent, Row&& visit, Tile&& tile) {
  const int begin = extent.rows.begin + static_cast<int>(blockIdx.y) * kMixingRows;
  const int end = min(begin + kMixingRows, extent.rows.end);
  const int first_tile = static_cast<int>(blockIdx.x) * kStripTiles;
  for (int row = begin + static_cast<int>(threadIdx.x) / kWarp; row < end; row += kMixingWarps) {
    const int end_tile = min(first_tile + kStripTiles, key_tiles(row, extent.tokens, 0));
    if (first_tile >= end_tile) continue;
    visit(row);
    for (int t = first_tile; t < end_tile; ++t) tile(row, t * kTileKeys);
  }
}

/// lse * log2(e), or the row's dot, for the four heads of each part.
template <int kParts>
__device__ inline void load_row_values(float (&values)[kParts][4], const float* source, int stride,
                                       int index, float factor, const MixingPlace& place,
                                       int heads) {
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
#pragma unroll
    for (int slot = 0; slot < 4; ++slot) {
      const int head = min(input_head(part, slot), place.heads.in_count - 1);
      const int map = place.batch * heads + place.heads.in_first + head;
      values[part][slot] = source[static_cast<std::size_t>(map) * stride + index] * factor;
    }
  }
}

template <int kParts>
__device__ inline void load_unit_weights(WeightBlock (&w)[kParts], const Number* weights,
                                         int unit) {
#pragma unroll
  for (int part = 0; part < kParts; ++part)
    w[part] = load_weights(weights + (unit * kParts + part) * 256);
}

inline dim3 mixing_grid(const MixingArgs& args) {
  const Extent& extent = args.extent;
  return dim3(static_cast<unsigned>(
                  ceil_div(key_tiles(extent.rows.end - 1, extent.tokens, 0), kStripTiles)),
              static_cast<unsigned>(ceil_div(extent.rows.size(), kMixingRows)),
              static_cast<unsigned>(extent.maps / extent.heads * args.plan.units));
}

/// M = W C, and the partial statistics of M's rows. Grid: (strips, row groups, batch x units).
template <int kParts>
__global__ void __launch_bounds__(kMixingThreads) mix_before_kernel(const MixingArgs args) {
  const MixingPlace place = mixing_place(args);
  const int heads = args.extent.heads;
  WeightBlock w[kParts];
  load_unit_weights<kParts>(w, args.weights, place.unit);
  for_each_point_tile(
      args.extent, [](int) {},
      [&](int row, int key) {
        Mixed mixed;
        clear(mixed);
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          mix_points<Half>(mixed, w[part], load_inputs(args.source, place, heads, part, row, key));
        }
        const Points m = pack_outputs<Half>(mixed);
        store_outputs<Half>(m, args.target, place, heads, row, key, {});
        if (args.statistics.partials != nullptr)
          store_mixed_partials(m, args.statistics, place, heads, row, key);
      });
}

/// A = dropout(W R), R read or made from M. The same grid.
template <class E, int kParts>
__global__ void __launch_bounds__(kMixingThreads) mix_after_kernel(const MixingArgs args) {
  const MixingPlace place = mixing_place(args);
  const int heads = args.extent.heads;
  WeightBlock w[kParts];
  load_unit_weights<kParts>(w, args.weights, place.unit);
  float lse2[kParts][4];
  for_each_point_tile(
      args.extent,
      [&](int row) {
        if (args.source_is_softmax)
          load_row_values<kParts>(lse2, args.lse, args.extent.tokens, row, kLog2e, place, heads);
      },
      [&](int row, int key) {
        Mixed mixed;
        clear(mixed);
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          Points r = load_inputs(args.source, place, heads, part, row, key);
          if (args.source_is_softmax) apply_softmax(r, lse2[part], row, key);
          mix_points<Half>(mixed, w[part], r);
        }
        store_outputs<E>(pack_outputs<E>(mixed), args.target, place, heads, row, key, args.dropout);
      });
}

template <int kParts>
void MixingKernels<kParts>::before(const MixingArgs& args, cudaStream_t stream) {
  mix_before_kernel<kParts><<<mixing_grid(args), kMixingThreads, 0, stream>>>(args);
}
template <int kParts>
void MixingKernels<kParts>::after(const MixingArgs& args, ElementType type, cudaStream_t stream) {
  if (type == ElementType::BFloat16) {
    mix_after_kernel<Brain, kParts><<<mixing_grid(args), kMixingThreads, 0, stream>>>(args);
  } else {
    mix_after_kernel<Half, kParts><<<mixing_grid(args), kMixingThreads, 0, stream>>>(args);
  }
}

}  // namespace mta::kernels
