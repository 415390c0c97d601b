// Pre-norm transformer block.
#include "lib/model/block.h"

#include "lib/nn/feed_forward.h"
#include "lib/nn/rms_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/embedding.h>

#include <cmath>

namespace mta {
namespace {

std::string prefix(std::int64_t layer) { return "layers." + std::to_string(layer) + "."; }

InitialValue fan_in(std::int64_t inputs) {
  return InitialValue::truncated_normal(1 / std::sqrt(static_cast<double>(inputs)));
}

/// The last rows of x [B, T, D] from `first` on.
at::Tensor rows_from(const at::Tensor& x, std::int64_t first) {
  return first == 0 ? x : x.narrow(1, first, x.size(1) - first);
}

}  // namespace

Block::Block(const ModelConfig& model, const AttentionConfig& attention, std::int64_t layer,
             Parameters& parameters, at::ScalarType compute)
    : attention_norm_(parameters.add(prefix(layer) + "attention_norm.weight", {model.dim},
                                     InitialValue::constant(1))),
      attention_(attention, {.dim = model.dim, .heads = model.heads, .layer = layer}, parameters,
                 prefix(layer) + "attention.", compute),
      ffn_norm_(parameters.add(prefix(layer) + "ffn_norm.weight", {model.dim},
                               InitialValue::constant(1))) {
  const std::string name = prefix(layer) + "feed_forward.";
  const std::int64_t hidden = model.hidden();
  w1_ = parameters.add(name + "w1.weight", {hidden, model.dim}, fan_in(model.dim));
  w2_ = parameters.add(name + "w2.weight", {model.dim, hidden}, fan_in(hidden));
  w3_ = parameters.add(name + "w3.weight", {hidden, model.dim}, fan_in(model.dim));
}

at::Tensor Block::forward(const at::Tensor& x, const RotaryTable& table,
                          const AttentionOptions& options) const {
  const at::Tensor attended =
      attention_.forward(rms_norm(x, attention_norm_, kNormEps), table, options);
  return finish(rows_from(x, options.first_row), attended);
}

at::Tensor Block::forward_embedded(const at::Tensor& embeddings, const at::Tensor& tokens,
                                   const RotaryTable& table,
                                   const AttentionOptions& options) const {
  const Projected each =
      attention_.project(rms_norm(embeddings, attention_norm_, kNormEps), 0);  // [V, D]
  const at::Tensor queried = rows_from(tokens, attention_.first_query(options.first_row));
  const Projected projected{.q = at::embedding(each.q, queried),
                            .k = at::embedding(each.k, tokens),
                            .v = at::embedding(each.v, tokens)};
  const at::Tensor x = at::embedding(embeddings, rows_from(tokens, options.first_row));
  return finish(x, attention_.forward(projected, table, options));
}

at::Tensor Block::decode(const at::Tensor& x, const RotaryTable& table, KvCache& cache) const {
  return finish(x, attention_.decode(rms_norm(x, attention_norm_, kNormEps), table, cache));
}

at::Tensor Block::finish(const at::Tensor& x, const at::Tensor& attended) const {
  const at::Tensor h = x + attended;
  return h + feed_forward(rms_norm(h, ffn_norm_, kNormEps), w1_, w2_, w3_);
}

}  // namespace mta
