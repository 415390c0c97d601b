// The training loop: updates, and calls for logging, evaluation, saving and stopping.
#pragma once

#include "lib/core/batch.h"
#include "lib/model/language_model.h"
#include "lib/train/config.h"
#include "lib/train/optimiser.h"
#include "lib/train/updater.h"

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace mta {

/// Why a run ended. Signal: it was interrupted and may go on.
enum class StopReason { Steps, Seconds, ErrSeq, Signal };
std::string to_string(StopReason reason);

/// One line of metrics.jsonl.
struct StepMetrics {
  std::int64_t step = 0;
  double loss = 0;  // of this step's batch, before the update; nats a scored token
  double lr = 0;
  double grad_norm = 0;     // before clipping
  double tokens_per_s = 0;  // input tokens, since the line before
  double ms_per_step = 0;   // mean since the line before
};

struct TrainHooks {
  std::function<Batch()> next_batch;
  std::function<void(const StepMetrics&)> log;  // every log_every steps
  /// After every update; the loss where it is known without waiting for the device.
  std::function<void(std::int64_t step, std::optional<double> loss)> progress;
  /// Returns err_seq of the deciding mode. Called every `evaluate_every` steps and at the end, but
  /// not when interrupted.
  std::function<std::optional<double>(std::int64_t step)> evaluate;
  /// Called every checkpoint_every steps and at the end, after evaluate.
  std::function<void(std::int64_t step, std::optional<StopReason> end)> save;
  std::function<bool()> interrupted;
};

struct TrainerOptions {
  std::optional<std::int64_t> evaluate_every;
  double dropout = 0;         // on the attention weights
  std::uint64_t seed = 0;     // of dropout
  double seconds_before = 0;  // training time of earlier processes
  at::Device device = at::kCPU;
};

class Trainer {
 public:
  /// `model` and `optimiser` outlive this.
  Trainer(const LanguageModel& model, AdamW& optimiser, const TrainConfig& config,
          const TrainerOptions& options);

  /// Makes the updates first_step + 1 to config.steps, or fewer when a stop rule holds. Throws
  /// NumericError naming the step when a loss or a gradient is not finite; the parameters are then
  /// those before that step.
  StopReason run(std::int64_t first_step, const TrainHooks& hooks);

  /// Of updates, evaluation and saving not counted, earlier processes included.
  double train_seconds() const { return train_seconds_; }
  /// Median over the steps; on a GPU over the stretches between two waits for it. Nothing before
  /// the first update.
  std::optional<double> median_ms_per_step() const;
  std::optional<double> tokens_per_second() const;
  /// Whether updates were replayed from a graph.
  const StepUse& step_use() const { return updater_.use(); }

 private:
  using Clock = std::chrono::steady_clock;

  struct Pending {
    std::int64_t step;
    at::Tensor results;  // loss and gradient's norm, [2] on the device
  };

  StopReason loop(std::int64_t first_step, const TrainHooks& hooks);
  void update(std::int64_t step, const Batch& batch);
  /// Waits for the device, checks and logs the pending steps. Returns the last loss.
  std::optional<double> settle(const TrainHooks& hooks);
  std::optional<StopReason> reason_to_stop(std::int64_t step, const TrainHooks& hooks) const;

  const TrainConfig config_;
  const TrainerOptions options_;
  Updater updater_;

  std::vector<Pending> pending_;
  Clock::time_point since_;  // what follows is not in train_seconds_ yet
  double train_seconds_;
  std::vector<double> step_ms_;
  std::int64_t steps_ = 0, tokens_ = 0;  // of this process
  double logged_seconds_;
  std::int64_t logged_steps_ = 0, logged_tokens_ = 0;
};

}  // namespace mta
