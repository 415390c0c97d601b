// The language model: token embedding, transformer blocks, final norm, output layer.
#pragma once

#include "lib/attention/config.h"
#include "lib/attention/layer.h"
#include "lib/model/block.h"
#include "lib/model/config.h"
#include "lib/nn/parameters.h"
#include "lib/nn/rotary.h"
#include "lib/nn/rounded_weights.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace mta {

struct ModelOptions {
  std::uint64_t seed = 0;  // of the initial weights
  at::Device device = at::kCPU;
  at::ScalarType master = at::kFloat;   // type of the parameters: kFloat or kDouble
  at::ScalarType compute = at::kFloat;  // type of activations: kBFloat16, or the master type
};

struct ForwardOptions {
  /// Logits are wanted from this position on: the last block computes only what they need.
  std::int64_t first_row = 0;
  /// Rate of dropout on the attention weights. The caller decides: the configured rate in training,
  /// 0 in evaluation, or the configured rate there too, as the public reference evaluates.
  double dropout = 0;
  bool only_standard_drops = false;  // layers with any stage go without dropout
  std::uint64_t seed = 0, step = 0;  // which weights are dropped is a function of both
  /// Undefined, or an Int on the device: `step` times the number of layers, read as the operations
  /// run and added to what `step` says.
  at::Tensor streams_before = {};
  const Tap* tap = nullptr;  // sees every attention map; layers then run composed
  /// Layers, from the first on, that backward computes again from their input, bit for bit. This
  /// model and the tensors given here must be there then. Dropout in flash attention cannot be
  /// drawn again: see AttentionLayer::uses_flash().
  std::int64_t recompute_layers = 0;
};

class LanguageModel {
 public:
  /// `vocabulary` is the number of tokens: the configured one or else the task's. The attention
  /// must have passed validate(). Throws UserError when the fused path is demanded but not there.
  LanguageModel(const ModelConfig& model, const AttentionConfig& attention, std::int64_t vocabulary,
                const ModelOptions& options);

  /// tokens [B, T] int64 -> logits [B, T - first_row, V] in the compute type. On a GPU large
  /// weights are rounded first, unless a RoundedWeights holds them.
  at::Tensor forward(const at::Tensor& tokens, const ForwardOptions& options = {}) const;

  /// The tokens [B, n] that follow those in `caches` (one for each layer, grown here; start with an
  /// empty vector) -> logits [B, n, V].
  at::Tensor decode(const at::Tensor& tokens, std::vector<KvCache>& caches) const;
  /// The same for the last of the tokens only: logits [B, V].
  at::Tensor decode_last(const at::Tensor& tokens, std::vector<KvCache>& caches) const;
  /// The same for one token [B, 1] at `position`, with `length` = position + 1, which only the
  /// device knows ([1], Long and Int there): work that can be recorded and replayed for the tokens
  /// to come. The caches have room for it, and their `seen` stays as it is.
  at::Tensor decode_at(const at::Tensor& token, const at::Tensor& position,
                       const at::Tensor& length, const std::vector<KvCache>& caches) const;
  /// Empty where decode_at() covers this model and caches like these, else the reason.
  std::string no_decode_at_because(const std::vector<KvCache>& caches) const;
  /// All large weights in the computing type, none where that is their own, for a RoundedWeights
  /// around calls that must not round them again; without a history.
  RoundedForms rounded_weights() const;

  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }
  /// The attention layers, to report their paths.
  const std::vector<Block>& blocks() const { return blocks_; }

 private:
  const RotaryTable& rotary_table(std::int64_t positions) const;
  /// What attention layer `layer` is told.
  AttentionOptions attention_options(std::size_t layer, const ForwardOptions& options) const;
  /// The blocks, from the tokens' embeddings [B, T, D], or from the table of them, twice, to what
  /// the final norm reads.
  Residual run_blocks(std::vector<at::Tensor> x, const at::Tensor& tokens,
                      const ForwardOptions& options) const;
  /// What the final norm reads of the next tokens.
  Residual decode_blocks(const at::Tensor& tokens, std::vector<KvCache>& caches) const;
  at::Tensor logits(const Residual& x, const at::Tensor& output) const;
  /// The matrices of all blocks, the embeddings and the output layer.
  std::vector<at::Tensor> large_weights() const;

  ModelConfig config_;
  ModelOptions options_;
  Parameters parameters_;
  at::Tensor embeddings_;  // [V, D]
  std::vector<Block> blocks_;
  std::vector<std::vector<at::Tensor>> block_parameters_;
  at::Tensor norm_;                           // [D]
  at::Tensor output_;                         // [V, D]; the embeddings when they are tied
  std::vector<at::Tensor> rounded_together_;  // at the start of a forward pass
  mutable RotaryTable table_;                 // grown to the longest sequence seen
  mutable std::vector<RotaryTable> outgrown_;
};

}  // namespace mta
