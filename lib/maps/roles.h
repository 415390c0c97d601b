// What each token of a sample is for, and which stretches of the text matter. No torch here.
#pragma once

#include "lib/core/task.h"

#include <cstdint>
#include <string>
#include <vector>

namespace mta::maps {

struct TokenLabel {
  std::string text;
  std::string role;  // "context", "query", "target", "needle", "answer" or "special"
};

/// Tokens [begin, end) that belong together: a block, a needle.
struct Span {
  std::string name;  // "block 3 (eszyc)"
  std::string role;  // "target" for what the answer is read from, else "context" or "needle"
  std::int64_t begin = 0, end = 0;
};

/// A sample as the model sees it: inputs only, so the last token of the sequence is not there.
struct LabelledSample {
  std::int64_t index = 0;
  std::string src, tgt;
  std::vector<std::int32_t> tokens;
  std::vector<TokenLabel> labels;         // as many as tokens
  std::vector<Span> spans;                // in text order
  std::vector<std::int64_t> answer_rows;  // positions whose next token is scored
};

/// Block finding: a span for each block, read from the text itself, so files without facts work
/// too. Needle tasks: a span for each of the sample's needles; those asked for are targets. Other
/// tasks have no spans.
LabelledSample label_sample(const Task& task, const std::string& kind, const Sample& sample,
                            std::int64_t index);

}  // namespace mta::maps
