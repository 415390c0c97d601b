// The loop and its bookkeeping.
#include "lib/train/trainer.h"

#include "lib/core/error.h"
#include "lib/train/device.h"
#include "lib/train/progress.h"
#include "lib/train/schedule.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace mta {
namespace {

constexpr double kMillisecondsPerSecond = 1000;

bool due(std::optional<std::int64_t> every, std::int64_t step) {
  return every && step % *every == 0;
}

/// Values of tensors on the device, one after the other, with one wait.
std::vector<double> values_of(const std::vector<at::Tensor>& results) {
  const at::Tensor values = at::stack(results).to(at::kCPU, at::kDouble);
  const auto* data = values.const_data_ptr<double>();
  return {data, data + values.numel()};
}

}  // namespace

std::string to_string(StopReason reason) {
  switch (reason) {
    case StopReason::Steps:
      return "steps";
    case StopReason::Seconds:
      return "seconds";
    case StopReason::ErrSeq:
      return "err_seq";
    case StopReason::Signal:
      return "signal";
  }
  return {};
}

Trainer::Trainer(const LanguageModel& model, AdamW& optimiser, const TrainConfig& config,
                 const TrainerOptions& options)
    : config_(config),
      options_(options),
      updater_(model, optimiser, config,
               {.dropout = options.dropout, .seed = options.seed, .device = options.device}),
      train_seconds_(options.seconds_before),
      logged_seconds_(options.seconds_before) {}

StopReason Trainer::run(std::int64_t first_step, const TrainHooks& hooks) {
  const WorkStream stream(options_.device);
  return loop(first_step, hooks);
}

StopReason Trainer::loop(std::int64_t first_step, const TrainHooks& hooks) {
  for (std::int64_t step = first_step + 1; step <= config_.steps; ++step) {
    since_ = pending_.empty() ? Clock::now() : since_;
    update(step, hooks.next_batch());
    std::optional<double> loss;
    if (options_.device.is_cpu() || due(config_.log_every, step)) loss = settle(hooks);
    hooks.progress(step, loss);

    std::optional<StopReason> stop = reason_to_stop(step, hooks);
    if (stop != StopReason::Signal && (stop || due(options_.evaluate_every, step))) {
      settle(hooks);
      const std::optional<double> err_seq = hooks.evaluate(step);
      if (!stop && config_.stop.err_seq && err_seq && *err_seq < *config_.stop.err_seq) {
        stop = StopReason::ErrSeq;
      }
    }
    if (stop || due(config_.checkpoint_every, step)) {
      settle(hooks);
      hooks.save(step, stop);
    }
    if (stop) return *stop;
  }
  return StopReason::Steps;
}

void Trainer::update(std::int64_t step, const Batch& batch) {
  pending_.push_back({.step = step, .results = updater_.update(step, batch)});
  ++steps_;
  tokens_ += batch.size * batch.length;
}

std::optional<double> Trainer::settle(const TrainHooks& hooks) {
  if (pending_.empty()) return std::nullopt;
  std::vector<at::Tensor> results;
  for (const Pending& p : pending_) results.push_back(p.results);
  const std::vector<double> values = values_of(results);
  const double seconds = std::chrono::duration<double>(Clock::now() - since_).count();
  train_seconds_ += seconds;
  step_ms_.push_back(kMillisecondsPerSecond * seconds / static_cast<double>(pending_.size()));

  for (std::size_t i = 0; i < pending_.size(); ++i) {
    const Pending& p = pending_[i];
    const double loss = values[2 * i], grad_norm = values[2 * i + 1];
    if (!std::isfinite(loss) || !std::isfinite(grad_norm)) {
      throw NumericError(fmt::format("step {}: the loss is {} and the gradient's norm {}", p.step,
                                     without_nan_sign(loss), without_nan_sign(grad_norm)));
    }
    if (!due(config_.log_every, p.step)) continue;
    const double since_logged = train_seconds_ - logged_seconds_;
    hooks.log({.step = p.step,
               .loss = loss,
               .lr = learning_rate(config_, p.step),
               .grad_norm = grad_norm,
               .tokens_per_s = static_cast<double>(tokens_ - logged_tokens_) / since_logged,
               .ms_per_step = kMillisecondsPerSecond * since_logged /
                              static_cast<double>(steps_ - logged_steps_)});
    logged_seconds_ = train_seconds_;
    logged_steps_ = steps_;
    logged_tokens_ = tokens_;
  }
  const double last_loss = values[values.size() - 2];
  pending_.clear();
  return last_loss;
}

std::optional<StopReason> Trainer::reason_to_stop(std::int64_t step,
                                                  const TrainHooks& hooks) const {
  if (step == config_.steps) return StopReason::Steps;
  if (hooks.interrupted()) return StopReason::Signal;
  double seconds = train_seconds_;
  if (!pending_.empty()) seconds += std::chrono::duration<double>(Clock::now() - since_).count();
  if (config_.stop.seconds && seconds >= *config_.stop.seconds) return StopReason::Seconds;
  return std::nullopt;
}

std::optional<double> Trainer::median_ms_per_step() const {
  if (step_ms_.empty()) return std::nullopt;
  std::vector<double> sorted = step_ms_;
  std::sort(sorted.begin(), sorted.end());
  const std::size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

std::optional<double> Trainer::tokens_per_second() const {
  const double seconds = train_seconds_ - options_.seconds_before;
  if (seconds <= 0) return std::nullopt;
  return static_cast<double>(tokens_) / seconds;
}

}  // namespace mta
