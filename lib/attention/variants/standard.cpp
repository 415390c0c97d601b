// Standard multi-head attention (arXiv 1706.03762): no stage at all.
#include "lib/attention/registry.h"

namespace mta::variants {

Variant standard() { return {.summary = "multi-head attention, the baseline"}; }

}  // namespace mta::variants
