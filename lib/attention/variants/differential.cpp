// Differential attention (arXiv 2410.05258): H maps subtracted in pairs, values of twice the head
// size, and a headwise norm times 1 - lambda_init, which is the exponential depth scale.
#include "lib/attention/registry.h"

namespace mta::variants {

Variant differential() {
  return {.summary = "pairs of softmax maps subtracted, half the heads, headwise norm",
          .preset =
              [](AttentionConfig& config) {
                config.differential = true;
                config.group_norm = {.depth_scale = DepthScale::Exponential};
              },
          .start = Start::Different};
}

}  // namespace mta::variants
