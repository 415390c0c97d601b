// The twin's stages, forward and backward, in the order in which the kernels run.
#include "lib/kernels/tiled_reference.h"

#include "lib/kernels/dropout.h"
#include "lib/kernels/tiled_reference_maps.h"
#include "lib/kernels/tiled_reference_walk.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace mta::kernels {
namespace {

using reference::load_tile;
using reference::SlotSums;
using reference::Tile;
using reference::TileKernel;

constexpr auto kAllTerms = [](int, int) { return true; };

/// One call: walks the chunks of a plan over its ring buffers.
class Run : private reference::Walk {
 public:
  Run(const Problem& problem, const ReferenceInputs& inputs, const WorkspacePlan& plan,
      ReferenceResult& result)
      : Walk(problem, inputs, plan), out_(result) {}

  void forward() {
    for_each_chunk(p_, plan_, [&](const Chunk& chunk) {
      chunk_ = chunk;
      softmax_map();
      row_statistics();
      reconvolve();
      mix_weights();
      for_each_row(chunk.rows, [&](int map, int i) { output_row(map, i); });
      return true;
    });
  }

  void backward() {
    const Convolution &before = p_.conv_before, &after = p_.conv_after;
    const int lines = plan_.batch_group * p_.heads, conv_slots = convolution_sum_slots(plan_),
              mix_slots = mixing_sum_slots(plan_);
    conv_sums_before_ = SlotSums(lines, conv_slots, before.query_span * before.key_span);
    conv_sums_after_ = SlotSums(lines, conv_slots, after.query_span * after.key_span);
    mix_sums_before_ = SlotSums(lines, mix_slots, p_.mix_before.group);
    mix_sums_after_ = SlotSums(lines, mix_slots, p_.mix_after.group);
    backward_chunks();
    if (before.kernel != nullptr) conv_sums_before_.add_up(p_.heads, out_.d_conv_before);
    if (after.kernel != nullptr) conv_sums_after_.add_up(p_.heads, out_.d_conv_after);
    if (p_.mix_before.weight != nullptr) mix_sums_before_.add_up(p_.heads, out_.d_mix_before);
    if (p_.mix_after.weight != nullptr) mix_sums_after_.add_up(p_.heads, out_.d_mix_after);
  }

 private:
  void backward_chunks() {
    for_each_chunk(p_, plan_, [&](const Chunk& chunk) {
      chunk_ = chunk;
      softmax_map();
      reconvolve();
      products(in_.d_o, in_.v, 1.0, 0, plan_.d_weights);
      drop_d_weights();
      if (mixing_alone(p_)) {
        mixing_alone_gradients();
      } else {
        mix_weights();
        unmix_d_weights();
      }
      transposed_product(plan_.weights, chunk.rows, in_.d_o, 1.0, 0, out_.d_v);
      if (p_.conv_after.kernel != nullptr) unconvolve_after();
      if (!mixing_alone(p_)) softmax_backward();
      if (p_.conv_before.kernel != nullptr) unconvolve_before();
      query_gradient();
      transposed_product(plan_.d_scores, chunk.score_rows, in_.q, p_.scale, reach_, out_.d_k);
      return true;
    });
  }

  double weight_before(int map, int i, int j) {
    return std::exp(maps_[plan_.mixed].at(map, i, j) - out_.lse[token(map, i)]);
  }

  /// S, C and M of the chunk's rows. With head mixing alone the kernels never store M in the
  /// backward: it has a buffer of its own here.
  void softmax_map() {
    products(in_.q, in_.k, p_.scale, reach_, plan_.scores);
    if (p_.conv_before.kernel != nullptr) convolve_before();
    const std::size_t source =
        plan_.convolved == WorkspacePlan::kNone ? plan_.scores : plan_.convolved;
    const auto value = [&](int map, int i, int j) { return maps_[source].at(map, i, j); };
    if (p_.mix_before.weight != nullptr) {
      mix(chunk_.rows, p_.mix_before, Orientation::RowsAreOutputs, plan_.mixed, value);
    } else if (plan_.mixed == WorkspacePlan::kNone) {
      copy(chunk_.rows, plan_.mixed, value);
    }
  }

  void convolve_before() {
    for_each_tile(chunk_.rows, 0, [&](int map, int i0, int last, int j0) {
      const TileKernel kernel = reference::forward_kernel(p_.conv_before, head(map));
      const Tile tile = forward_tile(kernel, i0, j0, [&](int i, int j) {
        return in_map(i, j, p_.tokens, reach_) ? maps_[plan_.scores].at(map, i, j) : 0.0;
      });
      write_tile(map, i0, last, j0, plan_.convolved, [&](int i, int j) {
        const auto read_up_to_output = [&](int, int column) {
          return tile.first_key + column <= i;
        };
        if (reach_ > 0) return reference::convolve(tile, kernel, i - i0, j - j0, read_up_to_output);
        return reference::convolve(tile, kernel, i - i0, j - j0, kAllTerms);
      });
    });
  }

  void reconvolve() {
    if (p_.conv_after.kernel == nullptr) return;
    for_each_tile(chunk_.rows, 0, [&](int map, int i0, int last, int j0) {
      const TileKernel kernel = reference::forward_kernel(p_.conv_after, head(map));
      const Tile tile = forward_tile(kernel, i0, j0, [&](int i, int j) {
        return in_map(i, j, p_.tokens, 0) ? weight_before(map, i, j) : 0.0;
      });
      write_tile(map, i0, last, j0, plan_.reconvolved, [&](int i, int j) {
        return reference::convolve(tile, kernel, i - i0, j - j0, kAllTerms);
      });
    });
  }

  void row_statistics() {
    for_each_row(chunk_.rows, [&](int map, int i) {
      double maximum = -std::numeric_limits<double>::infinity(), sum = 0;
      for (int t = 0; t < key_tiles(i, p_.tokens, 0);
           ++t) {  // partial sums a tile, then joined in order
        double tile_maximum = -std::numeric_limits<double>::infinity(), tile_sum = 0;
        const int end = min_of((t + 1) * kTileKeys, i + 1);
        for (int j = t * kTileKeys; j < end; ++j)
          tile_maximum = std::max(tile_maximum, maps_[plan_.mixed].at(map, i, j));
        for (int j = t * kTileKeys; j < end; ++j)
          tile_sum += std::exp(maps_[plan_.mixed].at(map, i, j) - tile_maximum);
        const double joined = std::max(maximum, tile_maximum);
        sum = sum * std::exp(maximum - joined) + tile_sum * std::exp(tile_maximum - joined);
        maximum = joined;
      }
      out_.lse[token(map, i)] = maximum + std::log(sum);
    });
  }

  double factor(int map, int i, int j) const {
    if (p_.dropout.rate == 0) return 1;
    const DropoutBlock block = dropout_block(
        p_.dropout.seed, p_.dropout.stream, static_cast<std::uint32_t>(global_map(map)),
        static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(j));
    return dropout_factor(block, j % kChunk, dropout_threshold(p_.dropout.rate));
  }

  double reconvolved(int map, int i, int j) {
    return p_.conv_after.kernel == nullptr ? weight_before(map, i, j)
                                           : maps_[plan_.reconvolved].at(map, i, j);
  }

  /// A from R (or from P): mixing, then dropout. The gradient of the mixing needs R, so it is taken
  /// here.
  void mix_weights() {
    if (p_.mix_after.weight != nullptr) {
      if (backward_pass()) {
        gram(
            chunk_.rows, p_.mix_after, mix_sums_after_,
            [&](int m, int i, int j) { return reconvolved(m, i, j); },
            [&](int m, int i, int j) { return maps_[plan_.d_weights].at(m, i, j); });
      }
      mix(chunk_.rows, p_.mix_after, Orientation::ColumnsAreOutputs, plan_.weights,
          [&](int m, int i, int j) { return reconvolved(m, i, j); });
    } else {
      copy(chunk_.rows, plan_.weights, [&](int m, int i, int j) { return reconvolved(m, i, j); });
    }
    copy(chunk_.rows, plan_.weights,
         [&](int m, int i, int j) { return maps_[plan_.weights].at(m, i, j) * factor(m, i, j); });
  }

  bool backward_pass() const { return plan_.d_weights != WorkspacePlan::kNone; }

  void output_row(int map, int i) {
    double* o = out_.o.data() + token(map, i) * static_cast<std::size_t>(p_.head_dim);
    std::fill(o, o + p_.head_dim, 0.0);
    for (int j = 0; j < min_of(written_keys(i, p_.tokens, 0), p_.tokens); ++j) {
      for (int c = 0; c < p_.head_dim; ++c)
        o[c] += maps_[plan_.weights].at(map, i, j) * vector(in_.v, map, j)[c];
    }
  }

  void drop_d_weights() {
    copy(chunk_.rows, plan_.d_weights,
         [&](int m, int i, int j) { return maps_[plan_.d_weights].at(m, i, j) * factor(m, i, j); });
  }

  void unmix_d_weights() {
    if (p_.mix_after.weight == nullptr) return;
    mix(chunk_.rows, p_.mix_after, Orientation::RowsAreOutputs, plan_.d_reconvolved,
        [&](int m, int i, int j) { return maps_[plan_.d_weights].at(m, i, j); });
  }

  /// target[i', j'] = sum_{a', b'} flipped(a', b') source[i'+a', j'-left+b'], and the kernel's
  /// gradient.
  template <class Left, class Right>
  void unconvolve(RowRange rows, const Convolution& conv, int reach, SlotSums& sums,
                  std::size_t target, Left&& left_value, Right&& d_output) {
    const int c_q = conv.query_span, c_k = conv.key_span;
    for_each_tile(rows, reach, [&](int map, int i0, int last, int j0) {
      const TileKernel kernel = reference::backward_kernel(conv, head(map));
      const Tile tile = load_tile(
          i0, j0 - kernel.window.halo, kTileRows + c_q - 1, loaded_columns(kernel.window.blocks),
          [&](int i, int j) { return in_map(i, j, p_.tokens, 0) ? d_output(map, i, j) : 0.0; });
      const Tile own = load_tile(i0, j0, kTileRows, kTileKeys, [&](int i, int j) {
        return i <= last && in_map(i, j, p_.tokens, reach) ? left_value(map, i, j) : 0.0;
      });
      const int slot = sum_slot(rows, i0, j0, kTileRows, plan_.launch.convolution_keys);
      write_tile(
          map, i0, last, j0, target,
          [&](int i, int j) {
            const auto term = [&](int a, int) { return reach == 0 || j <= i + a; };
            for (int a = 0; a < c_q; ++a) {
              for (int b = 0; b < c_k && term(a, 0); ++b) {
                const int column = j - j0 + kernel.window.slack + b;
                sums.at(sum_line(map), slot, (c_q - 1 - a) * c_k + c_k - 1 - b) +=
                    own.at(i - i0, j - j0) * tile.at(i - i0 + a, column);
              }
            }
            return reference::convolve(tile, kernel, i - i0, j - j0, term);
          },
          reach);
    });
  }

  void unconvolve_after() {
    unconvolve(
        chunk_.softmax_rows, p_.conv_after, 0, conv_sums_after_, plan_.d_softmax,
        [&](int m, int i, int j) { return weight_before(m, i, j); },
        [&](int m, int i, int j) { return maps_[plan_.d_reconvolved].at(m, i, j); });
  }

  void unconvolve_before() {
    unconvolve(
        chunk_.score_rows, p_.conv_before, reach_, conv_sums_before_, plan_.d_scores,
        [&](int m, int i, int j) { return maps_[plan_.scores].at(m, i, j); },
        [&](int m, int i, int j) {
          return softmax_streams(p_, plan_) ? mixed_gradient(m, i, j)
                                            : maps_[plan_.d_mixed].at(m, i, j);
        });
  }

  /// D of the rows: sum_j P dP.
  template <class Gradient>
  void row_dots(RowRange rows, Gradient&& d_softmax) {
    dot_rows_ = rows;
    dots_.assign(static_cast<std::size_t>(maps() * max_of(rows.size(), 0)), 0.0);
    for_each_row(rows, [&](int map, int i) {
      for (int j = 0; j <= i; ++j) dot(map, i) += weight_before(map, i, j) * d_softmax(map, i, j);
    });
  }
  double& dot(int map, int i) {
    return dots_[static_cast<std::size_t>(map * dot_rows_.size() + i - dot_rows_.begin)];
  }

  double softmax_gradient(int map, int i, int j) { return maps_[plan_.d_softmax].at(map, i, j); }
  /// dM = P (dP - D).
  double mixed_gradient(int map, int i, int j) {
    return weight_before(map, i, j) * (softmax_gradient(map, i, j) - dot(map, i));
  }

  /// dM, then dC: transposed mixing. Or the dots alone, where the convolution's backward makes dM.
  void softmax_backward() {
    const RowRange rows = chunk_.softmax_rows;
    row_dots(rows, [&](int m, int i, int j) { return softmax_gradient(m, i, j); });
    if (softmax_streams(p_, plan_)) return;
    const auto gradient = [&](int m, int i, int j) { return mixed_gradient(m, i, j); };
    if (p_.mix_before.weight == nullptr) return copy(rows, plan_.d_mixed, gradient);
    gram(rows, p_.mix_before, mix_sums_before_, gradient,
         [&](int m, int i, int j) { return maps_[plan_.convolved].at(m, i, j); });
    mix(rows, p_.mix_before, Orientation::ColumnsAreOutputs, plan_.d_mixed, gradient);
  }

  /// Head mixing alone: dR is made where it is needed; A takes the place of S and dS that of dA.
  void mixing_alone_gradients() {
    const RowRange rows = chunk_.rows;
    row_dots(rows, [&](int m, int i, int j) { return unmixed(m, i, j); });
    const auto d_mixed = [&](int m, int i, int j) {
      return weight_before(m, i, j) * (unmixed(m, i, j) - dot(m, i));
    };
    const bool mixes = p_.mix_before.weight != nullptr;
    if (mixes) {
      gram(rows, p_.mix_before, mix_sums_before_, d_mixed,
           [&](int m, int i, int j) { return maps_[plan_.scores].at(m, i, j); });
    }
    mix_weights();
    // Point by point, as dR reads dA of all heads: where nothing is mixed, each head with itself.
    const std::vector<float> ones(static_cast<std::size_t>(p_.heads), 1.0f);
    const Mixing none = {.weight = ones.data(), .gradient = nullptr, .group = 1};
    mix(rows, mixes ? p_.mix_before : none, Orientation::ColumnsAreOutputs, plan_.d_scores,
        d_mixed);
  }

  /// dR at one point, from dA.
  double unmixed(int map, int i, int j) {
    const Mixing& mixing = p_.mix_after;
    if (mixing.weight == nullptr) return maps_[plan_.d_weights].at(map, i, j);
    const int first = map - head(map) % mixing.group;
    double sum = 0;
    for (int other = first; other < first + mixing.group; ++other) {
      sum += weight(mixing, Orientation::RowsAreOutputs, head(map), head(other)) *
             maps_[plan_.d_weights].at(other, i, j);
    }
    return sum;
  }

  void query_gradient() {
    for_each_row(chunk_.score_rows, [&](int map, int i) {
      double* d_q = out_.d_q.data() + token(map, i) * static_cast<std::size_t>(p_.head_dim);
      std::fill(d_q, d_q + p_.head_dim, 0.0);
      for (int j = 0; j < min_of(written_keys(i, p_.tokens, reach_), p_.tokens); ++j) {
        for (int c = 0; c < p_.head_dim; ++c) {
          d_q[c] += p_.scale * maps_[plan_.d_scores].at(map, i, j) * vector(in_.k, map, j)[c];
        }
      }
    });
  }

  ReferenceResult& out_;
  RowRange dot_rows_{};
  std::vector<double> dots_;  // [maps, rows]
  SlotSums conv_sums_before_{0, 0, 0}, conv_sums_after_ = conv_sums_before_;
  SlotSums mix_sums_before_ = conv_sums_before_, mix_sums_after_ = conv_sums_before_;
};

}  // namespace

ReferenceResult tiled_reference(const Problem& p, const ReferenceInputs& inputs,
                                const WorkspacePlan& forward, const WorkspacePlan& backward) {
  const auto size = [](int a, int b, int c = 1, int d = 1) {
    return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c) *
           static_cast<std::size_t>(d);
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  ReferenceResult result;
  result.o.assign(size(p.batch, p.heads, p.tokens, p.head_dim), nan);
  result.lse.assign(size(p.batch, p.heads, p.tokens), nan);
  result.d_q = result.o;
  result.d_k.assign(result.o.size(), 0.0);
  result.d_v.assign(result.o.size(), 0.0);
  const auto conv_size = [&](const Convolution& c) {
    return size(p.heads, c.query_span, c.key_span);
  };
  if (p.conv_before.kernel != nullptr) result.d_conv_before.assign(conv_size(p.conv_before), 0.0);
  if (p.conv_after.kernel != nullptr) result.d_conv_after.assign(conv_size(p.conv_after), 0.0);
  if (p.mix_before.weight != nullptr)
    result.d_mix_before.assign(size(p.heads, p.mix_before.group), 0.0);
  if (p.mix_after.weight != nullptr)
    result.d_mix_after.assign(size(p.heads, p.mix_after.group), 0.0);
  Run(p, inputs, forward, result).forward();
  Run(p, inputs, backward, result).backward();
  return result;
}

}  // namespace mta::kernels
