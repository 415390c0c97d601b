// Where blocks that walk down rows of all heads stand: equal shares of all steps of a launch.
#pragma once

#include "lib/kernels/convolved_mixing.cuh"

namespace mta::kernels {

/// The steps of a launch: of all columns of 128 keys, one below the other, of all units.
struct UnitWalk {
  static constexpr int kDiagonalSteps = (kSegmentKeys + kMapRows) / kGroupRows;
  RowRange rows;
  int columns;
  int alike;        // the first columns, which no row's diagonal is in, have as many steps each:
  int alike_steps;  // so many
  int counts;       // of a unit
  /// Steps at the diagonal take longer: where the matrix unit sets the pace three of them count as
  /// four, in a block's share.
  bool is_steep;
  int share, rest;  // each block has `share` counts, the first `rest` ones have one more
  MTA_HOST_DEVICE int first_count(int block) const { return share * block + min_of(rest, block); }
  /// The block that a count is of.
  MTA_HOST_DEVICE int block_of(int count) const {
    const int larger = rest * (share + 1);
    return count < larger ? count / (share + 1) : rest + (count - larger) / share;
  }
  MTA_HOST_DEVICE int first_row(int column) const {
    return max_of(rows.begin, column * kSegmentKeys);
  }
  MTA_HOST_DEVICE bool is_weighted(int column) const {
    return is_steep && column * kSegmentKeys >= rows.begin;
  }
  MTA_HOST_DEVICE int column_counts(int column) const {
    const int steps = ceil_div(rows.end - first_row(column), kGroupRows);
    return steps + (is_weighted(column) ? min_of(steps, kDiagonalSteps) / 3 : 0);
  }
  /// The row that a count is at.
  MTA_HOST_DEVICE int row(int column, int count) const {
    const int steps = count - (is_weighted(column) ? min_of(count, kDiagonalSteps / 3 * 4) / 4 : 0);
    return min_of(first_row(column) + steps * kGroupRows, rows.end);
  }
};
inline UnitWalk unit_walk(const RowRange& rows, bool is_steep) {
  UnitWalk walk = {};
  walk.rows = rows;
  walk.columns = ceil_div(rows.end, kSegmentKeys);
  walk.alike = ceil_div(rows.begin, kSegmentKeys);
  walk.alike_steps = ceil_div(rows.size(), kGroupRows);
  walk.is_steep = is_steep;
  for (int column = 0; column < walk.columns; ++column) walk.counts += walk.column_counts(column);
  return walk;
}

/// Calls visit(place) for each piece of a column that this block has, in order. From one to the
/// next only a number is kept: the rest would take registers through all of a walk.
template <class Visit>
__device__ inline void for_each_segment(const ConvolvedMixingArgs& args, const UnitWalk& walk,
                                        Visit&& visit) {
  int next = walk.first_count(static_cast<int>(blockIdx.x));
#pragma unroll 1
  while (true) {
    const int end = walk.first_count(in_register(static_cast<int>(blockIdx.x)) + 1);
    if (next >= end) break;
    const int units = args.plan.units, unit = next / walk.counts;
    int column = 0, count = next - unit * walk.counts, counts = 0;
    for (; column < walk.alike && count >= walk.alike_steps; ++column) count -= walk.alike_steps;
    for (; count >= (counts = walk.column_counts(in_register(column))); ++column) count -= counts;
    const int end_count = min(count + end - next, counts);
    FusedPlace place = {};
    place.unit.batch = unit / units;
    place.unit.unit = unit - place.unit.batch * units;
    place.unit.heads = mixing_unit(args.plan, place.unit.unit, args.extent.heads);
    place.first_map = place.unit.batch * args.extent.heads + place.unit.heads.in_first;
    place.first_key = column * kSegmentKeys;
    place.first_row = walk.row(column, count);
    place.end_row = walk.row(column, end_count);
    next += end_count - count;
    if (place.first_row < place.end_row) visit(place, next);
  }
}

}  // namespace mta::kernels
