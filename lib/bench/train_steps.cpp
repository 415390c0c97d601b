// One trainer for each experiment, stepped in turns.
#include "lib/bench/train_steps.h"

#include "lib/bench/provenance.h"
#include "lib/data/training_set.h"
#include "lib/run/model.h"
#include "lib/train/device.h"
#include "lib/train/trainer.h"

#include <ATen/Parallel.h>

#include <memory>
#include <utility>

namespace mta {
namespace {

constexpr std::int64_t kBatches =
    8;  // different ones, so that no step sees what it has just learnt

/// A model in training that makes one update at a time.
class Stepper {
 public:
  Stepper(const Experiment& experiment, at::Device device)
      : experiment_(experiment),
        device_(device),
        model_(make_model(experiment, device)),
        optimiser_(model_->parameters(), experiment.train) {
    const TrainingSet set(experiment.task, static_cast<std::uint64_t>(experiment.seeds.data),
                          experiment.train.batch);
    for (std::int64_t k = 0; k < kBatches; ++k) batches_.push_back(set.batch(k));
  }

  void step() {
    TrainConfig config = experiment_.train;
    config.steps = step_ + 1;
    config.log_every = 1;  // each step is waited for
    config.checkpoint_every.reset();
    Trainer trainer(*model_, optimiser_, config,
                    {.evaluate_every = std::nullopt,
                     .dropout = experiment_.model.attention_dropout,
                     .seed = static_cast<std::uint64_t>(experiment_.seeds.train),
                     .device = device_});
    trainer.run(step_, {.next_batch = [this] { return batches_[next()]; },
                        .log = [](const StepMetrics&) {},
                        .progress = [](std::int64_t, std::optional<double>) {},
                        .evaluate = [](std::int64_t) { return std::optional<double>(); },
                        .save = [](std::int64_t, std::optional<StopReason>) {},
                        .interrupted = [] { return false; }});
    ++step_;
  }

  Json paths() const {
    Json list = Json::array();
    for (const LayerPath& layer : attention_paths(*model_)) list.push_back(layer.path);
    return list;
  }
  std::int64_t tokens() const { return batches_[0].size * batches_[0].length; }

 private:
  std::size_t next() const { return static_cast<std::size_t>(step_ % kBatches); }

  const Experiment& experiment_;
  at::Device device_;
  std::unique_ptr<LanguageModel> model_;
  AdamW optimiser_;
  std::vector<Batch> batches_;
  std::int64_t step_ = 0;
};

}  // namespace

Json bench_train_steps(const TrainStepBench& bench) {
  const at::Device device = resolve_device(bench.device);
  if (bench.threads > 0) at::set_num_threads(static_cast<int>(bench.threads));
  Provenance provenance = bench_provenance(device, bench.command_line);

  std::vector<std::unique_ptr<Stepper>> steppers;
  std::vector<Candidate> candidates;
  for (const Experiment& experiment : bench.experiments) {
    steppers.push_back(std::make_unique<Stepper>(experiment, device));
    candidates.push_back(
        {.name = experiment.name, .run = [stepper = steppers.back().get()] { stepper->step(); }});
  }
  const std::vector<TurnTimes> timings = time_in_turns(candidates, bench.timing);
  provenance.ended = utc_now();

  Json cases = Json::array();
  for (std::size_t i = 0; i < timings.size(); ++i) {
    cases.push_back({{"name", timings[i].name},
                     {"ms_per_step", to_json(timings[i].ms)},
                     {"ratio_to_first", to_json(timings[i].ratio)},
                     {"tokens_per_s",
                      1000.0 * static_cast<double>(steppers[i]->tokens()) / timings[i].ms.median},
                     {"attention_path", steppers[i]->paths()},
                     {"experiment", to_json(bench.experiments[i])}});
  }
  return {{"schema", "mta.bench/1"},     {"kind", "train"},
          {"turns", bench.timing.turns}, {"warm_up", bench.timing.warm_up},
          {"cases", std::move(cases)},   {"provenance", to_json(provenance)}};
}

}  // namespace mta
