// The model part of an experiment: sizes of the transformer around the attention. No torch here.
#pragma once

#include "lib/core/description.h"

#include <cstdint>
#include <optional>

namespace mta {

struct ModelConfig {
  std::int64_t dim = 256;  // model width D
  std::int64_t layers = 4;
  std::int64_t heads = 2;                  // H
  std::optional<std::int64_t> ffn_hidden;  // null = default_ffn_hidden(dim)
  double rope_theta = 100000;
  bool tied_embeddings = true;
  double attention_dropout = 0;
  std::optional<std::int64_t> vocabulary;  // null = the task's

  std::int64_t hidden() const;
};

/// 256 ceil(int(2 * 4 D / 3) / 256): two thirds of 4 D, rounded up to a multiple of 256.
std::int64_t default_ffn_hidden(std::int64_t dim);

/// Keys of "/model".
Description describe(ModelConfig& config);

/// Checks between keys, and against the task's vocabulary.
void validate(const ModelConfig& config, std::int64_t task_vocabulary, Problems& problems);

}  // namespace mta
