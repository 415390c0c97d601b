// Groups runs into rows, finds each row's baseline, and notes what a reader must know.
#include "lib/table/table.h"

#include "lib/core/description.h"
#include "lib/core/error.h"

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

std::vector<std::string> notes_of(const std::vector<Group>& groups) {
  std::vector<std::string> notes;
  for (const Group& group : groups) {
    std::map<std::string, std::size_t> seeds;
    for (const TableRun* run : group.runs) {
      if (run->status != RunState::Done) {
        notes.push_back(fmt::format("{}: {}{}{}", run->name, to_string(run->status),
                                    run->error.empty() ? "" : ": ", run->error));
      }
      static const Json::json_pointer seeds_pointer("/experiment/seeds");
      if (run->report.contains(seeds_pointer)) ++seeds[run->report.at(seeds_pointer).dump()];
    }
    const std::string row = fmt::format("{}", fmt::join(group.labels, ", "));
    std::string differing;
    for (const TableKey& key : differing_keys(group.runs)) {
      differing += (differing.empty() ? "" : ", ") +
                   key.pointers.front().to_string().substr(std::string("/experiment").size());
    }
    if (!differing.empty()) {
      notes.push_back(fmt::format("{}: taken over runs that differ in {}", row, differing));
    }
    const auto repeated = std::find_if(seeds.begin(), seeds.end(),
                                       [](const auto& entry) { return entry.second > 1; });
    if (repeated != seeds.end() && differing.empty()) {
      notes.push_back(fmt::format("{}: {} runs have the seeds {}: n counts them all", row,
                                  repeated->second, repeated->first));
    }
  }
  return notes;
}

}  // namespace

const std::vector<std::string>& usual_columns() {
  static const std::vector<std::string> columns = {"n",        "err_seq",     "median(err_seq)",
                                                   "steps_to", "ms_per_step", "wall_s"};
  return columns;
}

Table make_table(const std::vector<TableRun>& runs, const TableRequest& request) {
  std::vector<TableKey> keys;
  for (const std::string& row : request.rows) keys.push_back(table_key(row, runs, "--rows"));
  if (keys.empty()) keys = distinguishing_keys(runs);
  const std::vector<Group> groups = group_runs(runs, keys);
  const std::string& baseline = request.baseline;
  if (!baseline.empty()) require_baseline(groups, baseline);

  Table table;
  for (const TableKey& key : keys) table.row_keys.push_back(key.label);
  for (const TableColumn& column :
       table_columns(request.columns.empty() ? usual_columns() : request.columns, runs)) {
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
      row.cells.push_back(differs ? difference_cell(column, group.runs, other)
                                  : table_cell(column, group.runs));
    }
    table.rows.push_back(std::move(row));
  }
  table.notes = notes_of(groups);
  return table;
}

}  // namespace mta
