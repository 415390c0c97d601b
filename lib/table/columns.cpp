// Reads what columns are asked for: names, statistics, thresholds and slices.
#include "lib/table/columns.h"

#include "lib/core/description.h"
#include "lib/core/error.h"
#include "lib/table/measured_columns.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <map>
#include <optional>
#include <set>

namespace mta {
namespace {

using Pointer = Json::json_pointer;

constexpr const char* kFlag = "--columns";
constexpr double kPercent = 100;

struct StatisticName {
  const char* name;
  Statistic statistic;
  const char* heading;
};
constexpr StatisticName kStatistics[] = {
    {"interval", Statistic::Interval, "mean ± sd [95 %]"},
    {"mean", Statistic::Mean, "mean ± sd"},
    {"median", Statistic::Median, "median"},
    {"sd", Statistic::Deviation, "sd"},
    {"min", Statistic::Least, "min"},
    {"max", Statistic::Most, "max"},
    {"values", Statistic::Values, ""},
};

std::string words(std::string label) {
  if (label == "ms_per_step") return "ms a step";
  if (label.ends_with("_s") && !label.ends_with("_per_s")) label.replace(label.size() - 2, 2, " s");
  return label;
}

bool is_error_rate(const TableKey& key) {
  return key.label.starts_with("err_") || key.label == "best_err_seq" || key.label == "accuracy";
}

Statistic usual_statistic(const TableKey& key) {
  if (!key.measured()) return Statistic::Values;
  return is_error_rate(key) || key.label == "loss" ? Statistic::Interval : Statistic::Mean;
}

TableColumn column_of(const TableKey& key, const StatisticName& statistic) {
  TableColumn column{
      .id = key.label, .heading = words(key.label), .statistic = statistic.statistic, .key = key};
  if (is_error_rate(key)) {
    column.scale = kPercent;
    column.id += "_percent";
    column.heading += " %";
  }
  if (statistic.statistic != usual_statistic(key)) {
    column.id = std::string(statistic.name) + "_" + column.id;
  }
  if (*statistic.heading != '\0') column.heading += std::string(", ") + statistic.heading;
  return column;
}

/// Thresholds of err_seq that any report counts steps to, as they are written there.
std::vector<std::string> thresholds(const std::vector<TableRun>& runs) {
  constexpr std::string_view kPrefix = "err_seq<";
  std::set<std::string> found;
  for (const TableRun& run : runs) {
    const auto steps_to = run.report.find("steps_to");
    if (steps_to == run.report.end() || !steps_to->is_object()) continue;
    for (const auto& [name, unused] : steps_to->items()) {
      if (name.starts_with(kPrefix)) found.insert(name.substr(kPrefix.size()));
    }
  }
  return {found.begin(), found.end()};
}

TableColumn steps_column(std::string threshold, const std::vector<TableRun>& runs) {
  const std::vector<std::string> known = thresholds(runs);
  const bool is_known = std::find(known.begin(), known.end(), threshold) != known.end();
  if (threshold.empty()) {
    constexpr const char* kUsual = "0.05";
    const bool usual =
        known.empty() || std::find(known.begin(), known.end(), kUsual) != known.end();
    threshold = usual ? kUsual : known.front();
  } else if (!is_known) {
    throw UserError(kFlag, "no report counts steps to err_seq < " + threshold,
                    known.empty() ? "" : fmt::format("known: {}", fmt::join(known, ", ")));
  }
  double fraction = 0;
  std::from_chars(threshold.data(), threshold.data() + threshold.size(), fraction);
  TableKey key{.label = "steps_to", .pointers = {Pointer("/steps_to") / ("err_seq<" + threshold)}};
  return {.id = "steps_to_err_seq_below_" + threshold,
          .heading = fmt::format("steps to err_seq < {:g} %, median (solved)", kPercent * fraction),
          .statistic = Statistic::Steps,
          .key = std::move(key)};
}

/// Numbers by value, then other words by spelling.
bool slice_before(const std::string& a, const std::string& b) {
  const auto number = [](const std::string& word) -> std::optional<double> {
    double value = 0;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || stop != word.data() + word.size()) return std::nullopt;
    return value;
  };
  const auto x = number(a), y = number(b);
  if (x && y && *x != *y) return *x < *y;
  if (x.has_value() != y.has_value()) return x.has_value();
  return a < b;
}

std::vector<TableColumn> slice_columns(const std::string& name, const std::vector<TableRun>& runs) {
  const Pointer slices = Pointer("/slices") / name;
  std::set<std::string, decltype(&slice_before)> values(&slice_before);
  for (const TableRun& run : runs) {
    if (!run.report.contains(slices)) continue;
    for (const auto& [value, unused] : run.report.at(slices).items()) values.insert(value);
  }
  if (values.empty()) throw UserError(kFlag, "no report has slices by \"" + name + "\"");
  std::vector<TableColumn> columns;
  for (const std::string& value : values) {
    columns.push_back({.id = fmt::format("{}_{}_correct_percent", name, value),
                       .heading = fmt::format("{} {}, correct % [95 %] of", name, value),
                       .statistic = Statistic::Share,
                       .key = {.label = "slices", .pointers = {slices / value}},
                       .scale = kPercent});
  }
  return columns;
}

std::vector<TableColumn> columns_of(const std::string& text, const std::vector<TableRun>& runs);

/// "length,err_seq": what the second word asks for, for each value of the first.
std::vector<TableColumn> split_by(const std::string& argument, const std::vector<TableRun>& runs) {
  const std::vector<std::string> parts = split_columns(argument);
  if (parts.size() != 2) {
    throw UserError(kFlag, "\"by(" + argument + ")\" must name a key and a column",
                    "for example by(length,err_seq)");
  }
  const TableKey key = table_key(parts[0], runs, kFlag);
  std::set<std::string, decltype(&slice_before)> values(&slice_before);
  for (const TableRun& run : runs) values.insert(label_text(key.find(run)));
  std::vector<TableColumn> columns;
  for (const std::string& value : values) {
    for (TableColumn& column : columns_of(parts[1], runs)) {
      column.id = fmt::format("{}_{}_{}", key.label, value, column.id);
      column.heading = fmt::format("{} {}: {}", key.label, value, column.heading);
      column.splits.push_back({key, value});
      columns.push_back(std::move(column));
    }
  }
  return columns;
}

std::vector<TableColumn> columns_of(const std::string& text, const std::vector<TableRun>& runs) {
  const auto open = text.find('(');
  const bool measured = !runs.empty() && !runs.front().bench.empty();
  if (measured && text.substr(0, open) != "by") return {measured_column(text, runs)};
  if (text == "n") return {{.id = "n", .heading = "n"}};
  if (open == std::string::npos) {
    if (text == "steps_to") return {steps_column("", runs)};
    const TableKey key = table_key(text, runs, kFlag);
    for (const StatisticName& known : kStatistics) {
      if (known.statistic == usual_statistic(key)) return {column_of(key, known)};
    }
  }
  if (!text.ends_with(')')) throw UserError(kFlag, "\"" + text + "\" has no closing bracket");
  const std::string name = text.substr(0, open);
  const std::string argument = text.substr(open + 1, text.size() - open - 2);
  if (name == "steps_to") return {steps_column(argument, runs)};
  if (name == "slice") return slice_columns(argument, runs);
  if (name == "by") return split_by(argument, runs);
  std::vector<std::string> known_names = {"steps_to", "slice", "by"};
  for (const StatisticName& known : kStatistics) {
    if (name == known.name) return {column_of(table_key(argument, runs, kFlag), known)};
    known_names.emplace_back(known.name);
  }
  throw UserError(kFlag, unknown_name_message("statistic", name, known_names));
}

}  // namespace

std::vector<TableColumn> table_columns(const std::vector<std::string>& texts,
                                       const std::vector<TableRun>& runs) {
  std::vector<TableColumn> columns;
  for (const std::string& text : texts) {
    for (TableColumn& column : columns_of(text, runs)) columns.push_back(std::move(column));
  }
  return columns;
}

RowRuns runs_of(const TableColumn& column, const RowRuns& row) {
  RowRuns runs;
  std::copy_if(row.begin(), row.end(), std::back_inserter(runs), [&](const TableRun* run) {
    return std::all_of(column.splits.begin(), column.splits.end(), [&](const ColumnSplit& split) {
      return label_text(split.key.find(*run)) == split.value;
    });
  });
  return runs;
}

TableColumn difference_column(const TableColumn& column, const std::string& baseline) {
  TableColumn difference = column;
  difference.id += "_minus_baseline";
  difference.heading =
      column.heading.substr(0, column.heading.find(',')) + " minus " + baseline + ", paired [95 %]";
  difference.statistic = Statistic::Difference;
  return difference;
}

std::vector<std::string> split_columns(const std::string& text) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (const char c : text) {
    depth += (c == '(') - (c == ')');
    if (c == ',' && depth == 0) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  std::erase(parts, "");
  return parts;
}

}  // namespace mta
