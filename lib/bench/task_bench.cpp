// Times how fast tasks make samples, and reports it.
#include "lib/bench/task_bench.h"

#include "lib/bench/provenance.h"
#include "lib/bench/task_rates.h"
#include "lib/core/document.h"
#include "tasks/registry.h"

#include <fmt/core.h>

namespace mta {
namespace {

constexpr double kSecondsEach = 0.1;  // of a repeat

TaskCase case_of(std::string name, const Json& object) {
  const Document document;
  Problems problems(document);
  auto task = read_task(object, "/task", problems);
  problems.raise();
  return {std::move(name), std::move(task)};
}

}  // namespace

std::vector<TaskCase> usual_task_cases() {
  std::vector<TaskCase> cases;
  for (const char* kind :
       {"block_finding", "associative_recall", "selective_copying", "induction", "story"}) {
    cases.push_back(case_of(kind, {{"kind", kind}}));
  }
  for (const int length : {512, 4096, 131072}) {
    cases.push_back(case_of(fmt::format("needle, {} tokens", length),
                            {{"kind", "needle"}, {"length", length}}));
  }
  for (const char* preset : {"niah_single_1", "niah_single_3", "niah_multikey_1", "niah_multikey_3",
                             "niah_multiquery"}) {
    cases.push_back(case_of(fmt::format("{}, 4096 tokens", preset),
                            {{"kind", "needle"}, {"preset", preset}, {"length", 4096}}));
  }
  return cases;
}

Json bench_tasks(const TaskBench& bench) {
  Provenance provenance = bench_provenance(at::kCPU, bench.command_line);
  provenance.threads = 1;
  Json cases = Json::array();
  for (const TaskCase& one : bench.cases) {
    const double repeats = static_cast<double>(bench.turns) + 2;  // one to warm up, one for text
    Json entry = {{"name", one.name}};
    entry.update(to_json(
        task_rates(*one.task, {.seconds = kSecondsEach * repeats, .repeats = bench.turns})));
    entry["task"] = to_json(*one.task);
    cases.push_back(std::move(entry));
  }
  provenance.ended = utc_now();
  return {{"schema", "mta.bench/1"},
          {"kind", "tasks"},
          {"clock", "seconds of the thread's own work"},
          {"turns", bench.turns},
          {"cases", std::move(cases)},
          {"provenance", to_json(provenance)}};
}

}  // namespace mta
