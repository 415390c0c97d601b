// The samples that a model is scored on.
#pragma once

#include "lib/core/batch.h"
#include "lib/core/task.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

namespace mta {

class EvaluationSet {
 public:
  /// The first `count` samples of the test split whose contexts differ: those that `mta generate`
  /// writes with the same seed.
  EvaluationSet(std::shared_ptr<const Task> task, std::uint64_t seed, std::int64_t count);
  /// The samples of a JSONL file. Throws UserError "file:line: ...".
  EvaluationSet(std::shared_ptr<const Task> task, const std::filesystem::path& file);

  const std::vector<Sample>& samples() const { return samples_; }
  /// Batches of `batch_size`; the last may be smaller.
  std::int64_t batches(std::int64_t batch_size) const;
  Batch batch(std::int64_t k, std::int64_t batch_size) const;

 private:
  std::shared_ptr<const Task> task_;
  std::vector<Sample> samples_;
};

}  // namespace mta
