// How much of the attention falls on what the answer is read from.
#pragma once

#include "lib/core/json.h"
#include "lib/maps/roles.h"
#include "lib/maps/walk.h"

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace mta::maps {

/// Share of a row's mass on the target spans, averaged over the rows that predict the answer and
/// over samples. Of weights, mass is the magnitude (they may be negative after the softmax); of
/// scores, it is the weight that a softmax of them would give.
class TargetShares {
 public:
  void begin_sample(const LabelledSample& sample);
  /// Rows of a map of the current sample; those that predict no answer are passed over.
  void add(const MapRows& rows);

  /// [{"layer", "stage", "heads": [share of head 0, ...], "uniform", "rows"}], in layer and stage
  /// order. "uniform" is the share under equal weights on all visible tokens. Empty without
  /// targets.
  Json to_json() const;
  /// A table in percent: a line for each layer and head, a column for each stage.
  std::string to_text() const;

 private:
  struct Sum {
    std::vector<double> heads;
    double uniform = 0;
    std::int64_t rows = 0;
  };
  Sum& sum_of(std::int64_t layer, const std::string& stage, std::size_t heads);

  std::vector<std::pair<std::int64_t, std::string>> order_;  // layer, stage as first seen
  std::map<std::pair<std::int64_t, std::string>, Sum> sums_;
  std::vector<std::int64_t> answer_rows_;
  std::vector<Span> targets_;
};

}  // namespace mta::maps
