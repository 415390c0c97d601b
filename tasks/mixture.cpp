// Several tasks in one: each sample comes from one of them, drawn by weight.
//
//     {"kind": "mixture", "tasks": [{"name": "short", "weight": 3, "task": {"length": 79}},
//                                   {"name": "long", "weight": 1, "task": {"length": 319}}]}
#include "lib/core/rng.h"
#include "tasks/combined_task.h"
#include "tasks/registry.h"

#include <fmt/core.h>

namespace mta {
namespace {

struct Entry {
  std::string name;  // the value of the slice "task"; empty: the kind
  double weight = 1;
  std::shared_ptr<const Task> task;
};

Description describe(Entry& entry) {
  Description d;
  d.text("name", entry.name, "what reports call this part; empty: its kind");
  d.real("weight", entry.weight, "share of the samples, relative to the other weights",
         {.above = 0});
  d.field(
      {.key = "task",
       .doc = "a task object",
       .read = [&entry](const Json& value, const std::string& pointer,
                        Problems& problems) { entry.task = read_task(value, pointer, problems); },
       .write = [&entry]() -> Json { return entry.task ? to_json(*entry.task) : Json(nullptr); },
       .schema = []() -> Json {
         return {{"type", "object"}};
       }});
  return d;
}

class Mixture final : public CombinedTask {
 public:
  Description describe() override;
  void prepare(const std::string& pointer, Problems& problems) override;
  Sample sample(std::uint64_t seed, Split split, std::uint64_t index) const override;
  Slices slices(const Json& facts) const override;
  std::vector<Slices> part_slices(const Json& facts) const override {
    return parts()[part_of(facts)]->part_slices(facts);
  }
  Encoded encode(const Sample& sample) const override;

 private:
  const std::string& name(std::size_t i) const;
  std::size_t draw(std::uint64_t seed, Split split, std::uint64_t index) const;
  std::size_t part_of(const Json& facts) const;

  std::vector<Entry> entries_;
};

Description Mixture::describe() {
  Description d;
  d.field(list_field("tasks", entries_,
                     "parts: objects with \"task\" and, if wanted, \"weight\" and \"name\""));
  return d;
}

void Mixture::prepare(const std::string& pointer, Problems& problems) {
  if (entries_.empty()) return problems.add(pointer + "/tasks", "must have at least one task");
  std::vector<Part> parts;
  std::vector<std::string> pointers;
  for (Entry& entry : entries_) {
    pointers.push_back(fmt::format("{}/tasks/{}/task", pointer, parts.size()));
    if (!entry.task) entry.task = read_task(Json::object(), pointers.back(), problems);
    parts.push_back(entry.task);
  }
  combine(std::move(parts), pointers, problems);
}

const std::string& Mixture::name(std::size_t i) const {
  return entries_[i].name.empty() ? entries_[i].task->common.kind : entries_[i].name;
}

/// Which part sample `index` comes from.
std::size_t Mixture::draw(std::uint64_t seed, Split split, std::uint64_t index) const {
  const char* stream = split == Split::Train ? "tasks/mixture/train" : "tasks/mixture/test";
  Rng rng(seed, stream_of(stream), index);
  double sum = 0;
  for (const Entry& entry : entries_) sum += entry.weight;
  double left = rng.uniform() * sum;
  std::size_t i = 0;
  while (i + 1 < entries_.size() && left >= entries_[i].weight) left -= entries_[i++].weight;
  return i;
}

Sample Mixture::sample(std::uint64_t seed, Split split, std::uint64_t index) const {
  const std::size_t part = draw(seed, split, index);
  Sample sample = parts()[part]->sample(seed, split, index);
  sample.facts["task"] = name(part);
  sample.slices = slices(sample.facts);
  return sample;
}

/// The part that facts name; the first where they name none, as in a file made elsewhere.
std::size_t Mixture::part_of(const Json& facts) const {
  const auto task = facts.find("task");
  for (std::size_t i = 0; task != facts.end() && i < entries_.size(); ++i) {
    if (*task == name(i)) return i;
  }
  return 0;
}

Slices Mixture::slices(const Json& facts) const {
  Slices slices = parts()[part_of(facts)]->slices(facts);
  const auto task = facts.find("task");
  if (task != facts.end() && task->is_string()) slices.emplace_back("task", *task);
  return slices;
}

Encoded Mixture::encode(const Sample& sample) const {
  return parts()[part_of(sample.facts)]->encode(sample);
}

}  // namespace

std::unique_ptr<Task> tasks::mixture() { return std::make_unique<Mixture>(); }

}  // namespace mta
