// Which samples make which training batch.
#pragma once

#include "lib/core/batch.h"
#include "lib/core/task.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace mta {

/// Fresh samples without end, or a fixed set in epochs, each in its own random order: batch k is a
/// function of (task, seed, batch size, k), so a run goes on at any step.
class TrainingSet {
 public:
  /// Looks for repeated contexts in a fixed set only where the task has so few that there may be
  /// some. Throws UserError when the task has fewer than the set needs.
  TrainingSet(std::shared_ptr<const Task> task, std::uint64_t seed, std::int64_t batch_size);

  /// Callable from any thread.
  Batch batch(std::int64_t k) const;
  /// The index of the sample at `place` of the endless sequence that the batches cut up.
  std::uint64_t sample_index(std::uint64_t place) const;

 private:
  void leave_out_repeats(std::uint64_t size);

  std::shared_ptr<const Task> task_;
  std::uint64_t seed_;
  std::int64_t batch_size_;
  std::vector<std::uint64_t> indices_;  // of a fixed set with repeats left out; else empty
};

}  // namespace mta
