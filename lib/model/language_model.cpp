// Builds the model and runs it, whole or token by token.
#include "lib/model/language_model.h"

#include "lib/nn/linear.h"
#include "lib/nn/rms_norm.h"
#include "lib/nn/rounded_weights.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/embedding.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace mta {

LanguageModel::LanguageModel(const ModelConfig& model, const AttentionConfig& attention,
                             std::int64_t vocabulary, const ModelOptions& options)
    : config_(model),
      options_(options),
      parameters_(options.seed, at::TensorOptions(options.device).dtype(options.master)) {
  const auto initial =
      InitialValue::truncated_normal(1 / std::sqrt(static_cast<double>(model.dim)));
  embeddings_ = parameters_.add("tok_embeddings.weight", {vocabulary, model.dim}, initial);
  for (std::int64_t layer = 0; layer < model.layers; ++layer) {
    blocks_.emplace_back(model, attention, layer, parameters_, options.compute);
  }
  norm_ = parameters_.add("norm.weight", {model.dim}, InitialValue::constant(1));
  output_ = model.tied_embeddings
                ? embeddings_
                : parameters_.add("output.weight", {vocabulary, model.dim}, initial);
  // On the CPU rounding costs less than the products that wait for it.
  if (options.device.is_cuda() && options.compute != options.master) rounded_together_ = matrices();
}

at::Tensor LanguageModel::forward(const at::Tensor& tokens, const ForwardOptions& options) const {
  const std::int64_t T = tokens.size(1);
  const RotaryTable& table = rotary_table(T);
  const at::Tensor embeddings = embeddings_.to(options_.compute);
  const RoundedWeights rounded(rounded_together_, options_.compute);
  Residual x;
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    const bool drops = !options.only_standard_drops || blocks_[layer].attention().is_standard();
    const AttentionOptions attention{
        .first_row = layer + 1 == blocks_.size() ? options.first_row : 0,
        .dropout = {.rate = drops ? options.dropout : 0,
                    .seed = options.seed,
                    .stream = options.step * blocks_.size() + layer,
                    .step = options.streams_before},
        .tap = options.tap};
    if (layer == 0 && embeddings.size(0) < tokens.numel()) {
      x = blocks_[layer].forward_embedded(embeddings, tokens, table, attention);
      continue;
    }
    if (layer == 0) x.x = at::embedding(embeddings, tokens);
    x = blocks_[layer].forward(x, table, attention);
  }
  return logits(x);
}

at::Tensor LanguageModel::decode(const at::Tensor& tokens, std::vector<KvCache>& caches) const {
  caches.resize(blocks_.size());
  const RotaryTable& table = rotary_table(caches[0].tokens() + tokens.size(1));
  Residual x{.x = at::embedding(embeddings_.to(options_.compute), tokens), .update = {}};
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    x = blocks_[layer].decode(x, table, caches[layer]);
  }
  return logits(x);
}

at::Tensor LanguageModel::logits(const Residual& x) const {
  return mta::linear(add_rms_norm(x.x, x.update, norm_, kNormEps).normed, output_);
}

std::vector<at::Tensor> LanguageModel::matrices() const {
  std::vector<at::Tensor> matrices;
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    // Those that multiply the same input are neighbours.
    for (const char* name : {"attention.wq", "attention.wk", "attention.wv", "attention.wo",
                             "feed_forward.w1", "feed_forward.w3", "feed_forward.w2"}) {
      matrices.push_back(parameters_.at(fmt::format("layers.{}.{}.weight", layer, name)));
    }
  }
  return matrices;
}

const RotaryTable& LanguageModel::rotary_table(std::int64_t positions) const {
  if (positions > table_.positions()) {
    // Powers of two, so that decoding token by token makes few tables.
    const auto size = std::bit_ceil(static_cast<std::uint64_t>(positions));
    if (table_.positions() > 0) outgrown_.push_back(table_);  // a recorded step may read it
    table_ = make_rotary_table(static_cast<std::int64_t>(size), config_.dim / config_.heads,
                               config_.rope_theta, embeddings_.options());
  }
  return table_;
}

}  // namespace mta
