// How fast a task makes training batches, in one thread.
#pragma once

#include "lib/bench/timing.h"
#include "lib/core/task.h"

#include <cstdint>

namespace mta {

/// A second is one of the thread's own work, so that a busy machine gives the same rates.
struct TaskRates {
  Spread samples_per_s;         // made and turned into a batch; over the repeats
  Spread tokens_per_s;          // the same, in input tokens
  double text_bytes_per_s = 0;  // of src and tgt, made alone
  std::int64_t samples = 0;     // made in all
  double seconds = 0;           // that it took
};

struct TaskRateOptions {
  double seconds = 2;       // in all
  std::size_t repeats = 5;  // after one to warm up
};

/// Training samples 0, 1, ... of seed 1 in batches of 16.
TaskRates task_rates(const Task& task, const TaskRateOptions& options);

Json to_json(const TaskRates& rates);

}  // namespace mta
