// The twin's walks: over rows, tiles and heads of a chunk, with the products and mixings that every
// stage is made of.
#pragma once

#include "lib/kernels/tiled_reference.h"
#include "lib/kernels/tiled_reference_maps.h"

#include <vector>

namespace mta::kernels::reference {

/// One call's plan, buffers and current chunk. A map index counts the maps in flight, [batch in
/// group, head].
class Walk {
 public:
  Walk(const Problem& problem, const ReferenceInputs& inputs, const WorkspacePlan& plan)
      : p_(problem),
        in_(inputs),
        plan_(plan),
        reach_(score_reach(problem)),
        maps_(plan.batch_group * plan.head_group, plan) {}

 protected:
  int maps() const { return chunk_.batches * chunk_.heads; }
  int head(int map) const { return chunk_.first_head + map % chunk_.heads; }
  /// The map's place among those of all heads of the batch elements in flight.
  int sum_line(int map) const { return map / chunk_.heads * p_.heads + head(map); }
  std::size_t global_map(int map) const {
    return static_cast<std::size_t>(chunk_.first_batch * p_.heads + sum_line(map));
  }
  std::size_t token(int map, int i) const {
    return global_map(map) * static_cast<std::size_t>(p_.tokens) + static_cast<std::size_t>(i);
  }
  const double* vector(const std::vector<double>& x, int map, int i) const {
    return x.data() + token(map, i) * static_cast<std::size_t>(p_.head_dim);
  }

  template <class Visit>
  void for_each_row(RowRange rows, Visit&& visit) {
    for (int map = 0; map < maps(); ++map) {
      for (int i = rows.begin; i < rows.end; ++i) visit(map, i);
    }
  }

  /// Row tiles anchored at rows.begin, key tiles up to the last row's reach.
  template <class Visit>
  void for_each_tile(RowRange rows, int reach, Visit&& visit) {
    for (int map = 0; map < maps(); ++map) {
      for (int i0 = rows.begin; i0 < rows.end; i0 += kTileRows) {
        const int last = min_of(i0 + kTileRows, rows.end) - 1;
        for (int t = 0; t < key_tiles(last, p_.tokens, reach); ++t)
          visit(map, i0, last, t * kTileKeys);
      }
    }
  }

  void products(const std::vector<double>& x, const std::vector<double>& y, double factor,
                int reach, std::size_t target) {
    for_each_tile(chunk_.rows, reach, [&](int map, int i0, int last, int j0) {
      for (int i = i0; i <= last; ++i) {
        for (int j = j0; j < j0 + kTileKeys; ++j) {
          double sum = 0;
          for (int c = 0; j < p_.tokens && c < p_.head_dim; ++c)
            sum += vector(x, map, i)[c] * vector(y, map, j)[c];
          maps_[target].at(map, i, j) = factor * sum;
        }
      }
    });
  }

  template <class Load>
  Tile forward_tile(const TileKernel& kernel, int i0, int j0, Load&& load) {
    return load_tile(i0 - (kernel.query_span - 1), j0 - kernel.window.halo,
                     kTileRows + kernel.query_span - 1, loaded_columns(kernel.window.blocks), load);
  }

  /// Rows are written to the end of the tile, zero above the diagonal.
  template <class Value>
  void write_tile(int map, int i0, int last, int j0, std::size_t target, Value&& value,
                  int reach = 0) {
    for (int i = i0; i <= last; ++i) {
      for (int j = j0; j < j0 + kTileKeys; ++j) {
        maps_[target].at(map, i, j) = in_map(i, j, p_.tokens, reach) ? value(i, j) : 0.0;
      }
    }
  }

  enum class Orientation { RowsAreOutputs, ColumnsAreOutputs };

  /// target[g] = sum_h w[g, h] source[h] (or w[h, g]) inside groups; zero above the diagonal.
  template <class Source>
  void mix(RowRange rows, const Mixing& mixing, Orientation orientation, std::size_t target,
           Source&& source) {
    const int group = mixing.group, heads = chunk_.heads;
    std::vector<double> input(static_cast<std::size_t>(heads));
    for (int batch = 0; batch < chunk_.batches; ++batch) {
      for (int i = rows.begin; i < rows.end; ++i) {
        for (int j = 0; j < written_keys(i, p_.tokens, 0); ++j) {
          const bool inside = in_map(i, j, p_.tokens, 0);
          for (int h = 0; h < heads; ++h)
            input[static_cast<std::size_t>(h)] = inside ? source(batch * heads + h, i, j) : 0.0;
          for (int g = 0; g < heads; ++g) {
            const int first = g / group * group;
            double sum = 0;
            for (int h = first; h < first + group; ++h)
              sum += weight(mixing, orientation, head(g), head(h)) *
                     input[static_cast<std::size_t>(h)];
            maps_[target].at(batch * heads + g, i, j) = sum;
          }
        }
      }
    }
  }

  static double weight(const Mixing& mixing, Orientation orientation, int output, int input) {
    const int c = mixing.group, group = output / c;
    const int row = orientation == Orientation::RowsAreOutputs ? output : input;
    const int column = orientation == Orientation::RowsAreOutputs ? input : output;
    return mixing.weight[(group * c + row % c) * c + column % c];
  }

  /// The slot of the block that has row i and key j, of those that cover `rows`.
  int sum_slot(RowRange rows, int i, int j, int block_rows, int strip_keys) const {
    return (i - rows.begin) / block_rows * ceil_div(plan_.keys(), strip_keys) + j / strip_keys;
  }

  /// sums[row, column] += sum over the map of row_map[row] column_map[column].
  template <class RowMap, class ColumnMap>
  void gram(RowRange rows, const Mixing& mixing, SlotSums& sums, RowMap&& row_map,
            ColumnMap&& column_map) {
    const int c = mixing.group, strip = plan_.launch.mixing_keys;
    for_each_row(rows, [&](int map, int i) {
      const int first = map - head(map) % c;
      for (int other = first; other < first + c; ++other) {
        for (int j0 = 0; j0 <= i; j0 += strip) {
          double sum = 0;
          for (int j = j0; j < min_of(j0 + strip, i + 1); ++j)
            sum += row_map(map, i, j) * column_map(other, i, j);
          const int slot = sum_slot(rows, i, j0, plan_.launch.mixing_rows, strip);
          sums.at(sum_line(map), slot, other - first) += sum;
        }
      }
    });
  }

  template <class Source>
  void copy(RowRange rows, std::size_t target, Source&& source) {
    for_each_row(rows, [&](int map, int i) {
      for (int j = 0; j < written_keys(i, p_.tokens, 0); ++j) {
        maps_[target].at(map, i, j) = in_map(i, j, p_.tokens, 0) ? source(map, i, j) : 0.0;
      }
    });
  }

  /// target[j] += factor sum_i source[i, j] x[i] over the range's rows.
  void transposed_product(std::size_t source, RowRange rows, const std::vector<double>& x,
                          double factor, int reach, std::vector<double>& target) {
    for_each_row(rows, [&](int map, int i) {
      for (int j = 0; j < min_of(written_keys(i, p_.tokens, reach), p_.tokens); ++j) {
        double* y = target.data() + token(map, j) * static_cast<std::size_t>(p_.head_dim);
        for (int c = 0; c < p_.head_dim; ++c)
          y[c] += factor * maps_[source].at(map, i, j) * vector(x, map, i)[c];
      }
    });
  }

  const Problem& p_;
  const ReferenceInputs& in_;
  const WorkspacePlan& plan_;
  int reach_;
  Chunk chunk_{};
  Buffers maps_;
};

}  // namespace mta::kernels::reference
