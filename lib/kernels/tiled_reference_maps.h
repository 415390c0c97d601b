// The twin's memory and convolution: ring buffers of maps, tiles with halos, windows along the
// keys.
#pragma once

#include "lib/kernels/params.h"
#include "lib/kernels/workspace.h"

#include <cstddef>
#include <functional>
#include <limits>
#include <map>
#include <stdexcept>
#include <vector>

namespace mta::kernels::reference {

/// One map buffer of the workspace: [maps, ring, pitch], NaN until written.
struct RingMap {
  int ring, pitch;
  std::vector<double> data;

  RingMap(int maps, const WorkspacePlan& plan)
      : ring(plan.shape.ring()),
        pitch(plan.keys()),
        data(static_cast<std::size_t>(maps) * static_cast<std::size_t>(plan.shape.ring()) *
                 static_cast<std::size_t>(plan.keys()),
             std::numeric_limits<double>::quiet_NaN()) {}
  double& at(int map, int row, int key) {
    const auto line = static_cast<std::size_t>(map) * static_cast<std::size_t>(ring) +
                      static_cast<std::size_t>(ring_slot(row, ring));
    return data[line * static_cast<std::size_t>(pitch) + static_cast<std::size_t>(key)];
  }
};

/// Names of one offset are one buffer, as in the kernels' workspace. A that the kernels never store
/// (kNone) gets one of its own.
class Buffers {
 public:
  Buffers(int maps, const WorkspacePlan& plan) : maps_(maps), plan_(plan) {}
  RingMap& operator[](std::size_t offset) {
    return maps_by_offset_.try_emplace(offset, maps_, plan_).first->second;
  }

 private:
  int maps_;
  const WorkspacePlan& plan_;
  std::map<std::size_t, RingMap> maps_by_offset_;
};

/// Partial sums of a gradient as the kernels keep them, [lines, slots, width]: each block adds to a
/// slot of its own, and they are added up in order at the end.
class SlotSums {
 public:
  SlotSums(int lines, int slots, int width)
      : slots_(slots), width_(width), data_(count(lines) * count(slots) * count(width)) {}
  /// Throws where a block has no slot.
  double& at(int line, int slot, int n) {
    if (slot < 0 || slot >= slots_) throw std::out_of_range("a block without a slot for its sums");
    return data_.at((count(line) * count(slots_) + count(slot)) * count(width_) + count(n));
  }
  /// target[head, n] = sum over batch elements and slots; line = batch element * heads + head.
  void add_up(int heads, std::vector<double>& target) const;

 private:
  static std::size_t count(int n) { return static_cast<std::size_t>(n); }

  int slots_, width_;
  std::vector<double> data_;
};

/// A loaded tile: rows first_row.., keys first_key..; zero where `load` is not defined.
struct Tile {
  int first_row, first_key, rows, columns;
  std::vector<double> data;
  double at(int row, int column) const {
    return data[static_cast<std::size_t>(row * columns + column)];
  }
};
Tile load_tile(int first_row, int first_key, int rows, int columns,
               const std::function<double(int, int)>& load);

/// One head's kernel as a correlation over a tile: weight(a, b) at tile row r+a, key j-left+b.
struct TileKernel {
  const float* weights;
  int query_span;
  KeyWindow window;
  bool flipped;  // the transposed convolution reads the kernel backwards
  double weight(int a, int b) const;
};
TileKernel forward_kernel(const Convolution& conv, int head);
TileKernel backward_kernel(const Convolution& conv, int head);

/// sum_{a,b} weight(a, b) tile[r+a, ...] for output (r, c) of a tile; `keep(a, column)` drops
/// single terms.
double convolve(const Tile& tile, const TileKernel& kernel, int r, int c,
                const std::function<bool(int, int)>& keep);

}  // namespace mta::kernels::reference
