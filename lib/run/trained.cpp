// Loading a run's model, and scoring it.
#include "lib/run/trained.h"

#include "lib/core/error.h"
#include "lib/core/vocabulary.h"
#include "lib/data/evaluation_set.h"
#include "lib/run/model.h"
#include "lib/run/run_directory.h"
#include "lib/train/checkpoint.h"
#include "lib/train/device.h"
#include "tasks/registry.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <utility>

namespace mta {
namespace {

/// The checkpoint folder, or its predecessor in the moment in which training replaces it.
std::filesystem::path readable_checkpoint(const RunFiles& files) {
  std::filesystem::path old = files.checkpoint;
  old += ".old";
  for (const auto& folder : {files.checkpoint, old}) {
    if (std::filesystem::exists(folder / "model.safetensors")) return folder;
  }
  throw UserError(files.directory.string(), "has no checkpoint: nothing was saved yet");
}

/// The test task, with the settings laid over it.
std::shared_ptr<const Task> task_of(const Experiment& experiment,
                                    const EvaluateRunOptions& options) {
  if (options.settings.empty()) return experiment.test_task;
  const Document document = document_of(options.settings);
  Problems problems(document);
  auto task = changed_task(*experiment.test_task, document.root, "", problems);
  problems.raise();
  return task;
}

EvaluationSet samples_of(const Experiment& experiment, std::shared_ptr<const Task> task,
                         const EvaluateRunOptions& options) {
  if (options.data) return {std::move(task), *options.data};
  return {std::move(task),
          static_cast<std::uint64_t>(options.seed.value_or(experiment.evaluate.test_seed)),
          options.samples.value_or(experiment.evaluate.samples)};
}

}  // namespace

TrainedModel load_trained(const std::filesystem::path& run_directory, const std::string& device) {
  const RunFiles files(run_directory);
  if (!std::filesystem::exists(files.config)) {
    throw UserError(run_directory.string(), "is not a run: it has no config.json");
  }
  TrainedModel trained;
  trained.experiment = read_experiment(load_document(files.config, {}));
  trained.device = resolve_device(device);
  if (const auto threads = trained.experiment.train.threads) {
    at::set_num_threads(static_cast<int>(*threads));
  }
  trained.model = make_model(trained.experiment, trained.device);
  const std::filesystem::path checkpoint = readable_checkpoint(files);
  check_vocabulary(checkpoint / kVocabularyFile, token_texts(*trained.experiment.task));
  load_parameters(checkpoint / "model.safetensors", trained.model->parameters());
  trained.step = read_state(checkpoint / "state.json").step;
  return trained;
}

Evaluation evaluate_trained(const TrainedModel& trained, const EvaluateRunOptions& options) {
  const Experiment& experiment = trained.experiment;
  const std::shared_ptr<const Task> task = task_of(experiment, options);
  if (options.mode == "greedy" && !task->answers_at_once()) {
    throw UserError("--decode greedy", kNoGreedy);
  }
  const EvaluationSet set = samples_of(experiment, task, options);
  const std::int64_t batch = options.batch.value_or(experiment.evaluate.batch);
  const auto size = static_cast<std::int64_t>(set.samples().size());
  if (options.mode == "reference" && size < batch) {
    throw UserError(
        "--mode reference",
        fmt::format("scores full batches only, but there are {} samples for a batch of {}", size,
                    batch));
  }
  const Evaluator evaluator(set, batch, trained.device);
  return {.step = trained.step,
          .split = options.data ? options.data->string() : "test",
          .mode = options.mode,
          .scores = score(experiment, *trained.model, evaluator, options.mode, trained.step)};
}

}  // namespace mta
