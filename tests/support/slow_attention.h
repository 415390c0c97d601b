// A whole attention layer as plain loops, written straight from the method's formulas, in double.
#pragma once

#include "lib/attention/config.h"
#include "lib/attention/layer.h"
#include "lib/nn/parameters.h"
#include "tests/support/random_layer.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace mta::check {

/// Maps of one sample: value(h, i, j) for head h, query i, key j.
class SlowMaps {
 public:
  SlowMaps(std::int64_t heads, std::int64_t T) : heads_(heads), T_(T) {
    values_.resize(static_cast<std::size_t>(heads * T * T));
  }
  std::int64_t heads() const { return heads_; }
  std::int64_t T() const { return T_; }
  double& at(std::int64_t h, std::int64_t i, std::int64_t j) {
    return values_[static_cast<std::size_t>((h * T_ + i) * T_ + j)];
  }
  /// Every entry on and below the diagonal from a formula; the others are 0.
  static SlowMaps filled(std::int64_t heads, std::int64_t T,
                         const std::function<double(std::int64_t, std::int64_t, std::int64_t)>& f) {
    SlowMaps maps(heads, T);
    for (std::int64_t h = 0; h < heads; ++h) {
      for (std::int64_t i = 0; i < T; ++i) {
        for (std::int64_t j = 0; j <= i; ++j) maps.at(h, i, j) = f(h, i, j);
      }
    }
    return maps;
  }

 private:
  std::int64_t heads_, T_;
  std::vector<double> values_;
};

class SlowAttention {
 public:
  SlowAttention(const AttentionConfig& config, const RandomLayer& layer)
      : config_(config), shape_(layer.shape), parameters_(layer.parameters) {}

  /// One sample: x [T, D] -> y [T, D].
  at::Tensor operator()(const at::Tensor& x) {
    T_ = x.size(0);
    SlowMaps maps = scores(x);
    if (config_.kq_before) maps = convolve(maps, *config_.kq_before, "kq_before.kernel", true);
    if (config_.heads_before) maps = mix_before(maps);
    maps = softmax(maps);
    if (config_.differential) maps = subtract(maps);
    if (config_.kq_after) maps = convolve(maps, *config_.kq_after, "kq_after.kernel", false);
    if (config_.heads_after) maps = mix_after(maps);
    at::Tensor output = weighted_sum(maps, x);  // [T, D]
    const std::int64_t heads = maps.heads();
    if (config_.group_norm) output = norm(output, heads);
    if (config_.gate) output = gated(output, heads);
    return multiply(output, "wo.weight");
  }

 private:
  using Index = std::int64_t;

  double parameter(const std::string& name, at::IntArrayRef index) const {
    const at::Tensor& tensor = parameters_.at(name);
    Index offset = 0;
    for (std::size_t n = 0; n < index.size(); ++n) {
      offset = offset * tensor.size(static_cast<Index>(n)) + index[n];
    }
    return tensor.data_ptr<double>()[offset];
  }

  /// x W^T
  at::Tensor multiply(const at::Tensor& x, const std::string& weight) const {
    at::Tensor y = at::empty_like(x);
    const auto in = x.accessor<double, 2>();
    auto out = y.accessor<double, 2>();
    for (Index t = 0; t < x.size(0); ++t) {
      for (Index o = 0; o < shape_.dim; ++o) {
        out[t][o] = 0;
        for (Index i = 0; i < shape_.dim; ++i) out[t][o] += parameter(weight, {o, i}) * in[t][i];
      }
    }
    return y;
  }

  /// Pair i of position t turned by t theta^(-2i/d).
  at::Tensor turned(const at::Tensor& x) const {
    at::Tensor y = at::empty_like(x);
    const auto in = x.accessor<double, 2>();
    auto out = y.accessor<double, 2>();
    const Index d = shape_.head_dim();
    for (Index t = 0; t < x.size(0); ++t) {
      for (Index n = 0; n < shape_.dim; n += 2) {
        const double power = -static_cast<double>(n % d) / static_cast<double>(d);
        const double angle = static_cast<double>(t) * std::pow(RandomLayer::kTheta, power);
        out[t][n] = in[t][n] * std::cos(angle) - in[t][n + 1] * std::sin(angle);
        out[t][n + 1] = in[t][n] * std::sin(angle) + in[t][n + 1] * std::cos(angle);
      }
    }
    return y;
  }

  /// All of S, the future too: the exact convolution reads some of it.
  SlowMaps scores(const at::Tensor& x) const {
    const at::Tensor q = turned(multiply(x, "wq.weight")), k = turned(multiply(x, "wk.weight"));
    const auto qs = q.accessor<double, 2>(), ks = k.accessor<double, 2>();
    const Index d = shape_.head_dim();
    SlowMaps maps(shape_.heads, T_);
    for (Index h = 0; h < shape_.heads; ++h) {
      for (Index i = 0; i < T_; ++i) {
        for (Index j = 0; j < T_; ++j) {
          double product = 0;
          for (Index n = h * d; n < (h + 1) * d; ++n) product += qs[i][n] * ks[j][n];
          maps.at(h, i, j) = product / std::sqrt(static_cast<double>(d));
        }
      }
    }
    return maps;
  }

  /// sum over i', j' of theta[i', j'] S[i - i', j - j'], theta[i', j'] = W[c_q-1 - i', p - j'],
  /// where i' is in [0, c_q) and j' in [p - c_k + 1, p]; counted are keys up to i - i', or up to i
  /// if exact.
  SlowMaps convolve(SlowMaps& maps, const KqConvolutionConfig& kq, const std::string& name,
                    bool before) const {
    const Index p = kq.pad == KeyPad::Both   ? (kq.key - 1) / 2
                    : kq.pad == KeyPad::Left ? kq.key - 1
                                             : 0;
    const bool exact = before && config_.causality == Causality::Exact;
    return SlowMaps::filled(maps.heads(), T_, [&](Index h, Index i, Index j) {
      double sum = 0;
      for (Index up = 0; up < kq.query; ++up) {
        for (Index left = p - kq.key + 1; left <= p; ++left) {
          const Index row = i - up, column = j - left;
          if (row < 0 || column < 0 || column > (exact ? i : row)) continue;
          sum += parameter(name, {h, kq.query - 1 - up, p - left}) * maps.at(h, row, column);
        }
      }
      return sum;
    });
  }

  SlowMaps mix_before(SlowMaps& maps) const {
    const Index c = config_.heads_before->group.value_or(maps.heads());
    return SlowMaps::filled(maps.heads(), T_, [&](Index g, Index i, Index j) {
      double sum = 0;
      for (Index n = 0; n < c; ++n) {
        sum += parameter("heads_before.weight", {g / c, g % c, n}) * maps.at(g / c * c + n, i, j);
      }
      return sum;
    });
  }

  SlowMaps mix_after(SlowMaps& maps) const {
    const Index c = config_.heads_after->group.value_or(maps.heads());
    return SlowMaps::filled(maps.heads(), T_, [&](Index g, Index i, Index j) {
      double sum = 0;
      for (Index n = 0; n < c; ++n) {
        sum += maps.at(g / c * c + n, i, j) * parameter("heads_after.weight", {g / c, n, g % c});
      }
      return sum;
    });
  }

  SlowMaps softmax(SlowMaps& maps) const {
    return SlowMaps::filled(maps.heads(), T_, [&](Index h, Index i, Index j) {
      double sum = 0;
      for (Index n = 0; n <= i; ++n) sum += std::exp(maps.at(h, i, n) - maps.at(h, i, j));
      return 1 / sum;
    });
  }

  SlowMaps subtract(SlowMaps& maps) const {
    const auto dot = [&](const std::string& left, const std::string& right) {
      double sum = 0;
      for (Index n = 0; n < shape_.head_dim(); ++n) {
        sum += parameter("differential.lambda_" + left, {n}) *
               parameter("differential.lambda_" + right, {n});
      }
      return sum;
    };
    const double lambda = std::exp(dot("q1", "k1")) - std::exp(dot("q2", "k2")) + lambda_init();
    return SlowMaps::filled(maps.heads() / 2, T_, [&](Index h, Index i, Index j) {
      return maps.at(2 * h, i, j) - lambda * maps.at(2 * h + 1, i, j);
    });
  }

  at::Tensor weighted_sum(SlowMaps& maps, const at::Tensor& x) const {
    const at::Tensor v = multiply(x, "wv.weight");
    const auto vs = v.accessor<double, 2>();
    at::Tensor output = at::empty_like(v);
    auto out = output.accessor<double, 2>();
    const Index d = shape_.dim / maps.heads();
    for (Index i = 0; i < T_; ++i) {
      for (Index n = 0; n < shape_.dim; ++n) {
        out[i][n] = 0;
        for (Index j = 0; j <= i; ++j) out[i][n] += maps.at(n / d, i, j) * vs[j][n];
      }
    }
    return output;
  }

  double lambda_init() const {
    return 0.8 - 0.6 * std::exp(-0.3 * static_cast<double>(shape_.layer));
  }

  at::Tensor norm(const at::Tensor& x, Index heads) const {
    const Index d = shape_.dim / heads;
    const auto layer = static_cast<double>(shape_.layer);
    const DepthScale kind = config_.group_norm->depth_scale;
    const double scale = kind == DepthScale::None          ? 1
                         : kind == DepthScale::InverseSqrt ? 1 / std::sqrt(layer + 1)
                                                           : 1 - lambda_init();
    at::Tensor y = at::empty_like(x);
    const auto in = x.accessor<double, 2>();
    auto out = y.accessor<double, 2>();
    for (Index t = 0; t < T_; ++t) {
      for (Index n = 0; n < shape_.dim; ++n) {
        double squares = 0;
        for (Index m = n / d * d; m < (n / d + 1) * d; ++m) squares += in[t][m] * in[t][m];
        const double root = std::sqrt(squares / static_cast<double>(d) + config_.group_norm->eps);
        out[t][n] = in[t][n] / root * parameter("group_norm.weight", {n % d}) * scale;
      }
    }
    return y;
  }

  at::Tensor gated(const at::Tensor& x, Index heads) const {
    const Index d = shape_.dim / heads;
    const bool scalar = config_.gate->kind == GateKind::Scalar;
    at::Tensor y = at::empty_like(x);
    const auto in = x.accessor<double, 2>();
    auto out = y.accessor<double, 2>();
    for (Index t = 0; t < T_; ++t) {
      for (Index n = 0; n < shape_.dim; ++n) {
        const Index g = scalar ? 0 : n % d;
        double sum = parameter("gate.bias", {g});
        for (Index m = 0; m < d; ++m)
          sum += parameter("gate.weight", {g, m}) * in[t][n / d * d + m];
        out[t][n] = in[t][n] / (1 + std::exp(-sum));
      }
    }
    return y;
  }

  AttentionConfig config_;
  LayerShape shape_;
  const Parameters& parameters_;
  Index T_ = 0;
};

}  // namespace mta::check
