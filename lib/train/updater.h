// One update of the parameters: forward, backward, clipping, AdamW. On a GPU recorded once and
// replayed.
#pragma once

#include "lib/core/batch.h"
#include "lib/model/language_model.h"
#include "lib/nn/device_graph.h"
#include "lib/train/config.h"
#include "lib/train/optimiser.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace mta {

struct UpdaterOptions {
  double dropout = 0;      // on the attention weights
  std::uint64_t seed = 0;  // of dropout
  at::Device device = at::kCPU;
};

/// How the updates so far were made.
struct StepUse {
  std::int64_t plain = 0, replayed = 0;  // updates
  std::string reason;                    // why none was replayed; empty once one was
};

/// Throws UserError at /train/graph where it demands a graph that `device` cannot have.
void check_graph(const TrainConfig& config, at::Device device);

/// Throws UserError at /train/recompute_layers where it demands a layer whose dropout cannot be
/// drawn again.
void check_recompute(const TrainConfig& config, const LanguageModel& model, double dropout);

/// What an update works on.
struct StepInput;

class Updater {
 public:
  /// `model` and `optimiser` outlive this.
  Updater(const LanguageModel& model, AdamW& optimiser, const TrainConfig& config,
          const UpdaterOptions& options);
  ~Updater();
  Updater(const Updater&) = delete;
  Updater& operator=(const Updater&) = delete;

  /// Update `step`, on the current stream: loss before it and the gradient's norm before clipping,
  /// [2] on the device. Does not wait for the device. Replayed and plain updates have the same
  /// bits; the first few of each shape of batch are plain. Throws std::runtime_error where a graph
  /// is demanded and something cannot be recorded.
  at::Tensor update(std::int64_t step, const Batch& batch);

  const StepUse& use() const { return use_; }

 private:
  struct Shape;  // of a batch: what is recorded for it

  at::Tensor compute(const StepInput& input);
  StepInput on_host(std::int64_t step, double rate, const Batch& batch) const;
  void fill(Shape& shape, std::int64_t step, double rate, const Batch& batch) const;
  Shape& shape_of(const Batch& batch);
  void record(Shape& shape);
  at::ScalarType master() const;

  const LanguageModel& model_;
  AdamW& optimiser_;
  const TrainConfig config_;
  const UpdaterOptions options_;
  std::vector<std::unique_ptr<Shape>> shapes_;
  std::unique_ptr<Shape> other_;  // of a batch that has no place among them
  bool may_record_ = false;
  StepUse use_;
};

}  // namespace mta
