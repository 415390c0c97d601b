// The shapes and stages that `mta bench attention` times: data, built in or from a file.
#pragma once

#include "lib/attention/config.h"
#include "lib/core/json.h"

#include <cstdint>
#include <string>
#include <vector>

namespace mta {

struct AttentionCase {
  std::string name;
  std::int64_t batch = 4, heads = 16, tokens = 2048, head_dim = 64;
  /// Composed maps need memory and time that grow with the square of the length: long cases leave
  /// them out.
  bool composed = true;
  AttentionConfig attention;  // its stages on maps, causality and workspace_mib count

  /// Causal logits, the unit of work.
  double logits() const;
};

/// Reads a list of cases; `file` stands in messages. Throws UserError with every problem in it.
std::vector<AttentionCase> read_attention_cases(const Json& list, const std::string& file);
Json to_json(const AttentionCase& one);

/// Those of attention_cases.json, which is built in.
std::vector<AttentionCase> usual_attention_cases();

}  // namespace mta
