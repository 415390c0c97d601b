// Head mixing at single points of the maps: layouts, copies and products that both directions
// share.
//
// A warp mixes 16 heads at 64 neighbouring keys of one row: out[16 heads, points] = W[16, 16] in[16
// heads, points], eight points an instruction. Point n (0..7) of instruction t is key
// 8 * group(n) + t, so that a lane reads and writes whole 16-byte pieces:
//
//   input layout (B operand):  lane (g, q) has heads 2q, 2q+1, 2q+8, 2q+9, keys of group(g)
//   output layout (C operand): lane (g, q) has heads g, g+8, keys of groups q and q+4
//   group(2q) = q, group(2q+1) = q+4
#pragma once

#include "lib/kernels/device.h"
#include "lib/kernels/row_sums.cuh"

namespace mta::kernels {

constexpr int kMixingThreads = kMixingWarps * kWarp;  // each warp takes every fourth row

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
/// The group of chunk n in output layout.
__device__ inline int output_group(int n) { return lane_place().q + n % 2 * 4; }

/// The head of input slot 0..3 of part `part`, counted from the unit's first head.
__device__ inline int input_head(int part, int slot) {
  return 16 * part + 2 * lane_place().q + slot % 2 + slot / 2 * 8;
}

/// Stages that a kernel is built for on the smallest card, beside the usual two.
template <int kPieces>
constexpr int kFewestStages = mixing_stages(kPieces, kLeastSharedBytes);

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
  keep_causal(points, row, key, output_group);
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
__device__ inline WeightBlock load_weights(const Number* block, const Lane& lane = lane_place()) {
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

/// The statistics of a row's 64 keys from `key` on, zero past the diagonal: lane (g, q) gets those
/// of head g + 8 (q % 2).
__device__ inline float2 mixed_partials(const Points& m, int row, int key) {
  Word words[2][8];
#pragma unroll
  for (int n = 0; n < 16; ++n) words[n / 8][n % 8] = (&m.chunk[n / 4].x)[n % 4];
  const int last = row - key, lasts[2] = {last, last};
  return row_partials(words, lasts, last >= kTileKeys - 1,
                      [](int n) { return kChunk * output_group(n / 4) + n % 4 * 2; });
}
/// Leaves them to memory.
__device__ inline void store_mixed_partials(const Points& m, const RowStatistics& statistics,
                                            const MixingPlace& place, int heads, int row, int key) {
  const Lane lane = lane_place();
  const float2 partial = mixed_partials(m, row, key);
  const int map = lane.q < 2 ? output_map(place, heads, lane.q) : -1;
  if (map >= 0) statistics.partials[statistics.index(map, row, key / kTileKeys)] = partial;
}

__device__ inline MixingPlace mixing_place(const MixingArgs& args) {
  MixingPlace place;
  place.batch = static_cast<int>(blockIdx.z) / args.plan.units;
  place.unit = static_cast<int>(blockIdx.z) % args.plan.units;
  place.heads = mixing_unit(args.plan, place.unit, args.extent.heads);
  place.part = place.unit % args.plan.parts;
  return place;
}

/// A warp's walk over its rows of the block, and over the causal tiles of the strip in each.
class PointWalk {
 public:
  __device__ explicit PointWalk(const MixingArgs& args)
      : shape_(args.source.shape),
        shift_(ring_slot(args.extent.rows.begin, shape_.ring()) - args.extent.rows.begin),
        tokens_(args.extent.tokens),
        strip_tiles_(args.strip_tiles),
        first_tile_(static_cast<int>(blockIdx.x) * args.strip_tiles),
        row_(args.extent.rows.begin + static_cast<int>(blockIdx.y) * args.rows_a_block +
             static_cast<int>(threadIdx.x) / kWarp),
        end_row_(
            min(args.extent.rows.begin + (static_cast<int>(blockIdx.y) + 1) * args.rows_a_block,
                args.extent.rows.end)) {
    start_row();
  }
  __device__ bool valid() const { return row_ < end_row_; }
  __device__ bool starts_row() const { return tile_ == first_tile_; }
  __device__ int row() const { return row_; }
  __device__ int key() const { return tile_ * kTileKeys; }
  /// The row's first piece in the tile, from the map's first piece on.
  __device__ unsigned piece() const {
    return row_piece_ + static_cast<unsigned>(tile_) * kMapPieces;
  }
  __device__ void next() {
    if (++tile_ < end_tile_) return;
    row_ += kMixingWarps;
    start_row();
  }

 private:
  /// Goes down to the first row that reaches the strip.
  __device__ void start_row() {
    tile_ = first_tile_;
    for (; row_ < end_row_; row_ += kMixingWarps) {
      end_tile_ = min(first_tile_ + strip_tiles_, key_tiles(row_, tokens_, 0));
      if (first_tile_ < end_tile_) break;
    }
    const int slot = row_ + shift_, ring = shape_.ring();
    const int block = (slot < ring ? slot : slot - ring) / kMapRows;
    row_piece_ = static_cast<unsigned>(shape_.first_tile(block)) * kMapPieces +
                 static_cast<unsigned>(row_place(slot) / kChunk);
  }

  MapShape shape_;
  int shift_;  // from a row to its slot, but for the ring's end
  int tokens_, strip_tiles_, first_tile_, row_, end_row_, tile_ = 0, end_tile_ = 0;
  unsigned row_piece_ = 0;  // the row's first piece in its block's first tile
};

/// Calls start(stage, piece) kStages - 1 tiles before tile(stage, row, key, piece), and visit(row)
/// at each new row; `piece` is where the row begins in the tile. The warp meets when its copies
/// have come and when a tile has been used: lanes may read what others have copied.
template <int kStages, class Start, class Row, class Tile>
__device__ inline void for_each_point_tile(const MixingArgs& args, Start&& start, Row&& visit,
                                           Tile&& tile) {
  PointWalk walk(args), ahead(args);
  const auto start_next = [&](int stage) {
    if (ahead.valid()) {
      start(stage, ahead.piece());
      ahead.next();
    }
    commit_copies();
  };
  constexpr int kAhead = kStages - 1;
#pragma unroll
  for (int stage = 0; stage < kAhead; ++stage) start_next(stage);
  for (int stage = 0; walk.valid(); walk.next(), stage = stage < kAhead ? stage + 1 : 0) {
    __syncwarp();
    start_next(stage > 0 ? stage - 1 : kAhead);
    if (walk.starts_row()) visit(walk.row());
    wait_for_copies<kAhead>();
    __syncwarp();
    tile(stage, walk.row(), walk.key(), walk.piece());
  }
}

/// factor times a number of each map and row, for the four heads of each part; `missing` where
/// there is no head.
template <int kParts>
__device__ inline void load_row_values(float (&values)[kParts][4], const float* source, int stride,
                                       int index, float factor, float missing,
                                       const MixingPlace& place, int heads) {
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
#pragma unroll
    for (int slot = 0; slot < 4; ++slot) {
      const int head = input_head(part, slot);
      const bool valid = head < place.heads.in_count;
      const int map = place.batch * heads + place.heads.in_first + (valid ? head : 0);
      const float value = source[static_cast<std::size_t>(map) * stride + index] * factor;
      values[part][slot] = valid ? value : missing;
    }
  }
}

/// lse * log2(e) of a row; infinite where there is no head, as exp(0 - lse) may overflow.
template <int kParts>
__device__ inline void load_row_lse(float (&lse2)[kParts][4], const MixingArgs& args, int row,
                                    const MixingPlace& place) {
  load_row_values<kParts>(lse2, args.lse, args.extent.tokens, row, kLog2e, INFINITY, place,
                          args.extent.heads);
}
/// The dots of a row.
template <int kParts>
__device__ inline void load_row_dots(float (&dots)[kParts][4], const MixingArgs& args, int row,
                                     const MixingPlace& place) {
  load_row_values<kParts>(dots, args.dots, args.dot_rows, row - args.extent.rows.begin, 1, 0, place,
                          args.extent.heads);
}

/// A unit's weight blocks: in registers when there is one, else read where they are needed, so that
/// wide groups do not run out of registers.
template <int kParts>
class UnitWeights {
 public:
  __device__ UnitWeights(const Number* weights, int unit)
      : blocks_(weights + unit * kParts * 256), first_(load_weights(blocks_)) {}
  __device__ WeightBlock operator[](int part) const {
    return kParts == 1 ? first_ : load_weights(blocks_ + part * 256);
  }

 private:
  const Number* blocks_;
  WeightBlock first_;
};

inline dim3 mixing_grid(const MixingArgs& args) {
  const Extent& extent = args.extent;
  return dim3(static_cast<unsigned>(
                  ceil_div(key_tiles(extent.rows.end - 1, extent.tokens, 0), args.strip_tiles)),
              static_cast<unsigned>(ceil_div(extent.rows.size(), args.rows_a_block)),
              static_cast<unsigned>(extent.maps / extent.heads * args.plan.units));
}

using MixingKernel = void (*)(MixingArgs);

/// Launches a mixing kernel with a ring of kPieces 16-byte pieces a lane, and `more` bytes behind
/// it.
template <int kPieces, class Args>
void launch_mixing(void (*kernel)(Args), int stages, const Args& args, cudaStream_t stream,
                   int more = 0) {
  const int bytes = mixing_shared_bytes(kPieces, stages) + more;
  allow_shared_bytes(kernel, bytes);
  launch(kernel, mixing_grid(args), kMixingThreads, bytes, stream, args);
}

/// The same: `ahead` with two stages where they fit on this card, else `tight`, which has
/// kFewestStages.
template <int kPieces>
void launch_mixing_that_fits(MixingKernel ahead, MixingKernel tight, const MixingArgs& args,
                             cudaStream_t stream) {
  const bool fits =
      kFewestStages<kPieces> == 2 || mixing_stages(kPieces, current_device().shared_bytes) == 2;
  launch_mixing<kPieces>(fits ? ahead : tight, fits ? 2 : kFewestStages<kPieces>, args, stream);
}

}  // namespace mta::kernels
