// The samples that a model is scored on.
#include "lib/data/evaluation_set.h"

#include "lib/data/distinct.h"
#include "lib/data/jsonl.h"

#include <algorithm>
#include <utility>

namespace mta {

EvaluationSet::EvaluationSet(std::shared_ptr<const Task> task, std::uint64_t seed,
                             std::int64_t count)
    : task_(std::move(task)) {
  DistinctSamples samples(*task_, Split::Test, seed);
  for (std::int64_t i = 0; i < count; ++i) samples_.push_back(samples.next());
}

EvaluationSet::EvaluationSet(std::shared_ptr<const Task> task, const std::filesystem::path& file)
    : task_(std::move(task)), samples_(read_samples(file, *task_)) {}

std::int64_t EvaluationSet::batches(std::int64_t batch_size) const {
  return (static_cast<std::int64_t>(samples_.size()) + batch_size - 1) / batch_size;
}

Batch EvaluationSet::batch(std::int64_t k, std::int64_t batch_size) const {
  const auto first =
      std::min<std::size_t>(static_cast<std::size_t>(k * batch_size), samples_.size());
  const auto last = std::min(first + static_cast<std::size_t>(batch_size), samples_.size());
  return make_batch(*task_, {samples_.begin() + static_cast<std::ptrdiff_t>(first),
                             samples_.begin() + static_cast<std::ptrdiff_t>(last)});
}

}  // namespace mta
