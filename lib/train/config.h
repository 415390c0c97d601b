// The parts "train", "evaluate" and "seeds" of an experiment. No torch here.
#pragma once

#include "lib/core/description.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mta {

enum class Schedule { Constant, Linear, Cosine, WarmupStableDecay };
enum class Precision { Fp32, Bf16, Double };
enum class GraphUse { Auto, On, Off };

/// Rules that end a run before `steps`; null = off. The schedule of the learning rate does not
/// move.
struct StopConfig {
  std::optional<double> seconds;  // of training, evaluation not counted
  std::optional<double> err_seq;  // at an evaluation, in the first of its modes
};

struct TrainConfig {
  std::int64_t steps = 1000;
  std::int64_t batch = 64;
  std::int64_t accumulate = 1;  // parts in which a batch is computed
  double lr = 1e-3;
  std::vector<double> betas = {0.9, 0.98};
  double eps = 1e-8;
  double weight_decay = 0;
  std::optional<double> clip = 1.0;
  Schedule schedule = Schedule::Constant;
  std::int64_t warmup = 0;
  double decay_fraction = 0.2;
  double final_lr_fraction = 0;
  StopConfig stop;
  Precision precision = Precision::Fp32;
  std::optional<std::int64_t> checkpoint_every;
  std::int64_t log_every = 10;
  std::optional<std::int64_t> threads;
  std::int64_t data_threads = 1;
  std::int64_t recompute_layers = 0;  // from the first on
  GraphUse graph = GraphUse::Auto;    // of updates, on a GPU
  bool deterministic = false;         // on a GPU; the CPU always is
};

struct EvaluateConfig {
  std::optional<std::int64_t> every = 100;
  std::int64_t samples = 1000;
  std::vector<std::string> modes = {"correct"};  // evaluation_modes(); the first one decides
  std::int64_t batch = 64;
  std::int64_t test_seed = 0;
  std::vector<double> thresholds = {0.5, 0.05, 0.01};
  bool greedy = false;
  Json task = Json::object();  // keys laid over those of the task that is trained on
};

/// Three separate seeds: none of them changes what the others decide.
struct SeedsConfig {
  std::int64_t weights = 1;  // initial values of the parameters
  std::int64_t data = 1;     // training samples
  std::int64_t train = 1;    // dropout
};

/// "correct": no dropout, every sample. "reference": as the method's reference code evaluates, with
/// dropout left on in layers of standard attention, and only full batches scored.
const std::vector<std::string>& evaluation_modes();

Description describe(TrainConfig& config);
Description describe(EvaluateConfig& config);
Description describe(SeedsConfig& config);

/// Checks between keys; problems stand at "/train/<key>" and "/evaluate/<key>".
void validate(const TrainConfig& config, Problems& problems);
void validate(const EvaluateConfig& config, Problems& problems);

}  // namespace mta
