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

/// The key group of point n; a lane has those of point n = g. Neighbours, exchanged in every second
/// pair, so that groups of even n are not all even: TileRing says why.
__device__ inline int point_group(int n) { return n ^ n / 2 % 2; }
__device__ inline int lane_group() { return point_group(lane_place().g); }

/// What a lane copies: pieces of key group lane % 8, heads lane / 8 + 4 n. Eight lanes then ask for
/// a head's 128 bytes at once.
__device__ inline int copied_head() { return static_cast<int>(threadIdx.x) % kWarp / kChunk; }
__device__ inline int copied_group() { return static_cast<int>(threadIdx.x) % kChunk; }

/// The tiles of kMaps maps under way: [stage, map, warp, 16 heads, 8 pieces], in shared memory that
/// begins at a multiple of 256 bytes. The pieces of a head stand at the number of their group, with
/// two bits of the head's number in an exclusive or with it: eight lanes at a time use all banks
/// once, whether they copy a head, read two neighbouring groups of four heads, or four groups of
/// two heads. The lowest bit stays as it is: a copy whose sector of 32 bytes does not come to lie
/// in a sector asks for it twice.
///
/// A lane reads what others have copied: the warp must have met since its copies came, and must
/// meet again before the stage is copied to.
template <int kMaps>
class TileRing {
 public:
  __device__ explicit TileRing(uint4* shared)
      : copied_(lane_piece(shared, copied_head(), copied_group())),
        own_(lane_piece(shared, input_head(0, 0), lane_group())),
        across_(lane_piece(shared, lane_place().g, point_group(2 * lane_place().q))) {}

  /// Copies the lane's n-th piece; zeros when not `valid`.
  __device__ void start(int stage, int map, int n, const Number* source, bool valid) const {
    constexpr unsigned kFourHeadsOn = 4 * kPieceBytes;  // without the heads' rows
    const SharedPlace place = n % 2 == 0 ? copied_ : copied_ ^ kFourHeadsOn;
    place.copy_async(offset(stage, map, 4 * n), source, valid);
  }
  /// The pieces of heads input_head(0, slot), keys of lane_group().
  __device__ Points own(int stage, int map) const {
    constexpr unsigned kOddHead = kHeadBytes + 2 * kPieceBytes;
    Points points;
#pragma unroll
    for (int slot = 0; slot < 4; ++slot) {
      const SharedPlace place = slot % 2 == 0 ? own_ : own_ ^ kOddHead;
      points.chunk[slot] = place.load(offset(stage, map, slot / 2 * 8));
    }
    return points;
  }
  /// Heads along the lanes: chunk n is head g + 8 (n / 2), keys of point_group(2 q + n % 2).
  __device__ Points across(int stage, int map) const {
    constexpr unsigned kOddPoint = kPieceBytes;
    Points points;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const SharedPlace place = n % 2 == 0 ? across_ : across_ ^ kOddPoint;
      points.chunk[n] = place.load(offset(stage, map, n / 2 * 8));
    }
    return points;
  }

 private:
  static constexpr int kPieceBytes = sizeof(uint4), kHeadBytes = kTileKeys * kNumberBytes;

  /// Where a head's piece lies in the warp's tile. It is 8 rows further for head + 8.
  __device__ static SharedPlace lane_piece(uint4* shared, int head, int group) {
    const int warp = static_cast<int>(threadIdx.x) / kWarp, moved = (head / 2 ^ head % 2) % 4 * 2;
    return SharedPlace(shared + (warp * kUnitHeads + head) * kChunk + (group ^ moved));
  }
  __device__ static int offset(int stage, int map, int heads) {
    return ((stage * kMaps + map) * kMixingWarps * kUnitHeads + heads) * kHeadBytes;
  }

  SharedPlace copied_, own_, across_;  // of the first of the lane's pieces
};

/// Where the pieces that this lane copies, and those that it stores, lie in maps of one shape.
class LanePieces {
 public:
  __device__ LanePieces(const MixingArgs& args, const MixingPlace& place)
      : room_(place.heads.in_count - copied_head()),
        ring_(args.source.ring),
        pitch_(args.source.pitch),
        shift_(ring_slot(args.extent.rows.begin, ring_) - args.extent.rows.begin) {
    const int map = place.batch * args.extent.heads + place.heads.in_first;
    map_ = static_cast<std::size_t>(ring_) * pitch_;
    copied_ = (map + copied_head()) * map_ + kChunk * copied_group();
    own_ = (map + input_head(0, 0)) * map_ + kChunk * lane_group();
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
    for (int n = 0; n < 4; ++n) {
      ring.start(stage, map, n, view.data + copied_ + tile + 4 * n * map_, 4 * n < room_);
    }
  }
  /// Stores pieces that lie as TileRing::own reads them: each instruction four whole heads.
  __device__ void store(const Points& points, const MapView& view, std::size_t tile) const {
#pragma unroll
    for (int slot = 0; slot < 4; ++slot) {
      const int step = slot % 2 + slot / 2 * 8;  // heads from the lane's first on
      if (input_head(0, 0) - copied_head() + step >= room_) continue;
      *reinterpret_cast<uint4*>(view.data + own_ + tile + step * map_) = points.chunk[slot];
    }
  }

 private:
  int room_;  // heads from the first that the lane copies to the unit's end
  int ring_, pitch_, shift_;
  std::size_t map_, copied_, own_;  // numbers of a map; the lane's first head and key
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
