// What an evaluation found: errors over all samples, and by slice. No torch here.
#pragma once

#include "lib/core/json.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mta {

struct SliceCount {
  std::int64_t correct = 0;  // samples, or parts of answers, without a wrong token
  std::int64_t count = 0;
};

/// 95 % interval of the share correct / count (Wilson, 1927); count > 0.
std::pair<double, double> wilson_interval(const SliceCount& slice);

/// Numbers by value ("2" before "10"), then other words by spelling.
struct SliceOrder {
  bool operator()(const std::string& a, const std::string& b) const;
};

/// Name of a slice ("block_position") -> its value ("17") -> counts.
using SliceCounts = std::map<std::string, std::map<std::string, SliceCount, SliceOrder>>;

/// Errors are fractions in [0, 1]. Nothing is set that was not measured.
struct Scores {
  std::optional<double> err_seq;  // share of samples with any wrong answer token
  std::optional<double> err_tok;  // share of wrong answer tokens
  std::optional<double> loss;     // mean cross-entropy of an answer token; nats
  std::int64_t scored = 0;        // samples
  SliceCounts slices;
};

/// One pass over samples of `split` after `step` updates, in a mode: "correct", "reference" or
/// "greedy".
struct Evaluation {
  std::int64_t step = 0;
  std::string split = "test";
  std::string mode;
  Scores scores;
};

/// {"step", "split", "mode", "err_seq", "err_tok", "loss", "scored"}
Json to_json(const Evaluation& evaluation);
/// {"block_position": {"17": {"correct", "count", "accuracy", "interval": [low, high]}}}
Json to_json(const SliceCounts& slices);
/// The reverse; "slices" beside the other keys is read too. Throws nlohmann's errors on other
/// input.
Evaluation evaluation_from_json(const Json& json);
SliceCounts slices_from_json(const Json& json);

/// The best step: lowest err_seq in `mode`, then lowest loss, then the earliest. Nothing without
/// evaluations in that mode.
std::optional<std::int64_t> best_step(const std::vector<Evaluation>& evaluations,
                                      const std::string& mode);
/// The step of the first evaluation in `mode` with err_seq below `threshold`.
std::optional<std::int64_t> first_step_below(const std::vector<Evaluation>& evaluations,
                                             const std::string& mode, double threshold);

/// A value, or null.
template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}
template <class T>
std::optional<T> optional_from_json(const Json& json) {
  if (json.is_null()) return std::nullopt;
  return json.get<T>();
}

}  // namespace mta
