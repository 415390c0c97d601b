// Names, units and places of the figures in measurements.
#include "lib/table/measured_columns.h"

#include "lib/core/description.h"
#include "lib/core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <set>
#include <string_view>

namespace mta {
namespace {

using Pointer = Json::json_pointer;

constexpr const char* kFlag = "--columns";
constexpr double kPercent = 100, kMebibytes = 1.0 / (1 << 20), kMega = 1e-6;

struct Figure {
  const char* name;
  std::string_view kind;  // of the benchmark; empty = of a profile
  const char* pointer;
  const char* heading;
  double scale = 1;
  bool scientific = false;
};

/// Of training steps and of decoded tokens alike.
constexpr std::string_view kOfSteps = "train, decode";

constexpr Figure kFigures[] = {
    {"shape", "attention", "/shape", "shape"},
    {"forward_ms", "attention", "/forward/ms", "forward ms"},
    {"backward_ms", "attention", "/backward/ms", "backward ms"},
    {"total_ms", "attention", "/total/ms", "both ways ms"},
    {"ratio_to_standard", "attention", "/total/ratio_to_standard", "over standard's"},
    {"ratio_to_composed", "attention", "/ratio_to_composed", "over composed's"},
    {"floor_ms", "attention", "/total/floor_ms", "floor ms"},
    {"workspace_mib", "attention", "/workspace_mib", "workspace MiB"},
    {"peak_mib", "attention", "/peak_memory_bytes", "peak MiB", kMebibytes},
    {"bandwidth_percent", "attention", "/total/share_of_bandwidth", "of bandwidth %", kPercent},
    {"matrix_rate_percent", "attention", "/total/share_of_matrix_rate", "of matrix rate %",
     kPercent},
    {"error", "attention", "/error/output", "error", 1, true},
    {"gradient_error", "attention", "/gradient_error", "worst gradient's", 1, true},
    {"ms_per_step", "train", "/ms_per_step", "ms a step"},
    {"ms_per_token", "decode", "/ms_per_token", "ms a token"},
    {"ratio_to_first", kOfSteps, "/ratio_to_first", "over the first case's"},
    {"tokens_per_s", kOfSteps, "/tokens_per_s", "tokens/s"},
    {"peak_mib", kOfSteps, "/peak_memory_bytes", "peak MiB", kMebibytes},
    {"gpu_busy_percent", kOfSteps, "/gpu_busy", "GPU busy %", kPercent},
    {"attention_path", kOfSteps, "/attention_path", "attention"},
    {"samples_per_s", "tasks", "/samples_per_s", "samples/s"},
    {"tokens_per_s", "tasks", "/tokens_per_s", "tokens/s"},
    {"text_mb_per_s", "tasks", "/text_bytes_per_s", "text MB/s", kMega},
    {"ms", "", "/ms", "ms"},
    {"share_percent", "", "/share", "share %", kPercent},
    {"floor_ms", "", "/floor_ms", "floor ms"},
    {"floor_percent", "", "/share_of_floor", "floor / time %", kPercent},
    {"launches", "", "/launches", "launches"},
};

/// What benchmarks of several kinds are compared by.
constexpr std::string_view kOfAll[] = {"shape",        "total_ms",          "ms_per_step",
                                       "ms_per_token", "ratio_to_standard", "ratio_to_first",
                                       "tokens_per_s", "samples_per_s",     "peak_mib"};

using Kinds = std::set<std::string>;

bool is_of(const Figure& figure, const Kinds& kinds) {
  if (figure.kind == kOfSteps) return kinds.contains("train") || kinds.contains("decode");
  return kinds.contains(std::string(figure.kind));
}

/// Parts and kernels have a time, and nothing else that a whole measurement has: they are of "".
Kinds kinds_of(const std::vector<TableRun>& measurements) {
  Kinds kinds;
  for (const TableRun& run : measurements) {
    kinds.insert(run.report.contains("launches") ? "" : run.bench);
  }
  return kinds;
}

/// Its first value in any of the measurements; null when none has one.
const Json* first_value(const TableKey& key, const std::vector<TableRun>& measurements) {
  for (const TableRun& run : measurements) {
    const Json* value = key.find(run);
    if (value != nullptr && !value->is_null()) return value;
  }
  return nullptr;
}

bool is_spread(const Json& value) { return value.is_object() && value.contains("median"); }

TableColumn column_of(const Figure& figure, const Json* value) {
  TableColumn column{.id = figure.name,
                     .heading = figure.heading,
                     .statistic = Statistic::Values,
                     .key = {.label = figure.name, .pointers = {Pointer(figure.pointer)}},
                     .scale = figure.scale,
                     .scientific = figure.scientific};
  if (value == nullptr || value->is_number()) column.statistic = Statistic::Single;
  if (value != nullptr && is_spread(*value)) {
    column.statistic = Statistic::Spread;
    column.heading += " [quartiles]";
  }
  return column;
}

/// Top-level figures of a kind that is not in the list, by their own names.
std::vector<std::string> every_figure(const std::vector<TableRun>& measurements) {
  std::vector<std::string> names;
  for (const TableRun& run : measurements) {
    for (const auto& [key, value] : run.report.items()) {
      const bool figure = value.is_number() || is_spread(value);
      if (figure && std::find(names.begin(), names.end(), "/" + key) == names.end()) {
        names.push_back("/" + key);
      }
    }
  }
  return names;
}

}  // namespace

TableColumn measured_column(const std::string& text, const std::vector<TableRun>& measurements) {
  if (text.starts_with('/')) {
    const TableKey key = table_key(text, measurements, kFlag);
    const std::string pointer = key.pointers.front().to_string();
    return column_of({key.label.c_str(), "", pointer.c_str(), key.label.c_str()},
                     first_value(key, measurements));
  }
  const Kinds kinds = kinds_of(measurements);
  std::vector<std::string> names;
  for (const Figure& figure : kFigures) {
    if (!is_of(figure, kinds)) continue;
    if (figure.name == text) {
      const TableKey key{.label = text, .pointers = {Pointer(figure.pointer)}};
      return column_of(figure, first_value(key, measurements));
    }
    names.emplace_back(figure.name);
  }
  throw UserError(kFlag, unknown_name_message("column", text, names),
                  "or give by(KEY,COLUMN), or a pointer into the report's cases");
}

std::vector<std::string> usual_measured_columns(const std::vector<TableRun>& measurements,
                                                const std::vector<std::string>& rows) {
  const Kinds kinds = kinds_of(measurements);
  const bool split =
      kinds.contains("") && std::find(rows.begin(), rows.end(), "case") == rows.end();
  std::vector<std::string> names;
  for (const Figure& figure : kFigures) {
    const TableKey key{.label = figure.name, .pointers = {Pointer(figure.pointer)}};
    if (!is_of(figure, kinds) || first_value(key, measurements) == nullptr) continue;
    const bool of_all =
        std::find(std::begin(kOfAll), std::end(kOfAll), figure.name) != std::end(kOfAll);
    if (kinds.size() > 1 && !of_all) continue;
    std::string name = split ? fmt::format("by(case,{})", figure.name) : figure.name;
    // Kinds may have a figure of one name.
    if (std::find(names.begin(), names.end(), name) == names.end())
      names.push_back(std::move(name));
  }
  return names.empty() ? every_figure(measurements) : names;
}

std::vector<std::string> usual_measured_rows(const std::vector<TableRun>& measurements) {
  std::set<std::string> reports, benches;
  bool paths = false;
  for (const TableRun& run : measurements) {
    reports.insert(run.report.at("report").get<std::string>());
    benches.insert(run.report.at("bench").get<std::string>());
    paths = paths || run.report.contains("path");
  }
  std::vector<std::string> rows;
  if (reports.size() > 1) rows.emplace_back("report");
  if (benches.size() > 1) rows.emplace_back("bench");
  rows.emplace_back("case");
  if (paths) rows.emplace_back("path");
  return rows;
}

}  // namespace mta
