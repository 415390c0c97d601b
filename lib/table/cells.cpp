// Computes the cells of a row from its runs.
#include "lib/core/error.h"
#include "lib/table/columns.h"
#include "lib/table/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace mta {
namespace {

constexpr const char* kNothing = "–";

/// Decimals that leave three digits of `value`: 0.0123, 1.23, 12.3, 123; percentages have one.
int decimals_of(double value, double scale) {
  constexpr int kDigits = 3, kMost = 9;
  constexpr double kPercent = 100;
  if (scale == kPercent) return 1;
  if (value == 0) return 0;
  const int before_point = static_cast<int>(std::floor(std::log10(std::abs(value)))) + 1;
  return std::clamp(kDigits - before_point, 0, kMost);
}

std::string number_text(double value, int decimals) {
  return fmt::format("{:.{}f}", value, decimals);
}

Json or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

std::optional<double> measured_value(const TableColumn& column, const TableRun& run) {
  if (run.status != RunState::Done) return std::nullopt;
  const Json* value = column.key.find(run);
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (!value->is_number()) {
    throw UserError("--columns", fmt::format("\"{}\" is no number in {}: only values({}) shows it",
                                             column.key.label, run.name, column.key.label));
  }
  return column.scale * value->get<double>();
}

TableCell count_cell(const RowRuns& row) {
  std::map<RunState, std::size_t> counts;
  for (const TableRun* run : row) ++counts[run->status];
  TableCell cell{.text = std::to_string(counts[RunState::Done])};
  std::string others;
  for (const RunState status : {RunState::Done, RunState::Failed, RunState::Stopped,
                                RunState::Unfinished, RunState::Missing}) {
    cell.value[to_string(status)] = counts[status];
    if (status == RunState::Done || counts[status] == 0) continue;
    others += fmt::format("{}{} {}", others.empty() ? "" : ", ", counts[status], to_string(status));
  }
  if (!others.empty()) cell.text += " (" + others + ")";
  return cell;
}

TableCell values_cell(const TableColumn& column, const RowRuns& row) {
  TableCell cell;
  Json values = Json::array();
  for (const TableRun* run : row) {
    const Json* value = column.key.find(*run);
    if (value == nullptr || std::find(values.begin(), values.end(), *value) != values.end())
      continue;
    values.push_back(*value);
    cell.text += (cell.text.empty() ? "" : ", ") + label_text(value);
  }
  if (cell.text.empty()) cell.text = kNothing;
  cell.value["values"] = std::move(values);
  return cell;
}

/// The step at which an unsolved run ended: 0 when it never got to an evaluation.
double last_step(const TableRun& run) {
  static const Json::json_pointer step_pointer("/final/step");
  if (!run.report.contains(step_pointer) || !run.report.at(step_pointer).is_number()) return 0;
  return run.report.at(step_pointer).get<double>();
}

TableCell steps_cell(const TableColumn& column, const RowRuns& row) {
  std::vector<StepsToSolve> runs;
  for (const TableRun* run : row) {
    if (run->status == RunState::Missing || run->status == RunState::Unfinished) continue;
    const Json* value = column.key.find(*run);
    if (value == nullptr && run->status == RunState::Done) continue;  // not counted in this run
    const bool solved = value != nullptr && value->is_number();
    runs.push_back({.step = solved ? value->get<double>() : last_step(*run), .solved = solved});
  }
  if (runs.empty()) {
    return {.text = kNothing,
            .value = {{"median", nullptr}, {"at_least", nullptr}, {"solved", 0}, {"runs", 0}}};
  }
  const SolvedMedian median = median_steps(std::move(runs));
  return {.text = fmt::format("{}{:.0f} ({}/{})", median.at_least ? "> " : "", median.step,
                              median.solved, median.runs),
          .value = {{"median", median.step},
                    {"at_least", median.at_least},
                    {"solved", median.solved},
                    {"runs", median.runs}}};
}

TableCell empty_cell(Statistic statistic) {
  TableCell cell{.text = kNothing};
  for (const std::string& field : cell_fields(statistic)) {
    cell.value[field] =
        field == "n" || field == "pairs" || field == "samples" ? Json(0) : Json(nullptr);
  }
  return cell;
}

TableCell spread_cell(const TableColumn& column, const std::vector<double>& values) {
  const int decimals = decimals_of(mean_of(values), column.scale);
  const auto text = [&](double value) { return number_text(value, decimals); };
  const auto deviation = deviation_of(values);
  TableCell cell{.text = text(mean_of(values))};
  cell.value = {{"mean", mean_of(values)}, {"sd", or_null(deviation)}};
  if (deviation) cell.text += " ± " + text(*deviation);
  if (column.statistic == Statistic::Interval || column.statistic == Statistic::Share) {
    const auto interval = bootstrap_interval(values);
    if (interval) cell.text += fmt::format(" [{}, {}]", text(interval->low), text(interval->high));
    cell.value["low"] = interval ? Json(interval->low) : Json(nullptr);
    cell.value["high"] = interval ? Json(interval->high) : Json(nullptr);
  }
  cell.value["n"] = values.size();
  return cell;
}

/// What a report says of a slice.
struct SliceShare {
  double accuracy = 0, low = 0, high = 0;
  std::int64_t count = 0;
};

std::vector<SliceShare> shares_of(const TableColumn& column, const RowRuns& row) {
  std::vector<SliceShare> shares;
  for (const TableRun* run : row) {
    const Json* slice = run->status == RunState::Done ? column.key.find(*run) : nullptr;
    if (slice == nullptr) continue;
    const Json& interval = slice->at("interval");
    shares.push_back({.accuracy = column.scale * slice->at("accuracy").get<double>(),
                      .low = column.scale * interval.at(0).get<double>(),
                      .high = column.scale * interval.at(1).get<double>(),
                      .count = slice->at("count").get<std::int64_t>()});
  }
  return shares;
}

TableCell share_cell(const TableColumn& column, const RowRuns& row) {
  const std::vector<SliceShare> shares = shares_of(column, row);
  if (shares.empty()) return empty_cell(Statistic::Share);
  std::int64_t count = 0;
  std::vector<double> values;
  for (const SliceShare& share : shares) {
    count += share.count;
    values.push_back(share.accuracy);
  }
  TableCell cell;
  if (shares.size() == 1) {
    const SliceShare& only = shares.front();
    cell.text = fmt::format("{:.1f} [{:.1f}, {:.1f}]", only.accuracy, only.low, only.high);
    cell.value = {{"mean", only.accuracy}, {"sd", nullptr}, {"low", only.low}, {"high", only.high}};
    cell.value["n"] = 1;
  } else {
    cell = spread_cell(column, values);
  }
  cell.text += fmt::format(" {}", count);
  cell.value["samples"] = count;
  return cell;
}

TableCell single_cell(const TableColumn& column, const std::vector<double>& values) {
  std::optional<double> value;
  switch (column.statistic) {
    case Statistic::Median:
      value = median_of(values);
      break;
    case Statistic::Deviation:
      value = deviation_of(values);
      break;
    case Statistic::Least:
      value = *std::min_element(values.begin(), values.end());
      break;
    default:
      value = *std::max_element(values.begin(), values.end());
  }
  return {.text = value ? number_text(*value, decimals_of(*value, column.scale)) : kNothing,
          .value = {{cell_fields(column.statistic).front(), or_null(value)}, {"n", values.size()}}};
}

/// What the only measurement in the row says. Several have no common median.
const Json* only_value(const TableColumn& column, const RowRuns& row) {
  const Json* only = nullptr;
  const TableRun* of = nullptr;
  for (const TableRun* run : row) {
    const Json* value = run->status == RunState::Done ? column.key.find(*run) : nullptr;
    if (value == nullptr || value->is_null()) continue;
    if (only != nullptr) {
      throw UserError("--rows",
                      fmt::format("{} of {} and of {} would stand in one cell", column.key.label,
                                  of->name, run->name),
                      "let rows or by(KEY,COLUMN) tell them apart: report, case, path");
    }
    only = value, of = run;
  }
  return only;
}

TableCell measured_cell(const TableColumn& column, const RowRuns& row) {
  const Json* value = only_value(column, row);
  if (value == nullptr) return empty_cell(column.statistic);
  const auto scaled = [&](const Json& number) { return column.scale * number.get<double>(); };
  if (column.statistic == Statistic::Single) {
    const double number = scaled(*value);
    return {.text = column.scientific ? fmt::format("{:.1e}", number)
                                      : number_text(number, decimals_of(number, column.scale)),
            .value = {{"value", number}}};
  }
  const double median = scaled(value->at("median"));
  const Json& quartiles = value->at("quartiles");
  const double lower = scaled(quartiles.at(0)), upper = scaled(quartiles.at(1));
  const int decimals = decimals_of(median, column.scale);
  return {.text = fmt::format("{} [{}, {}]", number_text(median, decimals),
                              number_text(lower, decimals), number_text(upper, decimals)),
          .value = {{"median", median}, {"lower", lower}, {"upper", upper}}};
}

/// What was measured for each triple of seeds; the mean where a triple has several runs.
std::map<std::string, double> by_seeds(const TableColumn& column, const RowRuns& row) {
  static const Json::json_pointer seeds_pointer("/experiment/seeds");
  std::map<std::string, std::vector<double>> found;
  for (const TableRun* run : row) {
    const auto value = measured_value(column, *run);
    if (value && run->report.contains(seeds_pointer)) {
      found[run->report.at(seeds_pointer).dump()].push_back(*value);
    }
  }
  std::map<std::string, double> means;
  for (const auto& [seeds, values] : found) means[seeds] = mean_of(values);
  return means;
}

}  // namespace

std::vector<std::string> cell_fields(Statistic statistic) {
  switch (statistic) {
    case Statistic::Count:
      return {"done", "failed", "stopped", "unfinished", "missing"};
    case Statistic::Interval:
      return {"mean", "sd", "low", "high", "n"};
    case Statistic::Mean:
      return {"mean", "sd", "n"};
    case Statistic::Median:
      return {"median", "n"};
    case Statistic::Deviation:
      return {"sd", "n"};
    case Statistic::Least:
      return {"min", "n"};
    case Statistic::Most:
      return {"max", "n"};
    case Statistic::Values:
      return {"values"};
    case Statistic::Share:
      return {"mean", "sd", "low", "high", "n", "samples"};
    case Statistic::Steps:
      return {"median", "at_least", "solved", "runs"};
    case Statistic::Difference:
      return {"mean", "low", "high", "pairs"};
    case Statistic::Spread:
      return {"median", "lower", "upper"};
    case Statistic::Single:
      return {"value"};
  }
  return {};
}

TableCell table_cell(const TableColumn& column, const RowRuns& row) {
  if (column.statistic == Statistic::Count) return count_cell(row);
  if (column.statistic == Statistic::Values) return values_cell(column, row);
  if (column.statistic == Statistic::Steps) return steps_cell(column, row);
  if (column.statistic == Statistic::Share) return share_cell(column, row);
  if (column.statistic == Statistic::Spread || column.statistic == Statistic::Single) {
    return measured_cell(column, row);
  }
  std::vector<double> values;
  for (const TableRun* run : row) {
    if (const auto value = measured_value(column, *run)) values.push_back(*value);
  }
  if (values.empty()) return empty_cell(column.statistic);
  const bool spread =
      column.statistic == Statistic::Mean || column.statistic == Statistic::Interval;
  return spread ? spread_cell(column, values) : single_cell(column, values);
}

TableCell difference_cell(const TableColumn& column, const RowRuns& row, const RowRuns& baseline) {
  const auto base = by_seeds(column, baseline);
  std::vector<double> differences;
  for (const auto& [seeds, value] : by_seeds(column, row)) {
    if (const auto match = base.find(seeds); match != base.end()) {
      differences.push_back(value - match->second);
    }
  }
  if (differences.empty()) return empty_cell(Statistic::Difference);
  const int decimals = decimals_of(mean_of(differences), column.scale);
  const auto text = [&](double value) { return fmt::format("{:+.{}f}", value, decimals); };
  const auto interval = bootstrap_interval(differences);
  TableCell cell{.text = text(mean_of(differences))};
  if (interval) cell.text += fmt::format(" [{}, {}]", text(interval->low), text(interval->high));
  cell.text +=
      fmt::format(" ({} {})", differences.size(), differences.size() == 1 ? "pair" : "pairs");
  cell.value = {{"mean", mean_of(differences)},
                {"low", interval ? Json(interval->low) : Json(nullptr)},
                {"high", interval ? Json(interval->high) : Json(nullptr)},
                {"pairs", differences.size()}};
  return cell;
}

}  // namespace mta
