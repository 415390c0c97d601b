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
  return at::ones({call.q.size(2), call.k.size(2)}, at::kBool).tril(call.first_row + further);
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
  if (call.dropout.rate > 0) {
    map = map * ops::dropout_mask(call.dropout, map.size(0), map.size(1), call.first_row,
                                  map.size(2), map.size(3), map.scalar_type());
  }
  return at::matmul(map, call.v);
}

at::Tensor by_loops(const ops::AttentionCall& call) {
  const std::int64_t batch = call.q.size(0), heads = call.q.size(1), rows = call.q.size(2);
  const std::int64_t keys = call.k.size(2), d = call.q.size(3), d_v = call.v.size(3);
  const auto q = call.q.to(at::kDouble).contiguous(), k = call.k.to(at::kDouble).contiguous(),
             v = call.v.to(at::kDouble).contiguous();
  at::Tensor maps[2] = {at::zeros({batch, heads, rows, keys}, at::kDouble),
                        at::zeros({batch, heads, rows, keys}, at::kDouble)};
  at::Tensor& map = maps[0];
  const auto each = [&](auto act) {
    for (std::int64_t b = 0; b < batch; ++b)
      for (std::int64_t h = 0; h < heads; ++h)
        for (std::int64_t r = 0; r < rows; ++r)
          for (std::int64_t j = 0; j < keys; ++j) act(b, h, r, j);
  };
  const auto last = [&](std::int64_t r) { return call.first_row + r; };
  {
    auto to = map.accessor<double, 4>();
    const auto qa = q.accessor<double, 4>(), ka = k.accessor<double, 4>();
    each([&](auto b, auto h, auto r, auto j) {
      for (std::int64_t i = 0; i < d; ++i) to[b][h][r][j] += qa[b][h][r][i] * ka[b][h][j][i];
      to[b][h][r][j] /= std::sqrt(static_cast<double>(d));
    });
  }
  const auto convolve_loops = [&](const ops::KqConvolution& kq, bool exact) {
    at::Tensor result = at::zeros_like(map), kernel = kq.kernel.to(at::kDouble).contiguous();
    auto to = result.accessor<double, 4>();
    const auto from = map.accessor<double, 4>();
    const auto w = kernel.accessor<double, 3>();
    each([&](auto b, auto h, auto r, auto j) {
      for (std::int64_t x = 0; x < w.size(1); ++x) {
        for (std::int64_t y = 0; y < w.size(2); ++y) {
          const std::int64_t row = r - (w.size(1) - 1) + x, key = j - kq.pad_left + y;
          if (row < 0 || key < 0 || key >= keys || key > last(exact ? r : row)) continue;
          to[b][h][r][j] += w[h][x][y] * from[b][h][row][key];
        }
      }
    });
    map = result;
  };
  const auto mix_loops = [&](const at::Tensor& matrix, bool inputs_first) {
    at::Tensor result = at::zeros_like(map), weights = matrix.to(at::kDouble).contiguous();
    const std::int64_t c = matrix.size(1);
    auto to = result.accessor<double, 4>();
    const auto from = map.accessor<double, 4>();
    const auto w = weights.accessor<double, 3>();
    each([&](auto b, auto h, auto r, auto j) {
      const std::int64_t group = h / c;
      for (std::int64_t i = 0; i < c; ++i) {
        const double weight = inputs_first ? w[group][i][h % c] : w[group][h % c][i];
        to[b][h][r][j] += weight * from[b][group * c + i][r][j];
      }
    });
    map = result;
  };
  const auto mask_loops = [&] {
    auto to = map.accessor<double, 4>();
    each([&](auto b, auto h, auto r, auto j) {
      if (j > last(r)) to[b][h][r][j] = 0;
    });
  };
  if (call.kq_before)
    convolve_loops(*call.kq_before, call.kq_before->causality == Causality::Exact);
  if (call.heads_before.defined()) mix_loops(call.heads_before, false);
  {
    auto to = map.accessor<double, 4>();
    at::Tensor sums = at::zeros({batch, heads, rows}, at::kDouble);
    auto s = sums.accessor<double, 3>();
    each([&](auto b, auto h, auto r, auto j) {
      to[b][h][r][j] = j <= last(r) ? std::exp(to[b][h][r][j]) : 0;
      s[b][h][r] += to[b][h][r][j];
    });
    each([&](auto b, auto h, auto r, auto j) { to[b][h][r][j] /= s[b][h][r]; });
  }
  if (call.kq_after) convolve_loops(*call.kq_after, false);
  mask_loops();
  if (call.heads_after.defined()) mix_loops(call.heads_after, true);
  at::Tensor out = at::zeros({batch, heads, rows, d_v}, at::kDouble);
  auto o = out.accessor<double, 4>();
  const auto a = map.accessor<double, 4>();
  const auto va = v.accessor<double, 4>();
  each([&](auto b, auto h, auto r, auto j) {
    for (std::int64_t i = 0; i < d_v; ++i) o[b][h][r][i] += a[b][h][r][j] * va[b][h][j][i];
  });
  return out;
}

}  // namespace mta::check
