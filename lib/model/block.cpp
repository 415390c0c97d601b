// Pre-norm transformer block.
#include "lib/model/block.h"

#include "lib/nn/feed_forward.h"
#include "lib/nn/linear.h"
#include "lib/nn/rms_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

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

Residual Block::forward(const Residual& x, const RotaryTable& table,
                        const AttentionOptions& options) const {
  const auto [sum, normed] =
      add_rms_norm(x.x, x.update, attention_norm_, kNormEps, options.first_row);
  return finish(sum, attention_.forward(normed, table, options));
}

at::Tensor Block::forward(const at::Tensor& x, const RotaryTable& table,
                          const AttentionOptions& options) const {
  const Residual out = forward(Residual{.x = x, .update = {}}, table, options);
  return out.x + out.update;
}

Residual Block::forward_embedded(const Embeddings& embeddings, const at::Tensor& tokens,
                                 const RotaryTable& table, const AttentionOptions& options) const {
  const at::Tensor& entries = embeddings.rows;
  const at::Tensor normed = rms_norm(embeddings.projected, attention_norm_, kNormEps);  // [V, D]
  const auto lookup = [&](std::int64_t first_row) {
    return Lookup(rows_from(tokens, first_row), entries.size(0), entries.scalar_type());
  };
  const std::int64_t first_query = attention_.first_query(options.first_row);
  const Lookup all = lookup(0);
  const auto from = [&](std::int64_t row) { return row == 0 ? all : lookup(row); };
  if (first_query == 0 && entries.is_cuda()) {
    const at::Tensor joint = all.rows_of(attention_.project_jointly(normed));
    return finish(from(options.first_row).rows_of(entries),
                  attention_.forward_joint(joint, table, options));
  }
  const Projected each = attention_.project(normed, 0);
  const Projected projected{
      .q = from(first_query).rows_of(each.q), .k = all.rows_of(each.k), .v = all.rows_of(each.v)};
  const at::Tensor x = from(options.first_row).rows_of(entries);
  return finish(x, attention_.forward(projected, table, options));
}

Residual Block::decode(const Residual& x, const RotaryTable& table, KvCache& cache) const {
  const auto [sum, normed] = add_rms_norm(x.x, x.update, attention_norm_, kNormEps);
  return finish(sum, attention_.decode(normed, table, cache));
}

Residual Block::decode_at(const Residual& x, const DevicePlace& place, const KvCache& cache) const {
  const auto [sum, normed] = add_rms_norm(x.x, x.update, attention_norm_, kNormEps);
  return finish(sum, attention_.decode_at(normed, place, cache));
}

Residual Block::finish(const at::Tensor& x, const at::Tensor& attended) const {
  const auto [h, normed] = add_rms_norm(x, attended, ffn_norm_, kNormEps);
  return {.x = h, .update = feed_forward(normed, w1_, w2_, w3_)};
}

}  // namespace mta
