// The tasks that are built in, by name: make one, read one from a configuration, describe them all.
#pragma once

#include "lib/core/task.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

/// One line a task: its name, and what `mta list tasks` says about it. tasks/<name>.cpp defines
/// mta::tasks::<name>().
#define MTA_TASKS(T)                                                                           \
  T(block_finding, "find the block that contains all query letters and write it out")          \
  T(associative_recall,                                                                        \
    "multi-query associative recall (MQAR): the value of each key that returns")               \
  T(selective_copying, "copy the letters that stand among noise")                              \
  T(induction, "go on as after the earlier place that reads like the end")                     \
  T(needle, "needles in a haystack: find the numbers that are asked for; RULER's presets too") \
  T(story, "who is where with what: one, two or three facts needed, spread over other text")   \
  T(random_tokens, "random tokens, each predicted: to time training steps of any vocabulary")  \
  T(mixture, "several tasks, drawn by weight")                                                 \
  T(curriculum, "a task whose keys change as training goes on")

namespace mta {

namespace tasks {
#define MTA_DECLARE_TASK(name, summary) std::unique_ptr<Task> name();
MTA_TASKS(MTA_DECLARE_TASK)
#undef MTA_DECLARE_TASK
}  // namespace tasks

struct TaskEntry {
  std::string_view name;
  std::string_view summary;
  std::unique_ptr<Task> (*make)();
};

/// In the order of MTA_TASKS. The first is the default of "kind".
const std::vector<TaskEntry>& task_entries();
std::vector<std::string> task_names();

/// A task with every key at its default, not yet prepared. Throws UserError with the nearest name.
std::unique_ptr<Task> make_task(std::string_view name);

/// Reads, checks and prepares the task that `object` describes; "kind" chooses which. Null when
/// there were problems with it.
std::shared_ptr<const Task> read_task(const Json& object, const std::string& pointer,
                                      Problems& problems);
/// `task` with other values for some of its keys, objects laid over objects; a whole new task where
/// `keys` has a "kind". Null when there were problems with it, such as other tokens.
std::shared_ptr<const Task> changed_task(const Task& task, const Json& keys,
                                         const std::string& pointer, Problems& problems);
/// Every key, "kind" first.
Json to_json(const Task& task);
/// JSON Schema of a task object: one alternative a kind.
Json task_schema();

}  // namespace mta
