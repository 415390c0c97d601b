// Head mixing of both sides of the softmax in a row, in registers: points stay where they are.
//
// A warp has 16 heads at 64 neighbouring keys of one row. Lane (g, q) holds eight keys, a group, of
// heads 2q, 2q+1, 2q+8, 2q+9: a whole 16-byte piece of each. Key pair t of all lanes is 16 points
// (the even key of the lane's group in row g, the odd one in row g+8) and multiplies the weights
// from the left, out[16 points, heads] = in[16 points, 16 heads] W^T:
//
//   A operand: points g, g+8; heads 2q, 2q+1, 2q+8, 2q+9
//   C operand: the same points and heads, so that the next mixing needs no shuffle
#pragma once

#include "lib/kernels/head_mixing_tiles.cuh"

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

/// The key group of the lane's pieces.
__device__ inline int lane_group() { return point_group<NeighbourGroups>(lane_place().g); }

/// Where the pieces that this lane stores lie in maps of one shape, beside those that it copies.
class LanePieces : public CopiedPieces {
 public:
  __device__ LanePieces(const MixingArgs& args, const MixingPlace& place)
      : CopiedPieces(args.source, args, place) {
    const int map = place.batch * args.extent.heads + place.heads.in_first + input_head(0, 0);
    first_ = map * map_numbers() + kChunk * lane_group();
  }
  /// Stores pieces in input layout: each instruction four whole heads.
  __device__ void store(const Points& points, const MapView& view, unsigned piece) const {
#pragma unroll
    for (int slot = 0; slot < 4; ++slot) {
      const int step = slot % 2 + slot / 2 * 8;  // heads from the lane's first on
      if (input_head(0, 0) - copied_head() + step >= room()) continue;
      *reinterpret_cast<uint4*>(piece_address(view, first_, piece) + step * map_numbers()) =
          points.chunk[slot];
    }
  }

 private:
  std::int64_t first_;  // the lane's first head and key
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
