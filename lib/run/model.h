// The model of an experiment on a device, and what a report says about it.
#pragma once

#include "lib/experiment/experiment.h"
#include "lib/model/language_model.h"
#include "lib/report/report.h"
#include "lib/train/evaluator.h"

#include <memory>
#include <string>
#include <vector>

namespace mta {

/// Parameters in double for precision "double", else in fp32.
std::unique_ptr<LanguageModel> make_model(const Experiment& experiment, at::Device device);

/// By part of the model: "tok_embeddings", "attention" (the projections), "attention.kq_before",
/// ...
ParameterCounts parameter_counts(const Parameters& parameters);
std::vector<LayerPath> attention_paths(const LanguageModel& model);

/// Scores in one of evaluation_modes(), or "greedy". `step` decides which weights mode "reference"
/// drops.
Scores score(const Experiment& experiment, const LanguageModel& model, const Evaluator& evaluator,
             const std::string& mode, std::int64_t step);

}  // namespace mta
