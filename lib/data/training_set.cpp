// Which samples make which training batch.
#include "lib/data/training_set.h"

#include "lib/data/distinct.h"
#include "lib/data/permutation.h"

#include <cmath>
#include <utility>

namespace mta {

TrainingSet::TrainingSet(std::shared_ptr<const Task> task, std::uint64_t seed,
                         std::int64_t batch_size)
    : task_(std::move(task)), seed_(seed), batch_size_(batch_size) {
  if (!task_->common.samples) return;
  // Expected repeats among S of C contexts: S^2 / 2C. Below one in a million, do not look.
  constexpr double kLog2OfMillionth = -19.93;
  const auto size = static_cast<double>(*task_->common.samples);
  if (2 * std::log2(size) - 1 - task_->log2_contexts() > kLog2OfMillionth) {
    leave_out_repeats(static_cast<std::uint64_t>(*task_->common.samples));
  }
}

void TrainingSet::leave_out_repeats(std::uint64_t size) {
  DistinctSamples samples(*task_, Split::Train, seed_);
  indices_.reserve(size);
  while (indices_.size() < size) {
    samples.next();
    indices_.push_back(samples.index());
  }
}

std::uint64_t TrainingSet::sample_index(std::uint64_t place) const {
  if (!task_->common.samples) return place;
  const auto size = static_cast<std::uint64_t>(*task_->common.samples);
  const std::uint64_t i = Permutation(size, seed_, place / size)(place % size);
  return indices_.empty() ? i : indices_[i];
}

Batch TrainingSet::batch(std::int64_t k) const {
  const Task& task = task_->at_batch(k);
  std::vector<Sample> samples;
  samples.reserve(static_cast<std::size_t>(batch_size_));
  for (std::int64_t i = 0; i < batch_size_; ++i) {
    const auto place = static_cast<std::uint64_t>(k * batch_size_ + i);
    samples.push_back(task.sample(seed_, Split::Train, sample_index(place)));
  }
  return make_batch(task, samples);
}

}  // namespace mta
