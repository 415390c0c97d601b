// A task that changes as training goes on: by number of batch, keys of it have other values at
// first.
//
//     {"kind": "curriculum", "task": {"length": 319},
//      "stages": [{"until": 2000, "set": {"length": 79}}, {"until": 5000, "set": {"length": 151}}]}
#include "tasks/combined_task.h"
#include "tasks/registry.h"

#include <fmt/core.h>

namespace mta {
namespace {

struct Stage {
  std::int64_t until = 1;
  Json set = Json::object();
};

Description::Field object_field(std::string key, Json& value, std::string doc) {
  return {.key = std::move(key),
          .doc = std::move(doc),
          .read =
              [&value](const Json& json, const std::string& pointer, Problems& problems) {
                if (expect_type(json.is_object(), "an object", json, pointer, problems)) {
                  value = json;
                }
              },
          .write = [&value]() -> Json { return value; },
          .schema = []() -> Json {
            return {{"type", "object"}};
          }};
}

Description describe(Stage& stage) {
  Description d;
  d.integer("until", stage.until, "the number of the first batch after this stage", {.min = 1});
  d.field(object_field("set", stage.set, "keys of the task with their values in this stage"));
  return d;
}

/// Parts: the task itself, then the stages in order.
class Curriculum final : public CombinedTask {
 public:
  Description describe() override;
  void prepare(const std::string& pointer, Problems& problems) override;
  const Task& at_batch(std::int64_t number) const override;

  Sample sample(std::uint64_t seed, Split split, std::uint64_t index) const override {
    return parts()[0]->sample(seed, split, index);
  }
  Slices slices(const Json& facts) const override { return parts()[0]->slices(facts); }
  std::vector<Slices> part_slices(const Json& facts) const override {
    return parts()[0]->part_slices(facts);
  }

 private:
  Json task_ = Json::object();
  std::vector<Stage> stages_;
};

Description Curriculum::describe() {
  Description d;
  Description::Field task =
      object_field("task", task_, "the task object after all stages, and in evaluation");
  task.write = [this]() -> Json { return parts().empty() ? task_ : to_json(*parts()[0]); };
  d.field(std::move(task));
  d.field(list_field("stages", stages_, "objects with \"until\", rising, and \"set\""));
  return d;
}

void Curriculum::prepare(const std::string& pointer, Problems& problems) {
  problems.require(!common.samples, pointer + "/samples",
                   "must be \"fresh\": the samples change from stage to stage");
  std::vector<Part> parts = {read_task(task_, pointer + "/task", problems)};
  std::vector<std::string> pointers = {pointer + "/task"};
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    const std::string at = fmt::format("{}/stages/{}", pointer, i);
    problems.require(
        i == 0 || stages_[i].until > stages_[i - 1].until, at + "/until",
        fmt::format("must be above that of the stage before, but is {}", stages_[i].until));
    Json task = task_;
    task.update(stages_[i].set);
    pointers.push_back(at + "/set");
    parts.push_back(read_task(task, pointers.back(), problems));
  }
  if (!problems.concerns(pointer)) combine(std::move(parts), pointers, problems);
}

const Task& Curriculum::at_batch(std::int64_t number) const {
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    if (number < stages_[i].until) return *parts()[i + 1];
  }
  return *parts()[0];
}

}  // namespace

std::unique_ptr<Task> tasks::curriculum() { return std::make_unique<Curriculum>(); }

}  // namespace mta
