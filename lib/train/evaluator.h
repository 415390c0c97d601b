// Scores a model on a fixed set of samples.
#pragma once

#include "lib/data/evaluation_set.h"
#include "lib/model/language_model.h"
#include "lib/train/scores.h"
#include "lib/train/tensors.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace mta {

struct TeacherForcing {
  double dropout = 0;                // on the attention weights of layers with standard attention
  std::uint64_t seed = 0, step = 0;  // of dropout
  bool full_batches_only = false;
};

class Evaluator {
 public:
  /// Keeps the set's batches of `batch_size` on the device.
  Evaluator(const EvaluationSet& set, std::int64_t batch_size, at::Device device);

  /// The model reads the right answer; a token is wrong when it is not the most likely one.
  Scores teacher_forced(const LanguageModel& model, const TeacherForcing& options) const;

  /// The model reads its own answer, one sample after the other; a sample is cut off at the task's
  /// end token or at the length of the right answer. No loss.
  Scores greedy(const LanguageModel& model, const Task& task) const;

 private:
  struct Part {
    TensorBatch tensors;
    std::vector<std::uint8_t> scored;  // [B, T - first_row], as Batch::scored
    std::vector<Slices> slices;
    std::vector<std::vector<Slices>> part_slices;

    std::span<const std::uint8_t> scored_of(std::int64_t row) const;
  };

  std::int64_t batch_size_;
  at::Device device_;
  std::vector<Part> parts_;
};

}  // namespace mta
