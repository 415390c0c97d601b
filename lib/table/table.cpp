// Groups runs into rows, finds each row's baseline, and notes what a reader must know.
#include "lib/table/table.h"

#include "lib/core/description.h"
#include "lib/core/error.h"
#include "lib/table/measured_columns.h"
#include "lib/table/measurements.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

namespace mta {
namespace {

struct Group {
  std::vector<std::string> labels;
  RowRuns runs;
};

std::vector<Group> group_runs(const std::vector<TableRun>& runs,
                              const std::vector<TableKey>& keys) {
  std::vector<Group> groups;
  for (const TableRun& run : runs) {
    std::vector<std::string> labels;
    for (const TableKey& key : keys) labels.push_back(label_text(key.find(run)));
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const Group& g) { return g.labels == labels; });
    if (group == groups.end()) group = groups.insert(groups.end(), {std::move(labels), {}});
    group->runs.push_back(&run);
  }
  return groups;
}

/// The baseline of `group`: equal in every key but the first. Where keys do not carry over to the
/// baseline (a kernel's size, say), the only row that the baseline has.
const Group* baseline_of(const Group& group, const std::vector<Group>& groups,
                         const std::string& baseline) {
  const Group* only = nullptr;
  std::size_t count = 0;
  for (const Group& candidate : groups) {
    if (candidate.labels.front() != baseline) continue;
    if (std::equal(candidate.labels.begin() + 1, candidate.labels.end(),
                   group.labels.begin() + 1)) {
      return &candidate;
    }
    only = &candidate;
    ++count;
  }
  return count == 1 ? only : nullptr;
}

void require_baseline(const std::vector<Group>& groups, const std::string& baseline) {
  std::vector<std::string> known;
  for (const Group& group : groups) {
    if (group.labels.front() == baseline) return;
    if (std::find(known.begin(), known.end(), group.labels.front()) == known.end()) {
      known.push_back(group.labels.front());
    }
  }
  throw UserError("--baseline", unknown_name_message("row", baseline, known));
}

bool is_same(const TableKey& a, const TableKey& b) {
  return std::find_first_of(a.pointers.begin(), a.pointers.end(), b.pointers.begin(),
                            b.pointers.end()) != a.pointers.end();
}

bool is_split(const TableColumn& column, const TableKey& key) {
  return std::any_of(column.splits.begin(), column.splits.end(),
                     [&](const ColumnSplit& split) { return is_same(split.key, key); });
}

/// "/train/lr, ...": in what the runs under one number of the row differ, seeds aside.
std::string differing_in(const Group& group, const std::vector<TableColumn>& columns) {
  std::vector<std::string> found;
  std::set<RowRuns> seen;
  for (const TableColumn& column : columns) {
    if (column.statistic == Statistic::Count || column.statistic == Statistic::Values) continue;
    if (column.statistic == Statistic::Spread || column.statistic == Statistic::Single) continue;
    const RowRuns runs = runs_of(column, group.runs);
    if (!seen.insert(runs).second) continue;
    for (const TableKey& key : differing_keys(runs)) {
      const std::string name =
          key.pointers.front().to_string().substr(std::string("/experiment").size());
      if (std::find(found.begin(), found.end(), name) == found.end()) found.push_back(name);
    }
  }
  return fmt::format("{}", fmt::join(found, ", "));
}

/// The fewest keys that tell configurations apart, but for those that columns are split by.
std::vector<TableKey> usual_rows(const std::vector<TableRun>& runs,
                                 const std::vector<TableColumn>& columns) {
  std::vector<TableKey> keys;
  for (TableKey& key : distinguishing_keys(runs)) {
    const bool split = std::any_of(columns.begin(), columns.end(), [&](const TableColumn& column) {
      return is_split(column, key);
    });
    if (!split) keys.push_back(std::move(key));
  }
  return keys;
}

/// What became of a run that is not done.
std::string state_note(const TableRun& run) {
  if (!run.bench.empty()) return fmt::format("{}: {}", run.name, run.error);
  return fmt::format("{}: {}{}{}", run.name, to_string(run.status), run.error.empty() ? "" : ": ",
                     run.error);
}

std::vector<std::string> notes_of(const std::vector<Group>& groups,
                                  const std::vector<TableColumn>& columns) {
  std::vector<std::string> notes;
  for (const Group& group : groups) {
    std::map<std::string, std::size_t> seeds;
    for (const TableRun* run : group.runs) {
      if (run->status != RunState::Done) notes.push_back(state_note(*run));
      static const Json::json_pointer seeds_pointer("/experiment/seeds");
      if (run->bench.empty() && run->report.contains(seeds_pointer))
        ++seeds[run->report.at(seeds_pointer).dump()];
    }
    const std::string row = fmt::format("{}", fmt::join(group.labels, ", "));
    const std::string differing = differing_in(group, columns);
    if (!differing.empty()) {
      notes.push_back(fmt::format("{}: taken over runs that differ in {}", row, differing));
    }
    const auto repeated = std::find_if(seeds.begin(), seeds.end(),
                                       [](const auto& entry) { return entry.second > 1; });
    if (repeated != seeds.end() && differing_keys(group.runs).empty()) {
      notes.push_back(fmt::format("{}: {} runs have the seeds {}: n counts them all", row,
                                  repeated->second, repeated->first));
    }
  }
  return notes;
}

Table table_of(const std::vector<TableRun>& runs, const TableRequest& request) {
  const std::vector<TableColumn> columns =
      table_columns(request.columns.empty() ? usual_columns() : request.columns, runs);
  std::vector<TableKey> keys;
  for (const std::string& row : request.rows) keys.push_back(table_key(row, runs, "--rows"));
  if (keys.empty()) keys = usual_rows(runs, columns);
  const std::vector<Group> groups = group_runs(runs, keys);
  const std::string& baseline = request.baseline;
  if (!baseline.empty()) require_baseline(groups, baseline);

  Table table;
  for (const TableKey& key : keys) table.row_keys.push_back(key.label);
  for (const TableColumn& column : columns) {
    table.columns.push_back(column);
    if (column.statistic == Statistic::Interval && !baseline.empty()) {
      table.columns.push_back(difference_column(column, baseline));
    }
  }
  for (const Group& group : groups) {
    TableRow row{.labels = group.labels, .cells = {}};
    const Group* base = baseline.empty() ? nullptr : baseline_of(group, groups, baseline);
    for (const TableColumn& column : table.columns) {
      const bool differs = column.statistic == Statistic::Difference;
      // A row is not compared with itself.
      const RowRuns other = base == nullptr || base == &group ? RowRuns{} : base->runs;
      const RowRuns own = runs_of(column, group.runs);
      row.cells.push_back(differs ? difference_cell(column, own, runs_of(column, other))
                                  : table_cell(column, own));
    }
    table.rows.push_back(std::move(row));
  }
  table.notes = notes_of(groups, table.columns);
  return table;
}

}  // namespace

const std::vector<std::string>& usual_columns() {
  static const std::vector<std::string> columns = {"n",        "err_seq",     "median(err_seq)",
                                                   "steps_to", "ms_per_step", "wall_s"};
  return columns;
}

Table make_table(const std::vector<TableRun>& runs, const TableRequest& request) {
  if (runs.empty() || runs.front().bench.empty()) return table_of(runs, request);
  if (!request.baseline.empty()) {
    throw UserError("--baseline", "is for reports of runs: those of benchmarks have their ratios");
  }
  TableRequest measured = request;
  if (measured.rows.empty()) measured.rows = usual_measured_rows(runs);
  for (const char* what : {"part", "kernel"}) {
    const auto& rows = measured.rows;
    if (std::find(rows.begin(), rows.end(), what) == rows.end()) continue;
    const std::vector<TableRun> profile = profile_of(runs, what);
    if (measured.columns.empty()) measured.columns = usual_measured_columns(profile, rows);
    return table_of(profile, measured);
  }
  if (measured.columns.empty()) {
    measured.columns = usual_measured_columns(runs, measured.rows);
  }
  return table_of(runs, measured);
}

}  // namespace mta
