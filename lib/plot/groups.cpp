// Groups runs by the keys that lib/table finds, and words what differs.
#include "lib/plot/groups.h"

#include "lib/core/document.h"
#include "lib/core/files.h"
#include "lib/table/only.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <sstream>

namespace mta::plot {
namespace {

/// A line that a crash cut short can only be the last one; it is left out.
Json evaluations_so_far(const std::filesystem::path& path) {
  Json evaluations = Json::array();
  if (!std::filesystem::exists(path)) return evaluations;
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line) && !lines.eof();) {
    evaluations.push_back(parse_json(line, path.string()));
  }
  return evaluations;
}

/// A word speaks for itself, a number does not.
bool is_word(const std::string& value) {
  return !value.empty() && std::isalpha(static_cast<unsigned char>(value.front())) &&
         value != "true" && value != "false" && value != "off";
}

std::string label_of(const std::vector<TableKey>& keys, const std::vector<std::string>& values,
                     const std::vector<bool>& differs) {
  std::string label;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (!differs[i]) continue;
    if (!label.empty()) label += ", ";
    label += is_word(values[i]) ? values[i] : keys[i].label + " " + values[i];
  }
  return label;
}

/// Which columns of `rows` have more than one value.
std::vector<bool> differing(const std::vector<std::vector<std::string>>& rows,
                            std::size_t columns) {
  std::vector<bool> result(columns);
  for (std::size_t c = 0; c < columns; ++c) {
    result[c] = std::any_of(rows.begin(), rows.end(),
                            [&](const auto& row) { return row[c] != rows.front()[c]; });
  }
  return result;
}

}  // namespace

std::vector<TableRun> load_runs(const PlotOptions& options, std::vector<std::string>& notices) {
  std::vector<TableRun> runs = only(find_runs(options.inputs), options.only);
  for (TableRun& run : runs) {
    if (run.status == RunState::Unfinished) {
      run.report["evaluations"] = evaluations_so_far(run.folder / "evaluations.jsonl");
    }
    if (run.status != RunState::Done) {
      notices.push_back(fmt::format("{}: {}{}{}", run.name, to_string(run.status),
                                    run.error.empty() ? "" : ": ", run.error));
    }
  }
  return runs;
}

std::vector<const TableRun*> Group::counted() const {
  const bool any_done = std::any_of(
      runs.begin(), runs.end(), [](const TableRun& run) { return run.status == RunState::Done; });
  std::vector<const TableRun*> result;
  for (const TableRun& run : runs) {
    if (run.status == RunState::Done || !any_done) result.push_back(&run);
  }
  return result;
}

std::string Group::legend() const {
  std::map<std::string, int> others;
  for (const TableRun& run : runs) {
    if (run.status != RunState::Done) ++others[to_string(run.status)];
  }
  std::string text = fmt::format("{} (n = {}", label, counted().size());
  for (const auto& [status, count] : others) text += fmt::format(", {} {}", count, status);
  return text + ")";
}

std::vector<Group> group_runs(std::vector<TableRun> runs, const std::vector<std::string>& by,
                              const TableKey* shown_otherwise) {
  std::vector<TableKey> keys = by.empty() ? distinguishing_keys(runs) : std::vector<TableKey>{};
  if (shown_otherwise != nullptr) {
    std::erase_if(keys, [&](const TableKey& key) {
      return key.pointers.back() == shown_otherwise->pointers.back();
    });
  }
  for (const std::string& text : by) keys.push_back(table_key(text, runs, "--by"));

  std::vector<Group> groups;
  std::vector<std::vector<std::string>> values_of_groups;
  for (TableRun& run : runs) {
    std::vector<std::string> values;
    for (const TableKey& key : keys) values.push_back(label_text(key.find(run)));
    const auto found = std::find(values_of_groups.begin(), values_of_groups.end(), values);
    if (found == values_of_groups.end()) {
      values_of_groups.push_back(std::move(values));
      groups.push_back({});
      groups.back().runs.push_back(std::move(run));
    } else {
      groups[std::size_t(found - values_of_groups.begin())].runs.push_back(std::move(run));
    }
  }
  // A key that is the same everywhere says nothing, unless there is only one group to name.
  const std::vector<bool> differs = groups.size() > 1 ? differing(values_of_groups, keys.size())
                                                      : std::vector<bool>(keys.size(), true);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    groups[g].label = label_of(keys, values_of_groups[g], differs);
  }
  return groups;
}

}  // namespace mta::plot
