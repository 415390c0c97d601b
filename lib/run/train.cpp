// Puts task, model, trainer, files and report together.
#include "lib/run/train.h"

#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/core/vocabulary.h"
#include "lib/data/evaluation_set.h"
#include "lib/data/feed.h"
#include "lib/data/training_set.h"
#include "lib/ops/launch_plans.h"
#include "lib/run/model.h"
#include "lib/run/run_directory.h"
#include "lib/run/stop_signal.h"
#include "lib/train/checkpoint.h"
#include "lib/train/device.h"
#include "lib/train/json_lines.h"
#include "lib/train/trainer.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <chrono>
#include <exception>
#include <memory>
#include <utility>

namespace mta {
namespace {

using Clock = std::chrono::steady_clock;

/// Everything that one run works with.
class Run {
 public:
  Run(const Experiment& experiment, const RunOptions& options, at::Device device, Json config)
      : experiment_(experiment),
        device_(device),
        config_(std::move(config)),
        hash_(config_hash(begun_config(RunFiles(options.directory), config_))),
        files_(options.directory),
        progress_kind_(options.progress),
        log_(options.log != nullptr ? *options.log : silent_),
        model_(make_model(experiment, device)),
        optimiser_(model_->parameters(), experiment.train),
        evaluator_(EvaluationSet(experiment.test_task, seed(experiment.evaluate.test_seed),
                                 experiment.evaluate.samples),
                   experiment.evaluate.batch, device),
        training_set_(experiment.task, seed(experiment.seeds.data), experiment.train.batch) {
    begin_report(options.command_line);
  }

  /// Trains and returns the report, which is written. Throws after writing one with status
  /// "failed".
  RunReport execute() {
    std::filesystem::remove(files_.report);  // of a run that failed or was stopped
    try {
      go_on_from_checkpoint();
      if (!state_.stop_reason) train();
      if (state_.stop_reason && experiment_.evaluate.greedy) generate_once();
      report_.status = state_.stop_reason ? RunStatus::Done : RunStatus::Stopped;
    } catch (const std::exception& error) {
      report_.error = error.what();
      fail_and_rethrow(std::current_exception());
    }
    end_report();
    write_report(files_.report, report_);
    return report_;
  }

 private:
  static std::uint64_t seed(std::int64_t value) { return static_cast<std::uint64_t>(value); }

  double wall_seconds() const {
    return wall_before_ + std::chrono::duration<double>(Clock::now() - start_).count();
  }

  void begin_report(const std::vector<std::string>& command_line) {
    report_.name = experiment_.name;
    report_.experiment = config_;
    report_.seeds = experiment_.seeds;
    report_.parameters = parameter_counts(model_->parameters());
    report_.attention_path = attention_paths(*model_);
    report_.provenance = build_provenance();
    const DeviceInfo device = describe_device(device_);
    report_.provenance.libtorch = libtorch_version();
    report_.provenance.device = device.name;
    report_.provenance.device_description = device.description;
    if (!device.driver.empty()) report_.provenance.driver = device.driver;
    if (device_.is_cuda()) {
      report_.provenance.launch_plans = ops::launch_plans_of(device.description);
    }
    report_.provenance.threads = at::get_num_threads();
    report_.provenance.command_line = shell_line(command_line);
    report_.provenance.started = utc_now();
  }

  void go_on_from_checkpoint() {
    const auto state = load_checkpoint(files_.checkpoint, model_->parameters(), optimiser_, hash_);
    if (state) {
      check_vocabulary(files_.checkpoint / kVocabularyFile, token_texts(*experiment_.task));
      state_ = *state;
    } else {
      state_.seeds = experiment_.seeds;
      state_.config_hash = hash_;
    }
    state_.vocabulary = token_texts(*experiment_.task);
    wall_before_ = state_.wall_s;
    keep_json_lines(files_.metrics, state_.step);
    keep_json_lines(files_.evaluations, state_.step);
    for (const Json& line : read_json_lines(files_.evaluations)) {
      evaluations_.push_back(evaluation_from_json(line));
    }
    // A run keeps the configuration that it began with: checkpoints carry its hash.
    if (!std::filesystem::exists(files_.config)) {
      write_file_atomically(files_.config, config_.dump(kIndent) + '\n');
    }
  }

  void train() {
    const StopSignal signal;
    JsonLines metrics(files_.metrics), evaluations(files_.evaluations);
    Progress progress(log_, progress_kind_, experiment_.name, state_.step, experiment_.train.steps);
    Feed feed([this](std::int64_t k) { return training_set_.batch(k); },
              {.first = state_.step, .threads = static_cast<int>(experiment_.train.data_threads)});
    Trainer trainer(*model_, optimiser_, experiment_.train,
                    {.evaluate_every = experiment_.evaluate.every,
                     .dropout = experiment_.model.attention_dropout,
                     .seed = seed(experiment_.seeds.train),
                     .seconds_before = state_.train_s,
                     .device = device_});
    for (const std::string& notice : experiment_.task->notices()) progress.say(notice);
    if (state_.step > 0) progress.say(fmt::format("goes on at step {}", state_.step));

    const StopReason reason = trainer.run(
        state_.step,
        {.next_batch = [&] { return feed.next(); },
         .log = [&](const StepMetrics& m) { metrics.append(to_json(m)); },
         .progress = [&](std::int64_t step,
                         std::optional<double> loss) { progress.step(step, loss); },
         .evaluate = [&](std::int64_t step) { return evaluate(step, evaluations, progress); },
         .save = [&](std::int64_t step,
                     std::optional<StopReason> end) { save(step, end, trainer.train_seconds()); },
         .interrupted = [&] { return signal.requested(); }});

    report_.stop_reason = to_string(reason);
    report_.timing.ms_per_step = trainer.median_ms_per_step();
    report_.timing.tokens_per_s = trainer.tokens_per_second();
    report_.timing.data_wait_s = feed.waited_seconds();
    const StepUse& use = trainer.step_use();
    report_.timing.step = {.captured = use.replayed > 0,
                           .reason = use.reason,
                           .replayed = use.replayed,
                           .plain = use.plain};
    progress.say(reason == StopReason::Signal
                     ? fmt::format("stopped at step {}; --resume goes on", state_.step)
                     : fmt::format("done after {}", duration_text(wall_seconds())));
  }

  Json to_json(const StepMetrics& m) const {
    return {{"step", m.step},
            {"loss", m.loss},
            {"lr", m.lr},
            {"grad_norm", m.grad_norm},
            {"tokens_per_s", m.tokens_per_s},
            {"ms_per_step", m.ms_per_step},
            {"elapsed_s", wall_seconds()}};
  }

  std::optional<double> evaluate(std::int64_t step, JsonLines& lines, Progress& progress) {
    std::optional<double> deciding;
    for (const std::string& mode : experiment_.evaluate.modes) {
      const Evaluation& e = add_evaluation(step, mode, lines);
      if (mode != experiment_.evaluate.modes.front()) continue;
      deciding = e.scores.err_seq;
      progress.evaluated(e);
    }
    return deciding;
  }

  const Evaluation& add_evaluation(std::int64_t step, const std::string& mode, JsonLines& lines) {
    evaluations_.push_back({.step = step,
                            .mode = mode,
                            .scores = score(experiment_, *model_, evaluator_, mode, step)});
    Json line = mta::to_json(evaluations_.back());
    line["slices"] = mta::to_json(evaluations_.back().scores.slices);
    lines.append(line);
    return evaluations_.back();
  }

  /// Scores free generation of the final model, unless an earlier process has.
  void generate_once() {
    if (!evaluations_.empty() && evaluations_.back().mode == "greedy") return;
    JsonLines lines(files_.evaluations);
    add_evaluation(state_.step, "greedy", lines);
  }

  void save(std::int64_t step, std::optional<StopReason> end, double train_seconds) {
    state_.step = step;
    state_.stop_reason.reset();
    if (end && *end != StopReason::Signal) state_.stop_reason = to_string(*end);
    state_.train_s = train_seconds;
    state_.wall_s = wall_seconds();
    save_checkpoint(files_.checkpoint, model_->parameters(), optimiser_, state_);
  }

  void end_report() {
    report_.steps = state_.step;
    if (state_.stop_reason) report_.stop_reason = state_.stop_reason;
    summarise(report_, evaluations_, experiment_.evaluate);
    report_.timing.wall_s = wall_seconds();
    if (state_.step > 0) report_.timing.train_s = state_.train_s;
    report_.timing.peak_memory_bytes = peak_memory_bytes(device_);
    report_.provenance.ended = utc_now();
  }

  [[noreturn]] void fail_and_rethrow(const std::exception_ptr& error) {
    report_.status = RunStatus::Failed;
    end_report();
    try {
      write_report(files_.report, report_);
    } catch (const std::exception&) {
      // The disk that is full or gone is what `error` says already.
    }
    std::rethrow_exception(error);
  }

  static constexpr int kIndent = 2;

  const Experiment& experiment_;
  const at::Device device_;
  const Json config_;
  const std::string hash_;
  const RunFiles files_;
  const ProgressKind progress_kind_;
  std::ostream silent_{nullptr};  // drops what is written to it
  std::ostream& log_;
  const Clock::time_point start_ = Clock::now();
  double wall_before_ = 0;

  std::unique_ptr<LanguageModel> model_;
  AdamW optimiser_;
  Evaluator evaluator_;
  TrainingSet training_set_;
  TrainState state_;
  std::vector<Evaluation> evaluations_;
  RunReport report_;
};

}  // namespace

RunResult run_training(const Experiment& experiment, const RunOptions& options) {
  const RunFiles files(options.directory);
  const Json config = to_json(experiment);
  check_may_run(files, config, options.resume);
  if (auto report = finished_report(files))
    return {.report = *std::move(report), .was_complete = true};
  const at::Device device = resolve_device(options.device);
  check_graph(experiment.train, device);
  use_deterministic_algorithms(device, experiment.train.deterministic);
  if (experiment.train.threads) at::set_num_threads(static_cast<int>(*experiment.train.threads));

  // What the experiment may be refused for comes first, so that a refused one leaves no folder.
  Run run(experiment, options, device, config);
  const RunLock lock(files);
  check_may_run(files, config, options.resume);  // nobody can begin one here from now on
  return {.report = run.execute()};
}

}  // namespace mta
