// Times how fast tasks make samples, and reports it.
#pragma once

#include "lib/bench/timing.h"
#include "lib/core/json.h"
#include "lib/core/task.h"

#include <memory>
#include <string>
#include <vector>

namespace mta {

struct TaskCase {
  std::string name;
  std::shared_ptr<const Task> task;
};

/// Every task at its usual size, the needle task and its presets at several lengths up to 128k
/// tokens.
std::vector<TaskCase> usual_task_cases();

struct TaskBench {
  std::vector<TaskCase> cases;
  std::size_t turns = 15;  // repeats of each case
  std::vector<std::string> command_line;
};

/// One thread, as one of the threads that feed a training run. Report of schema mta.bench/1.
Json bench_tasks(const TaskBench& bench);

}  // namespace mta
