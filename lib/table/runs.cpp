// Walks folders and reads reports.
#include "lib/table/runs.h"

#include "lib/core/document.h"
#include "lib/core/error.h"
#include "lib/core/files.h"

#include <algorithm>
#include <optional>
#include <set>

namespace mta {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSchema = "mta.report/1";

std::string schema_of(const Json& json) {
  if (!json.is_object() || !json.contains("schema") || !json["schema"].is_string()) return {};
  return json["schema"].get<std::string>();
}

TableRun run_of_report(Json report, const std::string& name, const fs::path& path) {
  if (schema_of(report) != kSchema) {
    throw UserError(path.string() + ": /schema",
                    std::string("must be \"") + kSchema + "\": this is not a report of a run",
                    schema_of(report) == kBenchSchema
                        ? "mta table and mta plot times, scaling and profile read benchmarks"
                        : "");
  }
  TableRun run{.name = name, .status = RunState::Done, .error = {}, .report = {}};
  const std::string status = report.value("status", "");
  if (status == "failed") {
    run.status = RunState::Failed;
  } else if (status == "stopped") {
    run.status = RunState::Stopped;
  } else if (status != "done") {
    throw UserError(path.string() + ": /status",
                    "must be \"done\", \"failed\" or \"stopped\", but is \"" + status + "\"");
  }
  if (report.contains("error") && report["error"].is_string()) run.error = report["error"];
  run.report = std::move(report);
  return run;
}

Json read_json(const fs::path& path) { return parse_json(read_file(path), path.string()); }

bool is_run_directory(const fs::path& folder) {
  return fs::exists(folder / "report.json") || fs::exists(folder / "config.json");
}

TableRun run_of_directory(const fs::path& folder) {
  const std::string name = fs::weakly_canonical(folder).filename().string();
  if (fs::exists(folder / "report.json")) {
    TableRun run = run_of_report(read_json(folder / "report.json"), name, folder / "report.json");
    run.folder = folder;
    return run;
  }
  TableRun run{.name = name, .status = RunState::Unfinished, .error = {}, .report = {}};
  run.folder = folder;
  run.report = {{"experiment", read_json(folder / "config.json")}};
  return run;
}

/// The run in `path`, when it is a file that holds a report.
std::optional<TableRun> run_of_file(const fs::path& path) {
  if (path.extension() != ".json") return std::nullopt;
  Json json = Json::parse(read_file(path), nullptr, false);
  if (schema_of(json) != kSchema) return std::nullopt;
  return run_of_report(std::move(json), path.stem().string(), path);
}

/// The runs that a sweep planned here; `taken` collects their folders.
void add_planned(const fs::path& folder, std::vector<TableRun>& runs, std::set<fs::path>& taken) {
  const fs::path path = folder / kPlanFile;
  if (!fs::exists(path)) return;
  const Json plan = read_json(path);
  if (schema_of(plan) != kPlanSchema) return;
  for (const Json& planned : plan.at("runs")) {
    const auto name = planned.at("name").get<std::string>();
    taken.insert(folder / name);
    if (is_run_directory(folder / name)) {
      runs.push_back(run_of_directory(folder / name));
    } else {
      runs.push_back({.name = name,
                      .status = RunState::Missing,
                      .error = {},
                      .report = {{"experiment", planned.at("experiment")}}});
    }
  }
}

void add_folder(const fs::path& folder, std::vector<TableRun>& runs) {
  if (is_run_directory(folder)) {
    runs.push_back(run_of_directory(folder));
    return;
  }
  std::set<fs::path> taken;
  add_planned(folder, runs, taken);
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(folder)) entries.push_back(entry.path());
  std::sort(entries.begin(), entries.end());
  for (const fs::path& entry : entries) {
    if (taken.contains(entry)) continue;
    // A link to a folder above would never end.
    if (fs::is_directory(entry) && !fs::is_symlink(entry)) {
      add_folder(entry, runs);
    } else if (fs::is_regular_file(entry)) {
      if (auto run = run_of_file(entry)) runs.push_back(std::move(*run));
    }
  }
}

}  // namespace

std::string to_string(RunState status) {
  switch (status) {
    case RunState::Done:
      return "done";
    case RunState::Failed:
      return "failed";
    case RunState::Stopped:
      return "stopped";
    case RunState::Unfinished:
      return "unfinished";
    case RunState::Missing:
      return "missing";
  }
  return {};
}

bool holds_runs(const std::filesystem::path& folder) {
  std::vector<TableRun> runs;
  add_folder(folder, runs);
  return !runs.empty();
}

std::vector<TableRun> find_runs(const std::vector<std::filesystem::path>& inputs) {
  std::vector<TableRun> runs;
  for (const fs::path& input : inputs) {
    if (!fs::exists(input)) throw UserError(input.string(), "there is no such file or folder");
    if (!fs::is_directory(input)) {
      const bool in_run_directory = input.filename() == "report.json";
      const fs::path folder = fs::absolute(input).parent_path();
      const std::string name = (in_run_directory ? folder.filename() : input.stem()).string();
      runs.push_back(run_of_report(read_json(input), name, input));
      if (in_run_directory) runs.back().folder = folder;
      continue;
    }
    const std::size_t before = runs.size();
    add_folder(input, runs);
    if (runs.size() == before) {
      throw UserError(input.string(), "holds no run: no report.json, no config.json and no report",
                      "give a run directory, a folder of them, or reports");
    }
  }
  return runs;
}

}  // namespace mta
