// Looks figures up in reports.
#include "lib/plot/metrics.h"

#include "lib/core/description.h"
#include "lib/core/error.h"

#include <fmt/core.h>

#include <algorithm>

namespace mta::plot {
namespace {

constexpr double kPercent = 100;

const std::vector<Metric>& known_metrics() {
  static const std::vector<Metric> metrics = {{"err_seq", "samples with an error (%)", kPercent},
                                              {"err_tok", "wrong answer tokens (%)", kPercent},
                                              {"loss", "loss (nats per answer token)", 1}};
  return metrics;
}

/// Those of the report; none for a run that has not begun.
const Json& evaluations_of(const TableRun& run) {
  static const Json none = Json::array();
  const auto found = run.report.find("evaluations");
  return found == run.report.end() ? none : *found;
}

bool is_number_at(const Json& json, const std::string& key) {
  return json.is_object() && json.contains(key) && json[key].is_number();
}

}  // namespace

Metric evaluation_metric(const std::string& name) {
  std::vector<std::string> names;
  for (const Metric& metric : known_metrics()) {
    if (metric.name == name) return metric;
    names.push_back(metric.name);
  }
  throw UserError("--metric", unknown_name_message("metric", name, names));
}

Metric report_metric(const std::string& name) {
  if (!name.starts_with('/')) return evaluation_metric(name);
  static const std::vector<std::pair<std::string, std::string>> units = {
      {"/timing/ms_per_step", "time of a training step (ms)"},
      {"/timing/train_s", "training time (s)"},
      {"/timing/wall_s", "wall time (s)"},
      {"/timing/tokens_per_s", "training speed (tokens/s)"},
      {"/timing/peak_memory_bytes", "peak memory (bytes)"}};
  for (const auto& [pointer, label] : units) {
    if (pointer == name) return {name, label, 1};
  }
  return {name, name.substr(1), 1};
}

std::string mode_of(const TableRun& run, const std::string& wanted) {
  const Json& evaluations = evaluations_of(run);
  std::vector<std::string> seen;
  for (const Json& evaluation : evaluations) {
    const std::string mode = evaluation.value("mode", std::string());
    if (std::find(seen.begin(), seen.end(), mode) == seen.end()) seen.push_back(mode);
  }
  if (wanted.empty()) return seen.empty() ? "" : seen.front();
  if (std::find(seen.begin(), seen.end(), wanted) == seen.end()) {
    throw UserError("--mode", fmt::format("{} has {}", run.name,
                                          unknown_name_message("no mode", wanted, seen)));
  }
  return wanted;
}

std::vector<CurvePoint> curve_of(const TableRun& run, const Metric& metric,
                                 const std::string& mode) {
  std::vector<CurvePoint> curve;
  for (const Json& evaluation : evaluations_of(run)) {
    if (evaluation.value("mode", std::string()) != mode) continue;
    if (evaluation.value("split", std::string("test")) != "test") continue;
    if (!is_number_at(evaluation, metric.name)) continue;
    curve.push_back({evaluation.at("step").get<double>(),
                     evaluation.at(metric.name).get<double>() * metric.factor});
  }
  std::stable_sort(curve.begin(), curve.end(),
                   [](const CurvePoint& a, const CurvePoint& b) { return a.step < b.step; });
  return curve;
}

std::optional<double> final_value(const TableRun& run, const Metric& metric,
                                  const std::string& wanted_mode) {
  if (metric.name.starts_with('/')) {
    const Json::json_pointer pointer(metric.name);
    if (!run.report.contains(pointer) || !run.report.at(pointer).is_number()) return {};
    return run.report.at(pointer).get<double>() * metric.factor;
  }
  const auto curve = curve_of(run, metric, mode_of(run, wanted_mode));
  if (curve.empty()) return {};
  return curve.back().value;
}

double smallest_error(const std::vector<TableRun>& runs, const Metric& metric) {
  double most_samples = 0;
  for (const TableRun& run : runs) {
    for (const Json& evaluation : evaluations_of(run)) {
      if (is_number_at(evaluation, "scored")) {
        most_samples = std::max(most_samples, evaluation["scored"].get<double>());
      }
    }
  }
  constexpr double kSomeSamples = 1000;  // a report that does not say how many were scored
  return 0.5 * metric.factor / (most_samples > 0 ? most_samples : kSomeSamples);
}

}  // namespace mta::plot
