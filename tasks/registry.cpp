// The table of tasks, and the two keys that all of them have: "kind" and "samples".
#include "tasks/registry.h"

#include "lib/core/vocabulary.h"

#include <algorithm>
#include <utility>

namespace mta {
namespace {

Description::Field kind_field(Task& task) {
  return {.key = "kind",
          .doc = "which task",
          // read_task has chosen the task by this key, so it is right already.
          .read = [](const Json&, const std::string&, Problems&) {},
          .write = [&task]() -> Json { return task.common.kind; },
          .schema = [&task]() -> Json {
            return {{"const", task.common.kind}};
          }};
}

Description::Field samples_field(std::optional<std::int64_t>& samples) {
  return {.key = "samples",
          .doc =
              "\"fresh\": new training samples without end; a number: that many different ones, "
              "gone through in epochs",
          .read =
              [&samples](const Json& value, const std::string& pointer, Problems& problems) {
                if (value == "fresh") return samples.reset();
                if (!expect_type(value.is_number_integer() && value.get<std::int64_t>() > 0,
                                 "\"fresh\" or a whole number above 0", value, pointer, problems))
                  return;
                samples = value.get<std::int64_t>();
              },
          .write = [&samples]() -> Json { return samples ? Json(*samples) : Json("fresh"); },
          .schema = []() -> Json {
            return {{"anyOf", {{{"const", "fresh"}}, {{"type", "integer"}, {"minimum", 1}}}}};
          }};
}

/// Objects are merged key by key, anything else is replaced.
void lay_over(Json& under, const Json& over) {
  for (const auto& [key, value] : over.items()) {
    if (value.is_object() && under.contains(key) && under[key].is_object()) {
      lay_over(under[key], value);
    } else {
      under[key] = value;
    }
  }
}

Description describe_all(Task& task) {
  Description all;
  all.field(kind_field(task));
  const Description own = task.describe();
  for (const Description::Field& field : own.fields()) all.field(field);
  all.field(samples_field(task.common.samples));
  return all;
}

}  // namespace

const std::vector<TaskEntry>& task_entries() {
#define MTA_LIST_TASK(name, summary) {#name, summary, &tasks::name},
  static const std::vector<TaskEntry> entries = {MTA_TASKS(MTA_LIST_TASK)};
#undef MTA_LIST_TASK
  return entries;
}

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  for (const TaskEntry& entry : task_entries()) names.emplace_back(entry.name);
  return names;
}

std::unique_ptr<Task> make_task(std::string_view name) {
  for (const TaskEntry& entry : task_entries()) {
    if (entry.name != name) continue;
    std::unique_ptr<Task> task = entry.make();
    task->common.kind = name;
    return task;
  }
  throw UserError("", unknown_name_message("task", name, task_names()));
}

std::shared_ptr<const Task> read_task(const Json& object, const std::string& pointer,
                                      Problems& problems) {
  if (!expect_type(object.is_object(), "an object", object, pointer, problems)) return nullptr;
  const Json kind = object.contains("kind") ? object["kind"] : Json(task_entries().front().name);
  if (!expect_type(kind.is_string(), "a string", kind, pointer + "/kind", problems)) return nullptr;
  const auto name = kind.get<std::string>();
  const std::vector<std::string> known = task_names();
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    problems.add(pointer + "/kind", unknown_name_message("task", name, known));
    return nullptr;
  }
  std::unique_ptr<Task> task = make_task(name);
  describe_all(*task).read(object, pointer, problems);
  if (!problems.concerns(pointer)) task->prepare(pointer, problems);
  if (problems.concerns(pointer)) return nullptr;
  return task;
}

std::shared_ptr<const Task> changed_task(const Task& task, const Json& keys,
                                         const std::string& pointer, Problems& problems) {
  Json object = keys;
  if (!keys.contains("kind")) {
    object = to_json(task);
    lay_over(object, keys);
  }
  auto changed = read_task(object, pointer, problems);
  if (!changed) return nullptr;
  const std::string difference =
      difference_of(token_texts(task), token_texts(*changed), "in training", "here");
  problems.require(difference.empty(), pointer,
                   "must have the same tokens as the task trained on, but " + difference);
  return changed;
}

Json to_json(const Task& task) {
  // A description binds fields for reading too; writing leaves them alone.
  return describe_all(const_cast<Task&>(task)).write();
}

Json task_schema() {
  Json alternatives = Json::array();
  for (const TaskEntry& entry : task_entries()) {
    const std::unique_ptr<Task> task = make_task(entry.name);
    Json schema = describe_all(*task).schema();
    schema["title"] = entry.name;
    schema["description"] = entry.summary;
    if (!alternatives.empty()) schema["required"] = {"kind"};  // absent: the first kind
    alternatives.push_back(std::move(schema));
  }
  return {{"oneOf", std::move(alternatives)}};
}

}  // namespace mta
