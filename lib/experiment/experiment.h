// A whole experiment: what is trained on what, and how.
#pragma once

#include "lib/attention/config.h"
#include "lib/core/document.h"
#include "lib/core/task.h"
#include "lib/model/config.h"
#include "lib/train/config.h"

#include <memory>
#include <string>

namespace mta {

/// Each part has its own struct, defaults and checks; see their headers. Here they meet.
struct Experiment {
  std::string name;                       // the variant's unless given
  std::shared_ptr<const Task> task;       // trained on
  std::shared_ptr<const Task> test_task;  // evaluated on: the same, or as /evaluate/task changes it
  ModelConfig model;
  AttentionConfig attention;
  TrainConfig train;
  EvaluateConfig evaluate;
  SeedsConfig seeds;
};

/// Reads and checks a whole experiment. Throws UserError with every problem that was found.
Experiment read_experiment(const Document& document);

/// The resolved configuration: every key, also those that were left at their default. Reading it
/// gives the same experiment.
Json to_json(const Experiment& experiment);

/// The JSON Schema (2020-12) of an experiment file.
Json experiment_schema();

}  // namespace mta
