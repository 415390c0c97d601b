// Ablation: the full method without its convolutions.
#include "lib/attention/registry.h"

namespace mta::variants {

Variant head_mixing_only() {
  return {.summary = "head mixing before and after softmax, group norm and gate, no convolution",
          .preset = [](AttentionConfig& config) {
            config.heads_before.emplace();
            config.heads_after.emplace();
            config.group_norm.emplace();
            config.gate.emplace();
          }};
}

}  // namespace mta::variants
