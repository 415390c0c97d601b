// A window of map rows that slides down the map, and the sizes that all windows of a call share.
//
//   slot   0 ...... halo-1   rows above the block, kept from the block before (zeros above row 0)
//          halo ... +block   the rows of this block
//          ........ +flush   zeros below the last row, for the transposed convolutions
//
// Row r has values in columns [0, extent(r)) and zeros in the rest of its slot and in the margin
// before it, which is also the margin after the row above. Extents grow with r and slots only ever
// move on to later rows, so what a row leaves behind never shows.
#pragma once

#include "lib/ops/cpu/call.h"
#include "lib/ops/cpu/vector.h"

namespace mta::ops::cpu::MTA_SIMD {

/// Hands out 64-byte aligned pieces of a workspace; with no base it only counts.
class Arena {
 public:
  explicit Arena(void* base) : base_(static_cast<char*>(base)) {}

  template <class T>
  T* take(Index count) {
    char* piece = base_ == nullptr ? nullptr : base_ + used_;
    used_ += round_up(count * static_cast<Index>(sizeof(T)), kCacheLine);
    return reinterpret_cast<T*>(piece);
  }
  Index used() const { return used_; }

 private:
  static constexpr Index kCacheLine = 64;
  char* base_;
  Index used_ = 0;
};

template <class T>
struct Geometry {
  Index rows, keys, first_row;
  Index overhang;            // columns right of the diagonal that `exact` scores need
  Index halo, flush, block;  // rows
  Index margin, row_step;    // elements

  Geometry(const Forward<T>& call, Index halo_rows, Index flush_rows, Index windows)
      : rows(call.rows),
        keys(call.keys),
        first_row(call.first_row),
        overhang(call.kq_before.exact ? call.kq_before.halo() : 0),
        halo(halo_rows),
        flush(flush_rows) {
    const Index reach = larger(call.kq_before.key_span, call.kq_after.key_span) - 1;
    margin = round_up(reach, kLanes<T>);
    row_step = margin + round_up(keys, kLanes<T>);
    if (row_step / kLanes<T> % 4 == 0)
      row_step += kLanes<T>;  // rows of 4 KiB would share cache sets
    // Half of a 1 MiB second-level cache for the windows; one block where the whole map is that
    // small.
    constexpr Index kBytes = 512 * 1024;
    const Index row_bytes = windows * call.unit_heads * row_step * static_cast<Index>(sizeof(T));
    const Index fitting = larger<Index>(kBytes / row_bytes, kTileRows) / kTileRows * kTileRows;
    block = smaller(round_up(rows, kTileRows), fitting);
  }

  Index slots() const { return halo + block + flush; }
  bool slides() const { return rows > block; }
  /// The last key that row r may see.
  Index last(Index r) const { return first_row + r; }
  Index tile_end(Index r) const { return smaller((r / kTileRows + 1) * kTileRows, rows); }
  Index extent(Index r) const { return round_up(first_row + tile_end(r), kLanes<T>); }
  Index score_columns(Index r) const { return smaller(first_row + tile_end(r) + overhang, keys); }
  Index score_extent(Index r) const { return round_up(score_columns(r), kLanes<T>); }
};

template <class T>
struct MapWindow {
  T* data = nullptr;
  Index heads = 0, row_step = 0, head_step = 0, margin = 0;
  Index base = 0;  // the row in slot 0

  /// Memory for `slot_count` rows of each head.
  static MapWindow take(Arena& arena, Index heads, Index slot_count, Index row_step, Index margin) {
    MapWindow w{nullptr, heads, row_step, slot_count * row_step, margin, 0};
    w.data = arena.take<T>(w.size());
    return w;
  }
  static MapWindow take(Arena& arena, Index heads, const Geometry<T>& g) {
    return take(arena, heads, g.slots(), g.row_step, g.margin);
  }
  Index size() const { return heads * head_step + margin; }
  /// Column 0 of row r.
  T* row(Index head, Index r) const {
    return data + head * head_step + (r - base) * row_step + margin;
  }

  void clear() { std::memset(data, 0, static_cast<std::size_t>(size()) * sizeof(T)); }

  /// Makes `first` the row of slot 0 and keeps the rows [first, end).
  void slide(Index first, Index end) {
    for (Index h = 0; h < heads && first > base; ++h) {
      std::memmove(row(h, base) - margin, row(h, first) - margin,
                   static_cast<std::size_t>((end - first) * row_step) * sizeof(T));
    }
    base = first;
  }
  void clear_rows(Index first, Index end) {
    for (Index h = 0; h < heads; ++h) {
      std::memset(row(h, first) - margin, 0,
                  static_cast<std::size_t>((end - first) * row_step) * sizeof(T));
    }
  }
};

}  // namespace mta::ops::cpu::MTA_SIMD
