// Accuracy as colour: a slice of the samples down, a configuration key across, a panel a variant.
#include "lib/core/error.h"
#include "lib/plot/groups.h"
#include "lib/plot/kinds.h"
#include "lib/plot/palette.h"
#include "lib/table/keys.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <set>

namespace mta::plot {
namespace {

constexpr double kPercent = 100;

/// Numbers by value, other words by spelling.
struct ValueOrder {
  bool operator()(const std::string& a, const std::string& b) const {
    const auto x = number(a), y = number(b);
    if (x && y && *x != *y) return *x < *y;
    if (x.has_value() != y.has_value()) return x.has_value();
    return a < b;
  }
  static std::optional<double> number(const std::string& text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
  }
};

struct Count {
  double correct = 0, count = 0;
};

/// (row value, column value) -> samples, over all runs of a variant.
using Counts = std::map<std::pair<std::string, std::string>, Count>;
using Values = std::set<std::string, ValueOrder>;

const Json& slices_of(const TableRun& run) {
  static const Json none = Json::object();
  const auto found = run.report.find("slices");
  return found == run.report.end() || !found->is_object() ? none : *found;
}

/// The wanted slice, or "depth" where there is one, or else the only one, or the only one with
/// several values.
std::string row_slice(const std::vector<TableRun>& runs, const std::string& wanted) {
  std::set<std::string> names, varied;
  for (const TableRun& run : runs) {
    for (const auto& [name, values] : slices_of(run).items()) {
      names.insert(name);
      if (values.size() > 1) varied.insert(name);
    }
  }
  if (names.empty()) {
    throw UserError("heatmap", "no report has slices",
                    "evaluate a task that has them, such as needle");
  }
  if (wanted.empty()) {
    if (names.contains("depth")) return "depth";
    if (names.size() == 1) return *names.begin();
    if (varied.size() == 1) return *varied.begin();
  } else if (names.contains(wanted)) {
    return wanted;
  }
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  throw UserError(wanted.empty() ? "--rows" : "--rows " + wanted,
                  "must be a slice (there are: " + list + ")");
}

/// The length of the task, or of what a curriculum comes to.
std::string usual_columns(const std::vector<TableRun>& runs) {
  static const Json::json_pointer nested("/experiment/task/task/length");
  const bool curriculum = std::any_of(
      runs.begin(), runs.end(), [](const TableRun& run) { return run.report.contains(nested); });
  return curriculum ? "/task/task/length" : "/task/length";
}

Counts counts_of(const Group& group, const std::string& slice, const TableKey& across) {
  Counts counts;
  for (const TableRun* run : group.counted()) {
    const Json& slices = slices_of(*run);
    if (!slices.contains(slice)) continue;
    const std::string column = label_text(across.find(*run));
    for (const auto& [row, entry] : slices.at(slice).items()) {
      Count& cell = counts[{row, column}];
      cell.correct += entry.at("correct").get<double>();
      cell.count += entry.at("count").get<double>();
    }
  }
  return counts;
}

Axis axis_of(const std::string& label, const Values& values, bool downwards) {
  constexpr std::size_t kMostTicks = 14;
  Axis axis;
  axis.label = label;
  axis.min = -0.5;
  axis.max = double(values.size()) - 0.5;
  axis.reversed = downwards;
  const std::size_t step = (values.size() + kMostTicks - 1) / kMostTicks;
  std::size_t index = 0;
  for (const std::string& value : values) {
    if (index % step == 0) axis.ticks.emplace_back(index, value);
    ++index;
  }
  return axis;
}

Grid grid_of(const Counts& counts, const Values& rows, const Values& columns) {
  constexpr std::size_t kMostNumbers = 150;  // more than these cannot be read
  Grid grid;
  grid.rows = rows.size();
  grid.columns = columns.size();
  for (const std::string& row : rows) {
    for (const std::string& column : columns) {
      const auto found = counts.find({row, column});
      const bool measured = found != counts.end() && found->second.count > 0;
      grid.values.push_back(measured ? kPercent * found->second.correct / found->second.count
                                     : kNoValue);
    }
  }
  if (grid.values.size() <= kMostNumbers) grid.decimals = 0;
  return grid;
}

void lay_out(Figure& figure, std::size_t rows, std::size_t columns) {
  constexpr std::size_t kMostAcross = 3;
  constexpr double kCellWidth = 9, kCellHeight = 5;  // millimetres
  figure.columns = std::min(figure.panels.size(), kMostAcross);
  const std::size_t down = (figure.panels.size() + figure.columns - 1) / figure.columns;
  const double width = std::clamp(kCellWidth * double(columns), 24.0, 80.0);
  const double height = std::clamp(kCellHeight * double(rows), 20.0, 80.0);
  figure.width_mm = 40 + (width + 4) * double(figure.columns);
  figure.height_mm = 22 + (height + 7) * double(down);
}

}  // namespace

Plot plot_heatmap(const PlotOptions& options) {
  Plot plot;
  std::vector<TableRun> runs = load_runs(options, plot.notices);
  const std::string slice = row_slice(runs, options.rows);
  const TableKey across =
      table_key(options.columns.empty() ? usual_columns(runs) : options.columns, runs, "--columns");
  const std::vector<Group> groups = group_runs(std::move(runs), options.by, &across);

  Values rows, columns;
  std::vector<Counts> all_counts;
  for (const Group& group : groups) {
    all_counts.push_back(counts_of(group, slice, across));
    for (const auto& [place, unused] : all_counts.back()) {
      rows.insert(place.first);
      columns.insert(place.second);
    }
  }
  for (std::size_t g = 0; g < groups.size(); ++g) {
    Panel panel;
    panel.title = groups[g].legend();
    panel.x = axis_of(across.label, columns, false);
    panel.y = axis_of(slice, rows, true);
    panel.grid = grid_of(all_counts[g], rows, columns);
    plot.figure.panels.push_back(std::move(panel));
  }
  plot.figure.colours =
      ColourScale{ColourScale::Kind::Sequential, 0, kPercent, "samples without an error (%)"};
  lay_out(plot.figure, rows.size(), columns.size());
  return plot;
}

}  // namespace mta::plot
