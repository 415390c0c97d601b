// From the forms that benchmarks write to one measurement after the other.
#include "lib/table/measurements.h"

#include "lib/core/document.h"
#include "lib/core/error.h"
#include "lib/core/files.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace mta {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAttention = "attention";
constexpr const char* kTrain = "train";
constexpr const char* kCard = "card";

/// The form of a report; empty for everything that no benchmark wrote. Two programs, which know
/// nothing of this library, write no schema.
std::string form_of(const Json& json) {
  if (!json.is_object()) return {};
  if (json.contains("schema")) {
    return json["schema"] == kBenchSchema ? json.value("kind", std::string("unnamed")) : "";
  }
  if (json.contains("multiprocessors") && json.contains("cases")) return "kernel_bench";
  if (json.contains("torch") && json.contains("ms_per_step")) return "pytorch";
  return {};
}

std::string shape_text(const Json& shape, const char* batch, const char* heads, const char* tokens,
                       const char* head_dim) {
  return fmt::format("B{} H{} T{} d{}", shape.at(batch).get<std::int64_t>(),
                     shape.at(heads).get<std::int64_t>(), shape.at(tokens).get<std::int64_t>(),
                     shape.at(head_dim).get<std::int64_t>());
}

TableRun measurement(const std::string& kind, const std::string& report, const std::string& name) {
  TableRun run{.name = name, .status = RunState::Done, .error = {}, .report = {}, .bench = kind};
  run.report = {{"report", report}, {"case", name}};
  return run;
}

/// The paths of all layers, each once: a layer is its path, or an object that also has a reason.
std::string path_text(const Json& layers) {
  std::vector<std::string> paths;
  for (const Json& layer : layers) {
    const auto name = (layer.is_object() ? layer.at("path") : layer).get<std::string>();
    if (std::find(paths.begin(), paths.end(), name) == paths.end()) paths.push_back(name);
  }
  return fmt::format("{}", fmt::join(paths, ", "));
}

/// What a case of any kind says of itself and has measured, as it stands there.
TableRun plain_measurement(const std::string& kind, const std::string& report, const Json& entry) {
  TableRun run = measurement(kind, report, entry.at("name").get<std::string>());
  for (const auto& [key, value] : entry.items()) {
    if (key == "name") continue;
    run.report[key] = key == "attention_path" ? Json(path_text(value)) : value;
  }
  return run;
}

std::vector<TableRun> paths_of_case(const std::string& report, const Json& entry) {
  const Json& one = entry.at("case");
  const auto name = one.at("name").get<std::string>();
  Json stages = one;
  for (const char* key : {"name", "tokens", "composed"}) stages.erase(key);
  std::optional<double> composed;
  std::vector<TableRun> runs;
  for (const Json& path : entry.at("paths")) {
    runs.push_back(measurement(kAttention, report, name));
    Json& json = runs.back().report;
    json.update(path);
    const auto path_name = path.at("path").get<std::string>();
    runs.back().name = name + ", " + path_name;
    json["shape"] = shape_text(one, "batch", "heads", "tokens", "head_dim");
    json["tokens"] = one.at("tokens");
    json["stages"] = stages;
    if (path.contains("reason")) {
      runs.back().status = RunState::Missing;
      runs.back().error = path["reason"].get<std::string>();
      continue;
    }
    json["total"] = path.at("forward_backward");
    if (path_name == "fused") json["workspace_mib"] = one.at("attention").at("workspace_mib");
    if (path_name == "composed") composed = json["total"]["ms"]["median"].get<double>();
    double worst = 0;
    for (const auto& [of, error] : path.at("error").items()) {
      if (of != "output") worst = std::max(worst, error.get<double>());
    }
    json["gradient_error"] = worst;
  }
  for (TableRun& run : runs) {
    if (!composed || run.status != RunState::Done) continue;
    run.report["ratio_to_composed"] = run.report["total"]["ms"]["median"].get<double>() / *composed;
  }
  return runs;
}

/// Forward and backward were timed one by one, without rivals.
TableRun kernels_measurement(const std::string& report, const Json& entry) {
  constexpr double kMebibyte = 1 << 20;
  TableRun run = measurement(kAttention, report, entry.at("case").get<std::string>());
  run.name += ", kernels";
  run.report["path"] = "kernels";
  run.report["shape"] = shape_text(entry, "B", "H", "T", "d");
  run.report["tokens"] = entry.at("T");
  for (const char* pass : {"forward", "backward"}) {
    const Json& times = entry.at(pass);
    run.report[pass]["ms"] = {{"median", times.at("median_ms")},
                              {"quartiles", times.at("quartiles_ms")}};
  }
  run.report["workspace_mib"] = std::max(entry.at("forward_workspace").get<double>(),
                                         entry.at("backward_workspace").get<double>()) /
                                kMebibyte;
  return run;
}

std::vector<TableRun> measurements_of(const std::string& form, const std::string& report,
                                      const Json& json) {
  std::vector<TableRun> runs;
  if (form == "pytorch") {
    for (const auto& [rows, ms] : json.at("ms_per_step").items()) {
      runs.push_back(measurement(kTrain, report, "pytorch_" + rows));
      runs.back().report["ms_per_step"] = ms;
    }
    return runs;
  }
  for (const Json& entry : json.at("cases")) {
    if (form == kAttention) {
      for (TableRun& run : paths_of_case(report, entry)) runs.push_back(std::move(run));
    } else if (form == "kernel_bench") {
      runs.push_back(kernels_measurement(report, entry));
    } else {
      runs.push_back(plain_measurement(form, report, entry));
    }
  }
  return runs;
}

/// Of a report that stands alone, or as part of a card's under the name `bench`.
std::vector<TableRun> named_measurements(const std::string& bench, const std::string& report,
                                         const Json& json) {
  std::vector<TableRun> runs = measurements_of(form_of(json), report, json);
  for (TableRun& run : runs) run.report["bench"] = bench.empty() ? run.bench : bench;
  return runs;
}

/// All that was measured of a card. What did not fit into its memory is Missing.
std::vector<TableRun> measurements_of_card(const fs::path& file, const Json& json) {
  const std::string report = file.stem().string();
  std::vector<TableRun> runs;
  for (const auto& [bench, part] : json.at("reports").items()) {
    if (part.contains("reason")) {
      runs.push_back(measurement(kCard, report, bench));
      runs.back().status = RunState::Missing;
      runs.back().error = part["reason"].get<std::string>();
      runs.back().report["bench"] = bench;
      continue;
    }
    if (form_of(part).empty()) {
      throw UserError(file.string() + ": /reports/" + bench, "is no report of a benchmark");
    }
    for (TableRun& run : named_measurements(bench, report, part)) runs.push_back(std::move(run));
  }
  return runs;
}

/// A report of a benchmark, read.
struct BenchFile {
  fs::path path;
  std::string form;
  Json json;
};

std::optional<BenchFile> bench_file(const fs::path& path) {
  if (path.extension() != ".json") return std::nullopt;
  Json json = Json::parse(read_file(path), nullptr, false);
  std::string form = form_of(json);
  if (form.empty()) return std::nullopt;
  return BenchFile{path, std::move(form), std::move(json)};
}

/// By name, at any depth.
std::vector<BenchFile> bench_files_in(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<BenchFile> files;
  for (const fs::path& path : paths) {
    if (auto file = bench_file(path)) files.push_back(std::move(*file));
  }
  return files;
}

std::vector<BenchFile> bench_files_at(const fs::path& input) {
  if (!fs::exists(input)) throw UserError(input.string(), "there is no such file or folder");
  if (fs::is_directory(input)) return bench_files_in(input);
  std::vector<BenchFile> files;
  if (auto file = bench_file(input)) files.push_back(std::move(*file));
  return files;
}

void add_measurements(const BenchFile& file, std::vector<TableRun>& all) {
  std::vector<TableRun> found;
  try {
    found = file.form == kCard ? measurements_of_card(file.path, file.json)
                               : named_measurements({}, file.path.stem().string(), file.json);
  } catch (const Json::exception& error) {
    throw UserError(file.path.string(),
                    std::string("is no whole report of a benchmark: ") + error.what());
  }
  if (found.empty()) throw UserError(file.path.string(), "has no cases");
  for (TableRun& run : found) all.push_back(std::move(run));
}

}  // namespace

std::vector<TableRun> find_measurements(const std::vector<fs::path>& inputs) {
  std::vector<TableRun> all;
  for (const fs::path& input : inputs) {
    const std::vector<BenchFile> files = bench_files_at(input);
    if (files.empty()) {
      throw UserError(input.string(), "holds no report of mta bench",
                      "mta bench attention --out FILE writes one, for example");
    }
    for (const BenchFile& file : files) add_measurements(file, all);
  }
  return all;
}

std::vector<TableRun> find_runs_or_measurements(const std::vector<fs::path>& inputs) {
  const fs::path* measured = nullptr;
  const fs::path* other = nullptr;
  for (const fs::path& input : inputs) {
    const bool runs = fs::is_directory(input) && holds_runs(input);
    (runs || bench_files_at(input).empty() ? other : measured) = &input;
  }
  if (measured == nullptr) return find_runs(inputs);
  if (other != nullptr) {
    throw UserError(measured->string(),
                    "holds reports of mta bench, which do not go with " + other->string(),
                    "give reports of runs or of benchmarks");
  }
  return find_measurements(inputs);
}

std::vector<TableRun> profile_of(const std::vector<TableRun>& measurements,
                                 const std::string& what) {
  std::vector<TableRun> runs;
  for (const TableRun& whole : measurements) {
    const Json::json_pointer list("/profile/" + what + "s");
    if (!whole.report.contains(list)) continue;
    const std::size_t first = runs.size();
    for (const Json& entry : whole.report.at(list)) {
      // Reports cut long names of kernels: what has one name is one row.
      const auto same =
          std::find_if(runs.begin() + static_cast<std::ptrdiff_t>(first), runs.end(),
                       [&](const TableRun& run) { return run.report.at(what) == entry.at(what); });
      if (same != runs.end()) {
        for (const char* key : {"ms", "share", "launches"}) {
          same->report[key] = same->report[key].get<double>() + entry.at(key).get<double>();
        }
        continue;
      }
      runs.push_back(measurement(whole.bench, whole.report["report"].get<std::string>(),
                                 whole.report["case"].get<std::string>()));
      runs.back().report["bench"] = whole.report["bench"];
      runs.back().report.update(entry);
    }
  }
  if (runs.empty()) {
    throw UserError("--rows " + what, "no report has a profile",
                    "mta bench attention, train and decode profile on a GPU");
  }
  return runs;
}

}  // namespace mta
