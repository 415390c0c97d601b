// Talking-heads attention (arXiv 2003.02436): all heads mixed before and after softmax, nothing
// else.
#include "lib/attention/registry.h"

namespace mta::variants {

Variant talking_heads() {
  return {.summary = "all heads mixed before and after softmax",
          .preset = [](AttentionConfig& config) {
            config.heads_before.emplace();
            config.heads_after.emplace();
          }};
}

}  // namespace mta::variants
