// Times training steps of experiments against each other, in one process.
#pragma once

#include "lib/bench/timing.h"
#include "lib/core/json.h"
#include "lib/experiment/experiment.h"

#include <string>
#include <vector>

namespace mta {

struct TrainStepBench {
  std::vector<Experiment> experiments;  // the first is the baseline
  TimingOptions timing;
  std::string device = "auto";
  std::int64_t threads = 0;  // 0 = all cores
  std::vector<std::string> command_line;
};

/// Whole updates as the trainer makes them: batch to tensors, forward, backward, clipping and
/// AdamW; making the batches is not counted. A turn is one update and the wait for it on the CPU;
/// on a GPU it is up to 50, as many as the slowest case makes in two seconds, with one wait, and
/// the share of time of each part of a step is profiled afterwards. Peak memory is that of a case's
/// own tensors on a GPU, of the process so far on the CPU. Report of schema mta.bench/1.
Json bench_train_steps(const TrainStepBench& bench);

}  // namespace mta
