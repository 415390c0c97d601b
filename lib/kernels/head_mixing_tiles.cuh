// Tiles of maps on their way through shared memory: how a warp that mixes copies them, and how its
// lanes read them.
//
// A lane needs pieces of several heads, and memory has a head's keys together. So eight lanes copy
// the 128 bytes of one head, which is one request to L2, and each lane reads what others have
// copied: the warp must have met since its copies came, and must meet again before a stage is
// copied to. for_each_point_tile sees to both.
#pragma once

#include "lib/kernels/head_mixing_points.cuh"

namespace mta::kernels {

/// Which key groups the points of an instruction belong to, and what is in an exclusive or with the
/// number of a head's piece in shared memory. The lowest bit of that number stays: a copy whose
/// sector of 32 bytes does not come to lie in a sector asks for it twice.
///
/// Here the groups of a pair of points are neighbours, and those of even points are not all even:
/// eight lanes at a time use all banks once, whether they copy a head, read a pair of points of
/// four heads (input layout) or the even or odd points of two heads (output layout).
struct NeighbourGroups {
  static constexpr int kOddPoint = 1, kOddHead = 2;
  __device__ static int even_point(int q) { return 2 * q ^ q % 2; }
};
/// The usual order, head_mixing_points.cuh: lanes store half a line in output layout. All banks
/// once as well but for reads in input layout, which use half of them twice: a pair's groups are
/// both even or both odd.
struct HalvedGroups {
  static constexpr int kOddPoint = 4, kOddHead = 4;
  __device__ static int even_point(int q) { return q; }
};

template <class Groups>
__device__ inline int point_group(int n) {
  return Groups::even_point(n / 2) ^ n % 2 * Groups::kOddPoint;
}

/// What a lane copies: pieces of key group lane % 8, heads lane / 8 + 4 n.
__device__ inline int copied_head() { return static_cast<int>(threadIdx.x) % kWarp / kChunk; }
__device__ inline int copied_group() { return static_cast<int>(threadIdx.x) % kChunk; }

/// kTiles tiles of 16 heads by 64 keys under way: [stage, tile, warp, 16 heads, 8 pieces], in
/// shared memory that begins at a multiple of 256 bytes.
template <int kTiles, class Groups>
class TileRing {
 public:
  __device__ explicit TileRing(uint4* shared)
      : copied_(place(shared, copied_head(), copied_group())),
        inputs_(place(shared, input_head(0, 0), point_group<Groups>(lane_place().g))),
        outputs_(place(shared, lane_place().g, Groups::even_point(lane_place().q))) {}

  /// Copies the lane's n-th piece of a tile; zeros when not `valid`.
  __device__ void start(int stage, int tile, int n, const Number* source, bool valid) const {
    constexpr unsigned kFourHeadsOn = 4 * kPieceBytes;  // beside four rows
    const SharedPlace place = n % 2 == 0 ? copied_ : copied_ ^ kFourHeadsOn;
    place.copy_async(offset(stage, tile, 4 * n), source, valid);
  }
  /// Input layout: the keys of point g.
  __device__ Points inputs(int stage, int tile) const {
    constexpr unsigned kOddHead = kHeadBytes + Groups::kOddHead * kPieceBytes;
    Points points;
#pragma unroll
    for (int slot = 0; slot < 4; ++slot) {
      const SharedPlace place = slot % 2 == 0 ? inputs_ : inputs_ ^ kOddHead;
      points.chunk[slot] = place.load(offset(stage, tile, slot / 2 * 8));
    }
    return points;
  }
  /// Output layout: chunk n is head g + 8 (n / 2), keys of point 2 q + n % 2.
  __device__ Points outputs(int stage, int tile) const {
    constexpr unsigned kOddPoint = Groups::kOddPoint * kPieceBytes;
    Points points;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const SharedPlace place = n % 2 == 0 ? outputs_ : outputs_ ^ kOddPoint;
      points.chunk[n] = place.load(offset(stage, tile, n / 2 * 8));
    }
    return points;
  }

 private:
  static constexpr unsigned kPieceBytes = sizeof(uint4), kHeadBytes = kTileKeys * kNumberBytes;

  /// Where a head's piece lies in the warp's tile. It is 8 rows further for head + 8.
  __device__ static SharedPlace place(uint4* shared, int head, int group) {
    const int warp = static_cast<int>(threadIdx.x) / kWarp,
              moved = 2 * (head / 2 % 4) ^ head % 2 * Groups::kOddHead;
    return SharedPlace(shared + (warp * kUnitHeads + head) * kChunk + (group ^ moved));
  }
  __device__ static int offset(int stage, int tile, int heads) {
    const int rows = (stage * kTiles + tile) * kMixingWarps * kUnitHeads + heads;
    return rows * static_cast<int>(kHeadBytes);
  }

  SharedPlace copied_, inputs_, outputs_;  // of the first of the lane's pieces
};

/// Where the pieces that this lane copies lie in maps of one shape.
class CopiedPieces {
 public:
  __device__ CopiedPieces(const MapView& shape, const MixingArgs& args, const MixingPlace& place)
      : room_(place.heads.in_count - copied_head()), map_(shape.numbers) {
    const int map = place.batch * args.extent.heads + place.heads.in_first + copied_head();
    first_ = map * map_ + kChunk * copied_group();
  }
  /// Copies tiles first_tile.. of the ring, one for each 16 heads of the unit. `piece`: as of
  /// PointWalk, the same for all maps.
  template <int kParts, int kTiles, class Groups>
  __device__ void start(const TileRing<kTiles, Groups>& ring, int stage, int first_tile,
                        const MapView& view, unsigned piece) const {
    const Number* source = piece_address(view, first_, piece);
#pragma unroll(kParts == 1 ? 4 : 1)  // wide groups: fewer addresses at a time
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const int heads = kUnitHeads * part + 4 * n;
        ring.start(stage, first_tile + part, n, source + heads * map_, heads < room_);
      }
    }
  }

 protected:
  /// `first` numbers from a piece of the first map on.
  __device__ static Number* piece_address(const MapView& view, std::int64_t first, unsigned piece) {
    return view.data + first + static_cast<std::int64_t>(piece) * kChunk;
  }
  __device__ std::int64_t map_numbers() const { return map_; }
  __device__ int room() const { return room_; }

 private:
  int room_;                  // heads from the first that the lane copies to the unit's end
  std::int64_t map_, first_;  // numbers of a map; the lane's first head and key
};

/// Where this lane stores what it has in output layout, in maps of the same shape.
class OutputPieces : public CopiedPieces {
 public:
  __device__ OutputPieces(const MapView& shape, const MixingArgs& args, const MixingPlace& place)
      : CopiedPieces(shape, args, place), heads_(place.heads.out_count - lane_place().g) {
    const int map = place.batch * args.extent.heads + place.heads.out_first + lane_place().g;
    first_ = map * map_numbers() + kChunk * lane_place().q;
  }
  __device__ void store(const Points& points, const MapView& view, unsigned piece) const {
    Number* const target = piece_address(view, first_, piece);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      if (n / 2 * 8 >= heads_) continue;
      *reinterpret_cast<uint4*>(target + n / 2 * 8 * map_numbers() + n % 2 * 4 * kChunk) =
          points.chunk[n];
    }
  }

 private:
  int heads_;           // from the lane's first to the block's end
  std::int64_t first_;  // the lane's first head and key
};

}  // namespace mta::kernels
