// Groups of eight rows, half of a tile in memory: where they lie in a launch's maps.
#pragma once

#include "lib/kernels/map_view.cuh"

namespace mta::kernels {

/// What a warp has to do where rows stream: rows first_row..end_row-1 of the two key tiles from
/// first_key on. first_row is a multiple of kMapRows.
struct RowSegment {
  int map, first_key, first_row, end_row;
};

/// A table for some rows of the maps of a launch, which all have one shape: for each group a place
/// in pieces of 16 bytes from the map's begin on.
class GroupPlaces {
 public:
  /// `count` groups from row `first_row` on, a multiple of kGroupRows. The block meets before the
  /// table is used.
  __device__ GroupPlaces(const MapView& view, int first_row, unsigned* table, int count)
      : table_(table) {
    table_ += -place(first_row);
    const MapBlocks blocks(view, first_row & ~(kMapRows - 1));
    const int half = first_row / kGroupRows & 1;
    for (int n = static_cast<int>(threadIdx.x); n < count; n += static_cast<int>(blockDim.x)) {
      const int line = n + half;
      table[n] = static_cast<unsigned>(blocks.first_tile(line / 2) * kMapPieces +
                                       line % 2 * (kMapPieces / 2));
    }
  }
  /// Of the group that begins with row `row`.
  __device__ unsigned operator()(int row) const { return table_.load_word(place(row)); }

 private:
  /// In bytes from row 0's on, which may not be there.
  __device__ static int place(int row) {
    return static_cast<int>(static_cast<unsigned>(row) * kWordBytes / kGroupRows);
  }
  static_assert(kWordBytes < kGroupRows);
  SharedPlace table_;
};

/// The same for a segment, from the begin of the launch's maps on.
class SegmentPlaces {
 public:
  __device__ SegmentPlaces(const GroupPlaces& groups, const MapView& view,
                           const RowSegment& segment)
      : groups_(groups), first_(segment.map * view.numbers + key_place(segment.first_key)) {}
  __device__ unsigned group(int row) const { return groups_(row); }
  /// Of the segment's first key in a group's first row, in numbers.
  __device__ std::ptrdiff_t operator()(unsigned group) const {
    return in_register(first_ + std::ptrdiff_t{group} * kChunk);
  }

 private:
  const GroupPlaces groups_;
  const std::ptrdiff_t first_;
};

/// A key in row 0 of a map.
__device__ inline Number* map_column(const MapView& view, int map, int key) {
  return map_tiles(view, map) + key_place(key);
}

}  // namespace mta::kernels
