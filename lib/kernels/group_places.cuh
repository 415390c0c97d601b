// Groups of eight rows, half of a tile in memory: where they lie in a launch's maps.
#pragma once

#include "lib/kernels/map_view.cuh"

namespace mta::kernels {

/// A table for some rows of the maps of a launch, which all have one shape: for each group a place
/// in pieces of 16 bytes from the map's begin on.
class GroupPlaces {
 public:
  /// Group 0 has rows first_row.., a multiple of kGroupRows. The block meets before the `count`
  /// numbers of the table are used.
  __device__ GroupPlaces(const MapView& view, int first_row, unsigned* table, int count)
      : table_(table) {
    const MapBlocks blocks(view, first_row & ~(kMapRows - 1));
    const int half = first_row / kGroupRows & 1;
    for (int n = static_cast<int>(threadIdx.x); n < count; n += static_cast<int>(blockDim.x)) {
      const int line = n + half;
      table[n] = static_cast<unsigned>(blocks.first_tile(line / 2) * kMapPieces +
                                       line % 2 * (kMapPieces / 2));
    }
  }
  __device__ unsigned operator[](int group) const { return table_[group]; }

 private:
  const unsigned* table_;
};

/// The place in a group's first row that `column` is in row 0 of the map.
template <class Place>
__device__ inline Place* in_group(Place* column, unsigned group_place) {
  return column + static_cast<std::size_t>(group_place) * (kChunk * kNumberBytes / sizeof(Place));
}
/// A key in row 0 of a map.
__device__ inline Number* map_column(const MapView& view, int map, int key) {
  return map_tiles(view, map) + key_place(key);
}

}  // namespace mta::kernels
