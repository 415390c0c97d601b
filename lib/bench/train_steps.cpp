// One trainer for each experiment, stepped in turns.
#include "lib/bench/train_steps.h"

#include "lib/bench/device_profile.h"
#include "lib/bench/provenance.h"
#include "lib/bench/repeated.h"
#include "lib/data/training_set.h"
#include "lib/run/model.h"
#include "lib/train/device.h"
#include "lib/train/updater.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <utility>

namespace mta {
namespace {

constexpr std::int64_t kBatches =
    8;  // different ones, so that no step sees what it has just learnt
constexpr std::int64_t kFirstSteps = 5;  // until updates are replayed from a graph
constexpr std::int64_t kMostSteps = 50;  // a turn on a GPU, which is waited for once a turn
constexpr double kTurnSeconds = 2;       // a turn has fewer where those took longer
constexpr std::int64_t kMostProfiled = 20;

/// A model in training that makes a few updates at a time and waits for them.
class Stepper {
 public:
  Stepper(const Experiment& experiment, at::Device device)
      : experiment_(experiment),
        device_(device),
        model_(make_model(experiment, device)),
        optimiser_(model_->parameters(), experiment.train),
        updater_(*model_, optimiser_, endless(experiment.train),
                 {.dropout = experiment.model.attention_dropout,
                  .seed = static_cast<std::uint64_t>(experiment.seeds.train),
                  .device = device}) {
    const TrainingSet set(experiment.task, static_cast<std::uint64_t>(experiment.seeds.data),
                          experiment.train.batch);
    for (std::int64_t k = 0; k < kBatches; ++k) batches_.push_back(set.batch(k));
  }

  void steps(std::int64_t count) {
    use_deterministic_algorithms(device_, experiment_.train.deterministic);
    for (std::int64_t i = 0; i < count; ++i) {
      results_ = updater_.update(step_ + 1, batches_[static_cast<std::size_t>(step_ % kBatches)]);
      ++step_;
    }
    synchronize(device_);
  }

  double seconds_a_step() {
    const auto start = std::chrono::steady_clock::now();
    steps(1);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  /// Adds what the report says of it beside its times. On a GPU `profiled` further steps, of `ms`
  /// each, are profiled.
  void describe(Json& entry, std::int64_t profiled, double ms) {
    Json list = Json::array();
    for (const LayerPath& layer : attention_paths(*model_)) list.push_back(layer.path);
    const StepUse use = updater_.use();
    entry["attention_path"] = std::move(list);
    entry["step"] = {{"captured", use.replayed > 0}, {"reason", use.reason}};
    entry["last_loss"] = results_[0].item<double>();
    add_profile(
        entry, device_, [&] { steps(profiled); }, profiled, ms);
  }

  std::int64_t tokens() const { return batches_[0].size * batches_[0].length; }

 private:
  /// The schedule needs an end; nothing here does.
  static TrainConfig endless(TrainConfig config) {
    config.steps = std::numeric_limits<std::int32_t>::max();
    return config;
  }

  const Experiment& experiment_;
  at::Device device_;
  std::unique_ptr<LanguageModel> model_;
  AdamW optimiser_;
  Updater updater_;
  std::vector<Batch> batches_;
  at::Tensor results_;
  std::int64_t step_ = 0;
};

std::int64_t steps_a_turn(double seconds_a_step) {
  return std::clamp(static_cast<std::int64_t>(kTurnSeconds / seconds_a_step), std::int64_t{1},
                    kMostSteps);
}

Json case_json(const Experiment& experiment, Stepper& stepper, const TurnTimes& times,
               std::int64_t steps, std::int64_t peak_bytes) {
  const Spread ms = scaled(times.ms, 1 / static_cast<double>(steps));
  Json json = {{"name", times.name},
               {"ms_per_step", to_json(ms)},
               {"ratio_to_first", to_json(times.ratio)},
               {"tokens_per_s", 1000.0 * static_cast<double>(stepper.tokens()) / ms.median},
               {"peak_memory_bytes", peak_bytes},
               {"experiment", to_json(experiment)}};
  stepper.describe(json, std::min(steps, kMostProfiled), ms.median);
  return json;
}

}  // namespace

Json bench_train_steps(const TrainStepBench& bench) {
  const at::Device device = resolve_device(bench.device);
  if (bench.threads > 0) at::set_num_threads(static_cast<int>(bench.threads));
  Provenance provenance = bench_provenance(device, bench.command_line);
  const WorkStream stream(device);
  std::vector<std::unique_ptr<Stepper>> steppers;
  std::vector<std::int64_t> memory;
  double slowest = 0;
  for (const Experiment& experiment : bench.experiments) {
    memory.push_back(peak_memory_of(device, [&] {
      steppers.push_back(std::make_unique<Stepper>(experiment, device));
      steppers.back()->steps(device.is_cpu() ? 1 : kFirstSteps);
    }));
    slowest = std::max(slowest, steppers.back()->seconds_a_step());
  }
  const std::int64_t steps = device.is_cpu() ? 1 : steps_a_turn(slowest);
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < steppers.size(); ++i) {
    candidates.push_back({.name = bench.experiments[i].name,
                          .run = [stepper = steppers[i].get(), steps] { stepper->steps(steps); }});
  }
  const std::vector<TurnTimes> timings = time_in_turns(candidates, bench.timing);

  Json cases = Json::array();
  for (std::size_t i = 0; i < timings.size(); ++i) {
    cases.push_back(case_json(bench.experiments[i], *steppers[i], timings[i], steps, memory[i]));
  }
  provenance.ended = utc_now();
  return {
      {"schema", "mta.bench/1"},          {"kind", "train"},       {"turns", bench.timing.turns},
      {"warm_up", bench.timing.warm_up},  {"steps_a_turn", steps}, {"cases", std::move(cases)},
      {"provenance", to_json(provenance)}};
}

}  // namespace mta
