// Stages 2 to 8 of the method and their gradients, one loop nest a formula.
#include "tests/kernels/dense_reference.h"

#include "lib/kernels/dropout.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace mta::check {
namespace {

using kernels::Causality;
using kernels::Convolution;
using kernels::Mixing;
using kernels::Problem;
using kernels::ReferenceInputs;
using kernels::ReferenceResult;

/// One batch element's maps [H, T, T].
struct Maps {
  int tokens;
  std::vector<double> data;
  Maps(int heads, int token_count)
      : tokens(token_count), data(static_cast<std::size_t>(heads) * row_count() * row_count()) {}
  std::size_t row_count() const { return static_cast<std::size_t>(tokens); }
  double& operator()(int h, int i, int j) {
    return data[(static_cast<std::size_t>(h) * row_count() + static_cast<std::size_t>(i)) *
                    row_count() +
                static_cast<std::size_t>(j)];
  }
};

class Dense {
 public:
  Dense(const Problem& problem, const ReferenceInputs& inputs, ReferenceResult& result, int batch,
        const Rounding& rounding, TermSizes& sizes)
      : p_(problem),
        sizes_(sizes),
        in_(inputs),
        out_(result),
        batch_(batch),
        rounding_(rounding),
        scores_(map()),
        convolved_(map()),
        mixed_(map()),
        softmax_(map()),
        reconvolved_(map()),
        weights_(map()) {}

  void forward() {
    each([&](int h, int i, int j) { scores_(h, i, j) = p_.scale * dot(in_.q, h, i, in_.k, h, j); });
    settle(scores_);
    convolved_ = scores_;
    if (p_.conv_before.kernel) convolve(p_.conv_before, exact(), scores_, convolved_);
    settle(convolved_);
    mixed_ = convolved_;
    if (p_.mix_before.weight) mix(p_.mix_before, false, convolved_, mixed_);
    settle(mixed_);
    softmax();
    settle(softmax_);
    reconvolved_ = softmax_;
    if (p_.conv_after.kernel) convolve(p_.conv_after, false, softmax_, reconvolved_);
    causal(reconvolved_);
    settle(reconvolved_);
    weights_ = reconvolved_;
    if (p_.mix_after.weight) mix(p_.mix_after, true, reconvolved_, weights_);
    each([&](int h, int i, int j) { weights_(h, i, j) *= dropout(h, i, j); });
    settle(weights_);
    each([&](int h, int i, int j) { add(out_.o, h, i, weights_(h, i, j), in_.v, h, j); });
  }

  void backward() {
    Maps d_weights = map();
    each([&](int h, int i, int j) {
      if (j > i) return;
      add(out_.d_v, h, j, weights_(h, i, j), in_.d_o, h, i);
      d_weights(h, i, j) = dropout(h, i, j) * dot(in_.d_o, h, i, in_.v, h, j);
    });
    settle(d_weights);
    Maps d_reconvolved = d_weights;
    if (p_.mix_after.weight)
      unmix(p_.mix_after, true, reconvolved_, d_weights, d_reconvolved, out_.d_mix_after,
            sizes_.mix_after);
    causal(d_reconvolved);
    settle(d_reconvolved);
    Maps d_softmax = d_reconvolved;
    if (p_.conv_after.kernel) {
      unconvolve(p_.conv_after, false, softmax_, d_reconvolved, d_softmax, out_.d_conv_after,
                 sizes_.conv_after);
    }
    settle(d_softmax);
    Maps d_mixed = softmax_gradient(d_softmax);
    settle(d_mixed);
    Maps d_convolved = d_mixed;
    if (p_.mix_before.weight)
      unmix(p_.mix_before, false, convolved_, d_mixed, d_convolved, out_.d_mix_before,
            sizes_.mix_before);
    settle(d_convolved);
    Maps d_scores = d_convolved;
    if (p_.conv_before.kernel) {
      unconvolve(p_.conv_before, exact(), scores_, d_convolved, d_scores, out_.d_conv_before,
                 sizes_.conv_before);
    }
    settle(d_scores);
    each([&](int h, int i, int j) {
      add(out_.d_q, h, i, p_.scale * d_scores(h, i, j), in_.k, h, j);
      add(out_.d_k, h, j, p_.scale * d_scores(h, i, j), in_.q, h, i);
    });
  }

 private:
  Maps map() const { return Maps(p_.heads, p_.tokens); }
  bool exact() const { return p_.causality == Causality::Exact; }

  template <class Visit>
  void each(Visit&& visit) const {
    for (int h = 0; h < p_.heads; ++h)
      for (int i = 0; i < p_.tokens; ++i)
        for (int j = 0; j < p_.tokens; ++j) visit(h, i, j);
  }
  /// Stores a stage's result.
  void settle(Maps& x) const {
    if (!rounding_) return;
    for (double& value : x.data) value = rounding_(value);
  }
  void causal(Maps& x) const {
    each([&](int h, int i, int j) {
      if (j > i) x(h, i, j) = 0;
    });
  }

  std::size_t offset(int h, int i) const {
    const std::size_t line =
        static_cast<std::size_t>(batch_ * p_.heads + h) * static_cast<std::size_t>(p_.tokens) +
        static_cast<std::size_t>(i);
    return line * static_cast<std::size_t>(p_.head_dim);
  }
  double dot(const std::vector<double>& x, int hx, int i, const std::vector<double>& y, int hy,
             int j) const {
    double sum = 0;
    for (int c = 0; c < p_.head_dim; ++c) {
      sum += x[offset(hx, i) + static_cast<std::size_t>(c)] *
             y[offset(hy, j) + static_cast<std::size_t>(c)];
    }
    return sum;
  }
  void add(std::vector<double>& x, int hx, int i, double factor, const std::vector<double>& y,
           int hy, int j) const {
    for (int c = 0; c < p_.head_dim; ++c) {
      x[offset(hx, i) + static_cast<std::size_t>(c)] +=
          factor * y[offset(hy, j) + static_cast<std::size_t>(c)];
    }
  }

  /// Visits the terms of C[i,j] = sum_{a,b} W[a,b] X[i', j']: i' = i-(c_q-1)+a, j' = j-p+b.
  template <class Visit>
  void terms(const Convolution& conv, bool keys_up_to_output, Visit&& visit) const {
    each([&](int h, int i, int j) {
      if (j > i) return;
      for (int a = 0; a < conv.query_span; ++a) {
        for (int b = 0; b < conv.key_span; ++b) {
          const int row = i - (conv.query_span - 1) + a, key = j - conv.pad_left + b;
          if (row < 0 || key < 0 || key >= p_.tokens || key > (keys_up_to_output ? i : row))
            continue;
          visit(h, i, j, row, key, (h * conv.query_span + a) * conv.key_span + b);
        }
      }
    });
  }
  void convolve(const Convolution& conv, bool keys_up_to_output, Maps& x, Maps& y) const {
    std::fill(y.data.begin(), y.data.end(), 0.0);
    terms(conv, keys_up_to_output, [&](int h, int i, int j, int row, int key, int tap) {
      y(h, i, j) += conv.kernel[tap] * x(h, row, key);
    });
  }
  void unconvolve(const Convolution& conv, bool keys_up_to_output, Maps& x, Maps& d_y, Maps& d_x,
                  std::vector<double>& gradient, std::vector<double>& squares) const {
    std::fill(d_x.data.begin(), d_x.data.end(), 0.0);
    terms(conv, keys_up_to_output, [&](int h, int i, int j, int row, int key, int tap) {
      d_x(h, row, key) += conv.kernel[tap] * d_y(h, i, j);
      add_term(gradient, squares, tap, x(h, row, key) * d_y(h, i, j));
    });
  }

  static void add_term(std::vector<double>& gradient, std::vector<double>& squares, int tap,
                       double term) {
    gradient[static_cast<std::size_t>(tap)] += term;
    squares[static_cast<std::size_t>(tap)] += term * term;
  }

  /// Visits (output head, input head, index of the weight): [group, output, input], transposed
  /// after softmax.
  template <class Visit>
  void pairs(const Mixing& mixing, bool after, Visit&& visit) const {
    const int c = mixing.group;
    for (int first = 0; first < p_.heads; first += c)
      for (int g = 0; g < c; ++g)
        for (int h = 0; h < c; ++h)
          visit(first + g, first + h, first * c + (after ? h * c + g : g * c + h));
  }
  void mix(const Mixing& mixing, bool after, Maps& x, Maps& y) const {
    std::fill(y.data.begin(), y.data.end(), 0.0);
    pairs(mixing, after, [&](int g, int h, int tap) {
      for (int i = 0; i < p_.tokens; ++i)
        for (int j = 0; j <= i; ++j) y(g, i, j) += mixing.weight[tap] * x(h, i, j);
    });
  }
  void unmix(const Mixing& mixing, bool after, Maps& x, Maps& d_y, Maps& d_x,
             std::vector<double>& gradient, std::vector<double>& squares) const {
    std::fill(d_x.data.begin(), d_x.data.end(), 0.0);
    pairs(mixing, after, [&](int g, int h, int tap) {
      for (int i = 0; i < p_.tokens; ++i)
        for (int j = 0; j <= i; ++j) {
          d_x(h, i, j) += mixing.weight[tap] * d_y(g, i, j);
          add_term(gradient, squares, tap, x(h, i, j) * d_y(g, i, j));
        }
    });
  }

  void softmax() {
    for (int h = 0; h < p_.heads; ++h) {
      for (int i = 0; i < p_.tokens; ++i) {
        double maximum = mixed_(h, i, 0), sum = 0;
        for (int j = 0; j <= i; ++j) maximum = std::max(maximum, mixed_(h, i, j));
        for (int j = 0; j <= i; ++j) sum += std::exp(mixed_(h, i, j) - maximum);
        for (int j = 0; j <= i; ++j) softmax_(h, i, j) = std::exp(mixed_(h, i, j) - maximum) / sum;
        out_.lse[offset(h, i) / static_cast<std::size_t>(p_.head_dim)] = maximum + std::log(sum);
      }
    }
  }
  Maps softmax_gradient(Maps& d_softmax) {
    Maps d_mixed = map();
    for (int h = 0; h < p_.heads; ++h) {
      for (int i = 0; i < p_.tokens; ++i) {
        double sum = 0;
        for (int j = 0; j <= i; ++j) sum += softmax_(h, i, j) * d_softmax(h, i, j);
        for (int j = 0; j <= i; ++j)
          d_mixed(h, i, j) = softmax_(h, i, j) * (d_softmax(h, i, j) - sum);
      }
    }
    return d_mixed;
  }

  double dropout(int h, int i, int j) const {
    if (p_.dropout.rate == 0) return 1;
    const auto word = [](int x) { return static_cast<std::uint32_t>(x); };
    const kernels::DropoutBlock block = kernels::dropout_block(
        p_.dropout.seed, p_.dropout.stream, word(batch_ * p_.heads + h), word(i), word(j));
    return kernels::dropout_factor(block, j % 8, kernels::dropout_threshold(p_.dropout.rate));
  }

  const Problem& p_;
  TermSizes& sizes_;  // sums of squares while the batch elements are walked
  const ReferenceInputs& in_;
  ReferenceResult& out_;
  int batch_;
  const Rounding& rounding_;
  Maps scores_, convolved_, mixed_, softmax_, reconvolved_, weights_;
};

}  // namespace

namespace {

/// The weights as a composed path in 16 bits would hold them.
std::vector<float> rounded(const float* weights, int count, const Rounding& rounding) {
  std::vector<float> values;
  for (int n = 0; weights != nullptr && n < count; ++n) {
    values.push_back(static_cast<float>(rounding(static_cast<double>(weights[n]))));
  }
  return values;
}

ReferenceResult reference(const Problem& p, const ReferenceInputs& inputs, const Rounding& rounding,
                          TermSizes& sizes) {
  ReferenceResult result;
  result.o.assign(inputs.q.size(), 0);
  result.lse.assign(inputs.q.size() / static_cast<std::size_t>(p.head_dim), 0);
  result.d_q = result.d_k = result.d_v = result.o;
  const auto zeros = [&](bool on, int a, int b, std::vector<double>& x) {
    if (on) x.assign(static_cast<std::size_t>(p.heads * a * b), 0.0);
  };
  zeros(p.conv_before.kernel, p.conv_before.query_span, p.conv_before.key_span,
        result.d_conv_before);
  zeros(p.conv_after.kernel, p.conv_after.query_span, p.conv_after.key_span, result.d_conv_after);
  zeros(p.mix_before.weight, p.mix_before.group, 1, result.d_mix_before);
  zeros(p.mix_after.weight, p.mix_after.group, 1, result.d_mix_after);
  sizes = {result.d_conv_before, result.d_conv_after, result.d_mix_before, result.d_mix_after};
  for (int batch = 0; batch < p.batch; ++batch) {
    Dense dense(p, inputs, result, batch, rounding, sizes);
    dense.forward();
    dense.backward();
  }
  for (std::vector<double>* x : {&result.o, &result.d_q, &result.d_k, &result.d_v}) {
    for (double& value : *x) value = rounding ? rounding(value) : value;
  }
  for (std::vector<double>* x :
       {&sizes.conv_before, &sizes.conv_after, &sizes.mix_before, &sizes.mix_after}) {
    for (double& value : *x) value = std::sqrt(value);
  }
  return result;
}

}  // namespace

ReferenceResult dense_reference(const Problem& problem, const ReferenceInputs& inputs,
                                const Rounding& rounding, TermSizes* sizes) {
  TermSizes unused;
  TermSizes& term_sizes = sizes == nullptr ? unused : *sizes;
  if (!rounding) return reference(problem, inputs, rounding, term_sizes);
  Problem p = problem;
  std::vector<float> weights[4];
  int next = 0;
  for (Convolution* conv : {&p.conv_before, &p.conv_after}) {
    weights[next] = rounded(conv->kernel, p.heads * conv->query_span * conv->key_span, rounding);
    if (conv->kernel != nullptr) conv->kernel = weights[next].data();
    ++next;
  }
  for (Mixing* mix : {&p.mix_before, &p.mix_after}) {
    weights[next] = rounded(mix->weight, p.heads * mix->group, rounding);
    if (mix->weight != nullptr) mix->weight = weights[next].data();
    ++next;
  }
  return reference(p, inputs, rounding, term_sizes);
}

}  // namespace mta::check
