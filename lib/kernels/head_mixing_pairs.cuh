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

__device__ inline PointPair point_pair(const HalfPoints& x, int t) {
  const auto word = [&](int slot) { return (&x.chunk[slot].x)[t % 2]; };
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
  float even[4] = {}, odd[4] = {};
  mma_k16<From>(even, one.a[0], one.a[1], one.a[2], one.a[3], x.a[0], x.a[2]);
  mma_k16<From>(odd, one.a[0], one.a[1], one.a[2], one.a[3], x.a[1], x.a[3]);
  return {{pack<To>(even[0], even[1]), pack<To>(even[2], even[3]), pack<To>(odd[0], odd[1]),
           pack<To>(odd[2], odd[3])}};
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

/// Where this lane's pieces lie in maps of one shape.
class LanePieces {
 public:
  __device__ LanePieces(const MixingArgs& args, const MixingPlace& place)
      : heads_(place.heads.in_count),
        ring_(args.source.ring),
        pitch_(args.source.pitch),
        shift_(ring_slot(args.extent.rows.begin, ring_) - args.extent.rows.begin) {
    const int map = place.batch * args.extent.heads + place.heads.in_first + input_head(0, 0);
    map_ = static_cast<std::size_t>(ring_) * pitch_;
    first_ = map * map_ + kChunk * lane_place().g;
  }
  __device__ bool valid(int slot) const { return input_head(0, slot) < heads_; }
  /// Offset of a row of the extent and a tile's first key, the same for all maps.
  __device__ std::size_t tile(int row, int key) const {
    const int slot = row + shift_;
    return static_cast<std::size_t>(slot < ring_ ? slot : slot - ring_) * pitch_ + key;
  }
  template <int kPieces>
  __device__ void start(PieceRing<kPieces>& ring, int stage, int first_piece, const MapView& view,
                        std::size_t tile) const {
#pragma unroll
    for (int slot = 0; slot < 4; ++slot) {
      const Number* source = valid(slot) ? view.data + place(slot, tile) : view.data;
      ring.start_piece(stage, first_piece + slot, source, valid(slot));
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
  __device__ std::size_t place(int slot, std::size_t tile) const {
    return first_ + tile + (slot % 2 + slot / 2 * 8) * map_;
  }

  int heads_, ring_, pitch_, shift_;
  std::size_t map_, first_;  // numbers of a map; the lane's first head and key
};

/// Half of this lane's pieces of a tile of S or dA, zero past the diagonal.
template <int kPieces>
__device__ inline HalfPoints causal_half(const PieceRing<kPieces>& ring, int stage, int first_piece,
                                         int half, int row, int key) {
  HalfPoints points = ring.half_points(stage, first_piece, half);
  if (key + kTileKeys - 1 <= row) return points;
  const int first = key + kChunk * lane_place().g + 4 * half;
#pragma unroll
  for (int slot = 0; slot < 4; ++slot) {
    uint2& x = points.chunk[slot];
    x.x = keep_pair(x.x, first <= row, first < row);
    x.y = keep_pair(x.y, first + 2 <= row, first + 2 < row);
  }
  return points;
}

}  // namespace mta::kernels
