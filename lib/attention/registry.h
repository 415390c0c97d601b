// The variants of attention by name. Adding one is a file in variants/ and a line in registry.cpp.
#pragma once

#include "lib/attention/config.h"

#include <string>
#include <string_view>
#include <vector>

namespace mta {

struct AttentionPlan;
class LayerBuilder;

/// Whether a fresh model with this variant computes the same as standard attention, norms and gates
/// aside (identity kernels do).
enum class Start { AsStandard, Different };

struct Variant {
  std::string_view summary;  // one line, for `mta list variants`
  /// Turns the default configuration (standard attention) into the variant's: states the
  /// difference.
  void (*preset)(AttentionConfig& config) = [](AttentionConfig&) {};
  /// Adds stages of the variant's own to the plan that the configuration makes; null = none.
  void (*add_stages)(AttentionPlan& plan, LayerBuilder& layer) = nullptr;
  Start start = Start::AsStandard;
};

/// All names, in the order of the table.
const std::vector<std::string>& variant_names();

/// The variant of a known name; throws std::out_of_range for any other.
Variant find_variant(std::string_view name);

/// The variant's whole configuration.
AttentionConfig preset(std::string_view name);

}  // namespace mta
