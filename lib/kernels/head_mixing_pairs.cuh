// Head mixing of both sides of the softmax in a row, in registers: points stay where they are.
//
// A warp has 16 heads at 64 neighbouring keys of one row. Lane (g, q) holds eight keys, those of
// group g, of heads 2q, 2q+1, 2q+8, 2q+9: a whole 16-byte piece of each. Key pair t of all lanes is
// 16 points (the even key of group g in row g, the odd one in row g+8) and multiplies the weights
// from the left, out[16 points, heads] = in[16 points, 16 heads] W^T:
//
//   A operand: points g, g+8; heads 2q, 2q+1, 2q+8, 2q+9
//   C operand: the same points and heads, so that the next mixing needs no shuffle
#pragma once

#include "lib/kernels/head_mixing_points.cuh"

namespace mta::kernels {

/// Key pair t: the A operand.
struct PointPair {
  Word a[4];
};

/// fp32 [n][e]: head of slot 2 n + e % 2, key 2 t + e / 2 of the lane's group.
using PairValues = float[2][4];

__device__ inline PointPair point_pair(const Points& x, int t) {
  const auto word = [&](int slot) { return (&x.chunk[slot].x)[t]; };
  constexpr unsigned kEven = 0x5410u, kOdd = 0x7632u;
  return {{__byte_perm(word(0), word(1), kEven), __byte_perm(word(0), word(1), kOdd),
           __byte_perm(word(2), word(3), kEven), __byte_perm(word(2), word(3), kOdd)}};
}

template <class E>
__device__ inline PointPair pack_pair(const PairValues& x) {
  return {{pack<E>(x[0][0], x[0][1]), pack<E>(x[0][2], x[0][3]), pack<E>(x[1][0], x[1][1]),
           pack<E>(x[1][2], x[1][3])}};
}

/// Puts pair t among the lane's pieces, as memory has them.
template <class E>
__device__ inline void put_pair(Points& target, int t, const PairValues& x) {
#pragma unroll
  for (int slot = 0; slot < 4; ++slot) {
    (&target.chunk[slot].x)[t] = pack<E>(x[slot / 2][slot % 2], x[slot / 2][slot % 2 + 2]);
  }
}

/// out = in W^T; the rows of W are the outputs, as in load_weights.
template <class E>
__device__ inline void mix_pair(PairValues& out, const WeightBlock& w, const PointPair& in) {
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) out[n][e] = 0;
    mma_k16<E>(out[n], in.a[0], in.a[1], in.a[2], in.a[3], w.a[n], w.a[n + 2]);
  }
}

/// The same points with the points along the words, exactly: heads g, g+8; points 2q, 2q+1, 2q+8,
/// 2q+9. What a sum over points needs of both operands.
template <class From, class To>
__device__ inline PointPair across_points(const PointPair& x) {
  const WeightBlock one = identity_weights<From>();
  float low[4] = {}, high[4] = {};  // heads g, g+8: points 2q, 2q+1, 2q+8, 2q+9
  mma_k16<From>(low, one.a[0], one.a[1], one.a[2], one.a[3], x.a[0], x.a[1]);
  mma_k16<From>(high, one.a[0], one.a[1], one.a[2], one.a[3], x.a[2], x.a[3]);
  return {{pack<To>(low[0], low[1]), pack<To>(high[0], high[1]), pack<To>(low[2], low[3]),
           pack<To>(high[2], high[3])}};
}

/// sums[row head, column head] += rows columns^T over 16 points, both from across_points.
template <class E>
__device__ inline void accumulate_pair_gram(float (&sums)[2][4], const PointPair& rows,
                                            const PointPair& columns) {
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    mma_k16<E>(sums[n], rows.a[0], rows.a[1], rows.a[2], rows.a[3], columns.a[n], columns.a[n + 2]);
  }
}

/// A unit's block of weights; without weights the identity.
template <class E>
__device__ inline WeightBlock weights_or_identity(const Number* blocks, int unit) {
  return blocks == nullptr ? identity_weights<E>() : load_weights(blocks + unit * kMixingBlock);
}

/// The tiles of kMaps maps under way: [stage, map, slot, warp, 32 pieces]. Lane (g, q) keeps its
/// pieces of even slots at place 4 g + q with two bits of g added to the lowest three, those of odd
/// slots beside it: eight lanes at a time then use all banks once, whether they copy or read their
/// own pieces or each other's.
template <int kMaps>
class TileRing {
 public:
  __device__ explicit TileRing(uint4* shared)
      : own_{SharedPlace(shared + first() + own_place()),
             SharedPlace(shared + first() + (own_place() ^ 1))},
        across_{SharedPlace(shared + first() + across_place(0)),
                SharedPlace(shared + first() + across_place(1))} {}

  /// Copies one piece; zeros when not `valid`.
  __device__ void start(int stage, int map, int slot, const Number* source, bool valid) const {
    own_[slot % 2].copy_async(offset(stage, map, slot), source, valid);
  }
  /// The lane's own pieces, by slot.
  __device__ Points own(int stage, int map) const {
    Points points;
#pragma unroll
    for (int slot = 0; slot < 4; ++slot) {
      points.chunk[slot] = own_[slot % 2].load(offset(stage, map, slot));
    }
    return points;
  }
  /// Heads along the lanes: chunk n is head g + 8 (n / 2), keys of group 2 q + n % 2. The warp must
  /// have met since its copies came, and meet again before the stage is copied to.
  __device__ Points across(int stage, int map) const {
    Points points;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      points.chunk[n] = across_[n % 2].load(offset(stage, map, n / 2 * 2));
    }
    return points;
  }

 private:
  __device__ static int first() { return static_cast<int>(threadIdx.x) / kWarp * kWarp; }
  __device__ static int own_place() {
    const Lane lane = lane_place();
    return (4 * lane.g + lane.q) ^ (lane.g & 6);
  }
  /// The piece of head g's keys of group 2 q + parity, in slot g % 2.
  __device__ static int across_place(int parity) {
    const Lane lane = lane_place();
    const int owner = 8 * lane.q + 4 * parity + lane.g / 2, moved = 2 * lane.q + lane.g % 2;
    return lane.g % 2 * kMixingThreads + (owner ^ moved);
  }
  __device__ static int offset(int stage, int map, int slot) {
    return ((stage * kMaps + map) * 4 + slot) * kMixingThreads * static_cast<int>(sizeof(uint4));
  }

  SharedPlace own_[2], across_[2];
};

/// Where this lane's pieces lie in maps of one shape.
class LanePieces {
 public:
  __device__ LanePieces(const MixingArgs& args, const MixingPlace& place)
      : room_(place.heads.in_count - input_head(0, 0)),
        ring_(args.source.ring),
        pitch_(args.source.pitch),
        shift_(ring_slot(args.extent.rows.begin, ring_) - args.extent.rows.begin) {
    const int map = place.batch * args.extent.heads + place.heads.in_first + input_head(0, 0);
    map_ = static_cast<std::size_t>(ring_) * pitch_;
    first_ = map * map_ + kChunk * lane_place().g;
  }
  /// Offset of a row of the extent and a tile's first key, the same for all maps.
  __device__ std::size_t tile(int row, int key) const {
    const int slot = row + shift_;
    return static_cast<std::size_t>(slot < ring_ ? slot : slot - ring_) * pitch_ + key;
  }
  template <int kMaps>
  __device__ void start(const TileRing<kMaps>& ring, int stage, int map, const MapView& view,
                        std::size_t tile) const {
#pragma unroll
    for (int slot = 0; slot < 4; ++slot) {
      ring.start(stage, map, slot, view.data + place(slot, tile), valid(slot));
    }
  }
  __device__ void store(const Points& points, const MapView& view, std::size_t tile) const {
#pragma unroll
    for (int slot = 0; slot < 4; ++slot) {
      if (!valid(slot)) continue;
      *reinterpret_cast<uint4*>(view.data + place(slot, tile)) = points.chunk[slot];
    }
  }

 private:
  /// Heads from the lane's first to that of a slot.
  __device__ static int step(int slot) { return slot % 2 + slot / 2 * 8; }
  __device__ bool valid(int slot) const { return step(slot) < room_; }
  __device__ std::size_t place(int slot, std::size_t tile) const {
    return first_ + tile + step(slot) * map_;
  }

  int room_, ring_, pitch_, shift_;  // heads from the lane's first to the unit's end
  std::size_t map_, first_;          // numbers of a map; the lane's first head and key
};

/// Keeps a lane's keys up to `last`, counted from the first of its group.
__device__ inline void keep_keys(Points& points, int last) {
#pragma unroll
  for (int n = 0; n < 4; ++n) points.chunk[n] = keep_first(points.chunk[n], last + 1);
}

/// A number of each head in the rows of the block, [rows a block, 16 heads] in shared memory, so
/// that no row waits for its own: each warp reads those of its rows when it starts.
class RowNumbers {
 public:
  /// factor numbers[map, row - begin], of maps that are `stride` apart; `missing` for heads that
  /// the block has no data for. The warp must meet before it reads them.
  __device__ RowNumbers(float* shared, const MixingArgs& args, const MixingPlace& place,
                        const float* numbers, int stride, int begin, float factor, float missing)
      : shared_(shared),
        first_(args.extent.rows.begin + static_cast<int>(blockIdx.y) * args.rows_a_block) {
    const int first_map = place.batch * args.extent.heads + place.heads.in_first;
    const int warp = static_cast<int>(threadIdx.x) / kWarp,
              lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll 2
    for (int n = lane; n < args.rows_a_block / kMixingWarps * kUnitHeads; n += kWarp) {
      const int row = first_ + warp + n / kUnitHeads * kMixingWarps, head = n % kUnitHeads;
      if (row >= args.extent.rows.end) continue;
      const float* const number =
          numbers + static_cast<std::size_t>(first_map + head) * stride + row - begin;
      shared_[(row - first_) * kUnitHeads + head] =
          head < place.heads.in_count ? *number * factor : missing;
    }
  }
  template <int kHeads, class HeadOf>
  __device__ void read(float (&values)[kHeads], int row, HeadOf&& head_of) const {
#pragma unroll
    for (int n = 0; n < kHeads; ++n) {
      values[n] = shared_[(row - first_) * kUnitHeads + head_of(n)];
    }
  }

 private:
  float* shared_;
  int first_;
};

}  // namespace mta::kernels
