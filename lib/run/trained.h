// A trained model from its run's folder, and its scores on fresh or given samples.
#pragma once

#include "lib/experiment/experiment.h"
#include "lib/model/language_model.h"
#include "lib/train/scores.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mta {

struct TrainedModel {
  Experiment experiment;
  std::unique_ptr<LanguageModel> model;
  at::Device device = at::kCPU;
  std::int64_t step = 0;  // updates behind the parameters
};

/// Reads config.json and the last checkpoint, also of a run that has not finished. `device` is as
/// resolve_device() takes it. Throws UserError naming the folder when there is no checkpoint.
TrainedModel load_trained(const std::filesystem::path& run_directory, const std::string& device);

struct EvaluateRunOptions {
  std::optional<std::filesystem::path> data = {};  // JSONL; else samples of the test split
  std::vector<std::string> settings = {};    // key=value: other values of keys of the test task
  std::string mode = "correct";              // evaluation_modes(), or "greedy"
  std::optional<std::int64_t> samples = {};  // else as in training
  std::optional<std::int64_t> seed = {};     // of the test samples; else as in training
  std::optional<std::int64_t> batch = {};    // else as in training
};

/// One evaluation, slices included; its split is "test" or the file's name.
Evaluation evaluate_trained(const TrainedModel& trained, const EvaluateRunOptions& options);

}  // namespace mta
