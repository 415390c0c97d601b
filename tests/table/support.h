// Reports made up for tests.
#pragma once

#include "lib/table/runs.h"

#include <optional>
#include <string>

namespace mta::check {

struct MadeUpRun {
  std::string name = "standard";
  int seed = 1;
  double lr = 0.004;
  std::string status = "done";
  std::optional<double> err_seq = 0.5;
  std::optional<int> solved_at = std::nullopt;
  int ended_at = 1200;
};

inline Json experiment_of(const MadeUpRun& run) {
  return {{"name", run.name},
          {"attention", {{"variant", run.name}, {"kq_before", nullptr}}},
          {"model", {{"layers", 2}}},
          {"evaluate", {{"batch", 64}}},
          {"train", {{"lr", run.lr}, {"steps", 1200}, {"batch", 64}, {"threads", run.seed}}},
          {"seeds", {{"weights", run.seed}, {"data", run.seed}, {"train", run.seed}}}};
}

inline Json report_of(const MadeUpRun& run) {
  Json report = {
      {"schema", "mta.report/1"},
      {"name", run.name},
      {"status", run.status},
      {"error", run.status == "failed" ? Json("loss is not finite at step 40") : Json()},
      {"experiment", experiment_of(run)},
      {"parameters", {{"total", 84288}}},
      {"final", nullptr},
      {"steps_to", {{"err_seq<0.5", nullptr}, {"err_seq<0.05", nullptr}}},
      {"slices",
       {{"depth",
         {{"0.3",
           {{"correct", 12}, {"count", 48}, {"accuracy", 0.25}, {"interval", {0.149, 0.388}}}},
          {"10", {{"correct", 52}, {"count", 52}, {"accuracy", 1}, {"interval", {0.931, 1}}}}}}}},
      {"timing", {{"wall_s", 30.25}, {"ms_per_step", 12.5}}}};
  if (run.err_seq) report["final"] = {{"step", run.ended_at}, {"err_seq", *run.err_seq}};
  if (run.solved_at) report["steps_to"]["err_seq<0.05"] = *run.solved_at;
  return report;
}

inline TableRun table_run(const MadeUpRun& run) {
  TableRun made{.name = run.name + "-seed" + std::to_string(run.seed),
                .status = RunState::Done,
                .error = {},
                .report = report_of(run)};
  if (run.status == "failed") made.status = RunState::Failed;
  if (run.status == "stopped") made.status = RunState::Stopped;
  if (made.status == RunState::Failed) made.error = made.report["error"];
  return made;
}

inline TableRun missing_run(const MadeUpRun& run) {
  return {.name = run.name + "-seed" + std::to_string(run.seed),
          .status = RunState::Missing,
          .error = {},
          .report = {{"experiment", experiment_of(run)}}};
}

}  // namespace mta::check
