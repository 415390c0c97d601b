// Attention from the formulas: see composed.h.
#include "tests/ops/composed.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

namespace mta::check {
namespace {

using ops::Causality;

/// True where key j <= position of row r + further.
at::Tensor visible(const ops::AttentionCall& call, std::int64_t further) {
  return at::ones({call.q.size(2), call.k.size(2)}, call.q.options().dtype(at::kBool))
      .tril(call.first_row + further);
}

/// C[i, j] = sum_{a, b} W[a, b] S0[i - (c_q-1) + a, j - p + b].
at::Tensor convolve(const ops::AttentionCall& call, const ops::KqConvolution& kq,
                    const at::Tensor& map) {
  const std::int64_t heads = map.size(1), rows = map.size(2), keys = map.size(3);
  const std::int64_t query_span = kq.kernel.size(1), key_span = kq.kernel.size(2);
  at::Tensor total = at::zeros_like(map);
  for (std::int64_t a = 0; a < query_span; ++a) {
    const std::int64_t up = query_span - 1 - a;
    const std::int64_t further = kq.causality == Causality::Exact ? up : 0;
    const at::Tensor seen = map * visible(call, further).to(map.scalar_type());
    const at::Tensor padded =
        at::constant_pad_nd(seen, {kq.pad_left, key_span - 1 - kq.pad_left, up, 0}, 0);
    for (std::int64_t b = 0; b < key_span; ++b) {
      total = total + kq.kernel.select(1, a).select(1, b).view({1, heads, 1, 1}) *
                          padded.slice(2, 0, rows).slice(3, b, b + keys);
    }
  }
  return total;
}

/// out[g] = sum_h matrix[g, h] map[h] inside each group.
at::Tensor mix(const at::Tensor& matrix, const at::Tensor& map) {
  const at::Tensor groups =
      map.unflatten(1, {matrix.size(0), matrix.size(1)});  // [B, H, ..] -> [B, G, c, ..]
  return at::einsum("ngh,bnhij->bngij", {matrix, groups}).flatten(1, 2);
}

}  // namespace

at::Tensor composed(const ops::AttentionCall& call) {
  const at::Tensor causal = visible(call, 0);
  at::Tensor map =
      at::matmul(call.q, call.k.transpose(2, 3)) / std::sqrt(static_cast<double>(call.q.size(3)));
  if (call.kq_before) map = convolve(call, *call.kq_before, map);
  if (call.heads_before.defined()) map = mix(call.heads_before, map);
  map = at::softmax(map.masked_fill(~causal, -std::numeric_limits<double>::infinity()), -1);
  if (call.kq_after) {
    ops::KqConvolution kq = *call.kq_after;
    kq.causality = Causality::Double;
    map = convolve(call, kq, map) * causal.to(map.scalar_type());
  }
  if (call.heads_after.defined()) map = mix(call.heads_after.transpose(1, 2), map);
  map = ops::dropped(map, call.dropout, call.first_row);
  return at::matmul(map, call.v);
}

namespace {

/// The maps of a call and the stages on them, entry by entry.
class Loops {
 public:
  explicit Loops(const ops::AttentionCall& call)
      : call_(call),
        map_(at::zeros({call.q.size(0), call.q.size(1), call.q.size(2), call.k.size(2)},
                       at::kDouble)) {}

  void score() {
    const at::Tensor q = in_double(call_.q), k = in_double(call_.k);
    const auto qa = q.accessor<double, 4>(), ka = k.accessor<double, 4>();
    auto to = map_.accessor<double, 4>();
    const std::int64_t d = q.size(3);
    each([&](auto b, auto h, auto r, auto j) {
      for (std::int64_t i = 0; i < d; ++i) to[b][h][r][j] += qa[b][h][r][i] * ka[b][h][j][i];
      to[b][h][r][j] /= std::sqrt(static_cast<double>(d));
    });
  }

  void convolve(const ops::KqConvolution& kq, Causality causality) {
    const at::Tensor result = at::zeros_like(map_), kernel = in_double(kq.kernel);
    auto to = result.accessor<double, 4>();
    const auto from = map_.accessor<double, 4>();
    const auto w = kernel.accessor<double, 3>();
    each([&](auto b, auto h, auto r, auto j) {
      for (std::int64_t x = 0; x < w.size(1); ++x) {
        for (std::int64_t y = 0; y < w.size(2); ++y) {
          const std::int64_t row = r - (w.size(1) - 1) + x, key = j - kq.pad_left + y;
          if (row < 0 || key < 0 || key >= map_.size(3)) continue;
          if (key > last(causality == Causality::Exact ? r : row)) continue;
          to[b][h][r][j] += w[h][x][y] * from[b][h][row][key];
        }
      }
    });
    map_ = result;
  }

  /// matrix [group, output, input].
  void mix(const at::Tensor& matrix) {
    const at::Tensor result = at::zeros_like(map_), weights = in_double(matrix);
    auto to = result.accessor<double, 4>();
    const auto from = map_.accessor<double, 4>();
    const auto w = weights.accessor<double, 3>();
    const std::int64_t c = matrix.size(1);
    each([&](auto b, auto h, auto r, auto j) {
      for (std::int64_t i = 0; i < c; ++i)
        to[b][h][r][j] += w[h / c][h % c][i] * from[b][h / c * c + i][r][j];
    });
    map_ = result;
  }

  void mask() {
    auto to = map_.accessor<double, 4>();
    each([&](auto b, auto h, auto r, auto j) {
      if (j > last(r)) to[b][h][r][j] = 0;
    });
  }

  void softmax() {
    const at::Tensor sums = at::zeros({map_.size(0), map_.size(1), map_.size(2)}, at::kDouble);
    auto to = map_.accessor<double, 4>();
    auto sum = sums.accessor<double, 3>();
    each([&](auto b, auto h, auto r, auto j) {
      to[b][h][r][j] = j <= last(r) ? std::exp(to[b][h][r][j]) : 0;
      sum[b][h][r] += to[b][h][r][j];
    });
    each([&](auto b, auto h, auto r, auto j) { to[b][h][r][j] /= sum[b][h][r]; });
  }

  at::Tensor weighted_values() {
    const at::Tensor v = in_double(call_.v);
    at::Tensor out = at::zeros({map_.size(0), map_.size(1), map_.size(2), v.size(3)}, at::kDouble);
    auto to = out.accessor<double, 4>();
    const auto a = map_.accessor<double, 4>(), va = v.accessor<double, 4>();
    each([&](auto b, auto h, auto r, auto j) {
      for (std::int64_t i = 0; i < v.size(3); ++i) to[b][h][r][i] += a[b][h][r][j] * va[b][h][j][i];
    });
    return out;
  }

 private:
  static at::Tensor in_double(const at::Tensor& t) { return t.to(at::kDouble).contiguous(); }
  std::int64_t last(std::int64_t row) const { return call_.first_row + row; }

  template <class Action>
  void each(Action act) const {
    for (std::int64_t b = 0; b < map_.size(0); ++b) {
      for (std::int64_t h = 0; h < map_.size(1); ++h) {
        for (std::int64_t r = 0; r < map_.size(2); ++r) {
          for (std::int64_t j = 0; j < map_.size(3); ++j) act(b, h, r, j);
        }
      }
    }
  }

  const ops::AttentionCall& call_;
  at::Tensor map_;
};

}  // namespace

at::Tensor by_loops(const ops::AttentionCall& call) {
  Loops loops(call);
  loops.score();
  if (call.kq_before) loops.convolve(*call.kq_before, call.kq_before->causality);
  if (call.heads_before.defined()) loops.mix(call.heads_before);
  loops.softmax();
  if (call.kq_after) loops.convolve(*call.kq_after, Causality::Double);
  loops.mask();
  if (call.heads_after.defined()) loops.mix(call.heads_after.transpose(1, 2));
  return loops.weighted_values();
}

}  // namespace mta::check
