// Describes and checks the model part of an experiment.
#include "lib/model/config.h"

#include <string>

namespace mta {
namespace {

constexpr std::int64_t kHiddenMultiple = 256;

}  // namespace

std::int64_t ModelConfig::hidden() const { return ffn_hidden.value_or(default_ffn_hidden(dim)); }

std::int64_t default_ffn_hidden(std::int64_t dim) {
  const std::int64_t wanted = 2 * 4 * dim / 3;
  return (wanted + kHiddenMultiple - 1) / kHiddenMultiple * kHiddenMultiple;
}

Description describe(ModelConfig& config) {
  Description d;
  d.integer("dim", config.dim, "model width D", {.min = 2});
  d.integer("layers", config.layers, "transformer blocks", {.min = 1});
  d.integer("heads", config.heads, "attention heads H of size D / H", {.min = 1});
  d.optional_integer("ffn_hidden", config.ffn_hidden,
                     "hidden width of the feed-forward network; null = 2/3 of 4 D, rounded up to a "
                     "multiple of 256",
                     {.min = 1});
  d.real("rope_theta", config.rope_theta, "base of the rotary embedding's wavelengths, in tokens",
         {.above = 0});
  d.boolean("tied_embeddings", config.tied_embeddings,
            "the output layer uses the token embeddings as its weights");
  d.real("attention_dropout", config.attention_dropout,
         "share of attention weights set to zero in training", {.min = 0, .below = 1});
  d.optional_integer("vocabulary", config.vocabulary,
                     "tokens known to the model; null = the task's", {.min = 1});
  return d;
}

void validate(const ModelConfig& config, std::int64_t task_vocabulary, Problems& problems) {
  const auto text = [](std::int64_t number) { return std::to_string(number); };
  if (!problems.concerns("/model/heads") && !problems.concerns("/model/dim")) {
    const bool divides = config.dim % config.heads == 0;
    problems.require(
        divides, "/model/heads",
        "must divide /model/dim (heads " + text(config.heads) + ", dim " + text(config.dim) + ")");
    const std::int64_t head_dim = config.dim / config.heads;
    problems.require(!divides || head_dim % 2 == 0, "/model/heads",
                     "must leave an even head size for the rotary pairs (dim / heads is " +
                         text(head_dim) + ")");
  }
  if (config.vocabulary && !problems.concerns("/model/vocabulary")) {
    problems.require(*config.vocabulary >= task_vocabulary, "/model/vocabulary",
                     "must be at least the task's " + text(task_vocabulary) + " tokens, but is " +
                         text(*config.vocabulary));
  }
}

}  // namespace mta
