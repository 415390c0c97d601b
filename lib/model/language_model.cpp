// Builds the model and runs it, whole or token by token.
#include "lib/model/language_model.h"

#include "lib/nn/linear.h"
#include "lib/nn/recompute.h"
#include "lib/nn/rms_norm.h"
#include "lib/nn/rounded_weights.h"
#include "lib/nn/shared_table.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>

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
    const std::size_t before = parameters_.named().size();
    blocks_.emplace_back(model, attention, layer, parameters_, options.compute);
    const std::vector<at::Tensor> all = parameters_.tensors();
    block_parameters_.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(before), all.end());
  }
  norm_ = parameters_.add("norm.weight", {model.dim}, InitialValue::constant(1));
  output_ = model.tied_embeddings
                ? embeddings_
                : parameters_.add("output.weight", {vocabulary, model.dim}, initial);
  // On the CPU rounding costs less than the products that wait for it.
  if (options.device.is_cuda() && options.compute != options.master)
    rounded_together_ = large_weights();
}

at::Tensor LanguageModel::forward(const at::Tensor& tokens, const ForwardOptions& options) const {
  std::optional<RoundedWeights> together;
  if (rounded_forms({embeddings_}).weights.empty()) {
    together.emplace(rounded_together_, options_.compute);
  }
  const at::Tensor table = rounded(embeddings_, options_.compute);
  if (table.size(0) < tokens.numel()) {
    // Twice: the residual's rows and the projections are two uses of the table, in this order.
    return logits(run_blocks({table, table}, tokens, options), output_);
  }
  const SharedTable shared = share_table(table, tokens);
  const bool tied = output_.is_same(embeddings_);
  return logits(run_blocks({shared.rows}, tokens, options), tied ? shared.whole : output_);
}

AttentionOptions LanguageModel::attention_options(std::size_t layer,
                                                  const ForwardOptions& options) const {
  const bool drops = !options.only_standard_drops || blocks_[layer].attention().is_standard();
  return {.first_row = layer + 1 == blocks_.size() ? options.first_row : 0,
          .dropout = {.rate = drops ? options.dropout : 0,
                      .seed = options.seed,
                      .stream = options.step * blocks_.size() + layer,
                      .step = options.streams_before},
          .tap = options.tap};
}

Residual LanguageModel::run_blocks(std::vector<at::Tensor> x, const at::Tensor& tokens,
                                   const ForwardOptions& options) const {
  const RotaryTable table = rotary_table(tokens.size(1));
  const bool embedded = x.size() > 1;
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    // All by value, for what is called again in the backward pass.
    const Work block = [&block = blocks_[layer], table, tokens, from_table = embedded && layer == 0,
                        attention = attention_options(layer, options)](
                           const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
      const Residual out =
          from_table ? block.forward_embedded({.rows = in[0], .projected = in[1]}, tokens, table,
                                              attention)
                     : block.forward({.x = in[0], .update = in.size() > 1 ? in[1] : at::Tensor()},
                                     table, attention);
      return {out.x, out.update};
    };
    const bool again =
        at::GradMode::is_enabled() && static_cast<std::int64_t>(layer) < options.recompute_layers;
    x = again ? recomputed(x, block_parameters_[layer], block) : block(x);
  }
  return {.x = x[0], .update = x[1]};
}

at::Tensor LanguageModel::decode(const at::Tensor& tokens, std::vector<KvCache>& caches) const {
  return logits(decode_blocks(tokens, caches), output_);
}

at::Tensor LanguageModel::decode_last(const at::Tensor& tokens,
                                      std::vector<KvCache>& caches) const {
  const Residual x = decode_blocks(tokens, caches);
  const std::int64_t last = tokens.size(1) - 1;
  return logits({.x = x.x.narrow(1, last, 1), .update = x.update.narrow(1, last, 1)}, output_)
      .select(1, 0);
}

Residual LanguageModel::decode_blocks(const at::Tensor& tokens,
                                      std::vector<KvCache>& caches) const {
  caches.resize(blocks_.size());
  const RotaryTable& table = rotary_table(caches[0].tokens() + tokens.size(1));
  Residual x{.x = at::embedding(rounded(embeddings_, options_.compute), tokens), .update = {}};
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    x = blocks_[layer].decode(x, table, caches[layer]);
  }
  return x;
}

at::Tensor LanguageModel::decode_at(const at::Tensor& token, const at::Tensor& position,
                                    const at::Tensor& length,
                                    const std::vector<KvCache>& caches) const {
  const RotaryTable& table = rotary_table(caches.at(0).capacity());
  const DevicePlace place{
      .position = position,
      .length = length,
      .table = {table.cos.index_select(0, position), table.sin.index_select(0, position)}};
  Residual x{.x = at::embedding(rounded(embeddings_, options_.compute), token), .update = {}};
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    x = blocks_[layer].decode_at(x, place, caches.at(layer));
  }
  return logits(x, output_).select(1, 0);
}

std::string LanguageModel::no_decode_at_because(const std::vector<KvCache>& caches) const {
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    const std::string reason = blocks_[layer].attention().no_decode_at_because(caches.at(layer));
    if (!reason.empty()) return fmt::format("layer {}: {}", layer, reason);
  }
  return {};
}

RoundedForms LanguageModel::rounded_weights() const {
  RoundedForms forms{.type = options_.compute};
  if (options_.compute == options_.master) return forms;
  const at::NoGradGuard no_grad;
  const std::vector<at::Tensor> weights = large_weights();
  const RoundedWeights scope(weights, options_.compute);
  return rounded_forms(weights);
}

at::Tensor LanguageModel::logits(const Residual& x, const at::Tensor& output) const {
  return mta::linear(add_rms_norm(x.x, x.update, norm_, kNormEps).normed, output);
}

std::vector<at::Tensor> LanguageModel::large_weights() const {
  std::vector<at::Tensor> weights;
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    // Those that multiply the same input are neighbours.
    for (const char* name : {"attention.wq", "attention.wk", "attention.wv", "attention.wo",
                             "feed_forward.w1", "feed_forward.w3", "feed_forward.w2"}) {
      weights.push_back(parameters_.at(fmt::format("layers.{}.{}.weight", layer, name)));
    }
  }
  weights.push_back(embeddings_);
  if (!output_.is_same(embeddings_)) weights.push_back(output_);
  return weights;
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
