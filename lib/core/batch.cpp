// Samples -> one rectangular batch.
#include "lib/core/batch.h"

#include <algorithm>

namespace mta {

Batch make_batch(const Task& task, const std::vector<Sample>& samples) {
  std::vector<Encoded> rows;
  rows.reserve(samples.size());
  std::size_t longest = 1;
  for (const Sample& sample : samples) {
    rows.push_back(task.encode(sample));
    longest = std::max(longest, rows.back().tokens.size());
  }

  Batch batch;
  batch.size = static_cast<std::int64_t>(samples.size());
  batch.length = static_cast<std::int64_t>(longest) - 1;
  const std::size_t length = longest - 1;
  batch.inputs.assign(rows.size() * length, 0);
  batch.targets.assign(rows.size() * length, 0);
  batch.scored.assign(rows.size() * length, 0);
  batch.first_scored = batch.length;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const Encoded& row = rows[r];
    const std::vector<std::int32_t>& shown = row.shown.empty() ? row.tokens : row.shown;
    for (std::size_t t = 0; t + 1 < row.tokens.size(); ++t) {
      const std::size_t at = r * length + t;
      batch.inputs[at] = shown[t];
      batch.targets[at] = row.tokens[t + 1];
      batch.scored[at] = row.scored[t + 1];
      if (batch.scored[at] != 0)
        batch.first_scored = std::min(batch.first_scored, static_cast<std::int64_t>(t));
    }
    batch.slices.push_back(samples[r].slices);
    batch.part_slices.push_back(samples[r].part_slices);
  }
  return batch;
}

}  // namespace mta
