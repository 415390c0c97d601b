// Looks keys up by short name, pointer or last part, and finds those in which runs differ.
#include "lib/table/keys.h"

#include "lib/core/description.h"
#include "lib/core/error.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

namespace mta {
namespace {

using Pointer = Json::json_pointer;

constexpr std::array<std::pair<const char*, const char*>, 17> kShortNames{{
    {"name", "/experiment/name"},
    {"variant", "/experiment/attention/variant"},
    {"task", "/experiment/task/kind"},
    {"seed", "/experiment/seeds/weights"},
    {"err_seq", "/final/err_seq"},
    {"err_tok", "/final/err_tok"},
    {"loss", "/final/loss"},
    {"step", "/final/step"},
    {"best_err_seq", "/best/err_seq"},
    {"parameters", "/parameters/total"},
    {"wall_s", "/timing/wall_s"},
    {"train_s", "/timing/train_s"},
    {"ms_per_step", "/timing/ms_per_step"},
    {"tokens_per_s", "/timing/tokens_per_s"},
    {"peak_memory_bytes", "/timing/peak_memory_bytes"},
    {"device", "/provenance/device"},
    {"commit", "/provenance/commit"},
}};

TableKey key_at(const std::string& label, const std::string& pointer) {
  return {.label = label, .pointers = {Pointer(pointer)}};
}

/// What may differ between runs of one configuration.
bool varies_freely(const std::string& pointer) {
  return pointer.starts_with("/seeds/") || pointer == "/name" || pointer == "/train/threads" ||
         pointer == "/train/data_threads";
}

/// Every key of an experiment that has a plain value or a list: pointer within the experiment.
void collect_leaves(const Json& json, const std::string& at, std::vector<std::string>& leaves) {
  if (!json.is_object()) {
    if (!at.empty()) leaves.push_back(at);
    return;
  }
  for (const auto& [key, value] : json.items()) collect_leaves(value, at + "/" + key, leaves);
}

std::vector<std::string> experiment_leaves(const std::vector<const TableRun*>& runs) {
  std::vector<std::string> leaves;
  std::set<std::string> seen;
  for (const TableRun* run : runs) {
    std::vector<std::string> own;
    if (run->report.contains("experiment")) collect_leaves(run->report["experiment"], "", own);
    for (std::string& leaf : own) {
      if (seen.insert(leaf).second) leaves.push_back(std::move(leaf));
    }
  }
  return leaves;
}

std::string last_part(const std::string& pointer) { return pointer.substr(pointer.rfind('/') + 1); }

std::vector<const TableRun*> all(const std::vector<TableRun>& runs) {
  std::vector<const TableRun*> pointers;
  for (const TableRun& run : runs) pointers.push_back(&run);
  return pointers;
}

bool any_has(const std::vector<TableRun>& runs, const TableKey& key) {
  return std::any_of(runs.begin(), runs.end(),
                     [&](const TableRun& run) { return key.find(run) != nullptr; });
}

[[noreturn]] void refuse(const std::string& flag, const std::string& text,
                         const std::vector<std::string>& leaves) {
  std::vector<std::string> known;
  const bool is_pointer = text.starts_with('/');
  for (const auto& [name, pointer] : kShortNames) known.push_back(is_pointer ? pointer : name);
  for (const std::string& leaf : leaves) known.push_back(is_pointer ? leaf : last_part(leaf));
  const auto near = nearest_name(text, known);
  throw UserError(
      flag,
      "no report has a key \"" + text + "\"" + (near ? "; did you mean \"" + *near + "\"?" : ""),
      near ? "" : "give a JSON pointer such as /train/lr, or a name such as err_seq");
}

/// Whether runs that agree in `chosen` agree in `key` too.
bool determined(const TableKey& key, const std::vector<TableKey>& chosen,
                const std::vector<const TableRun*>& runs) {
  std::map<std::string, std::string> value_of;
  for (const TableRun* run : runs) {
    std::string group;
    for (const TableKey& other : chosen) group += label_text(other.find(*run)) + '\n';
    const std::string value = label_text(key.find(*run));
    if (value_of.try_emplace(group, value).first->second != value) return false;
  }
  return true;
}

}  // namespace

const Json* TableKey::find(const TableRun& run) const {
  for (const Pointer& pointer : pointers) {
    if (run.report.contains(pointer)) return &run.report.at(pointer);
  }
  return nullptr;
}

bool TableKey::measured() const {
  constexpr std::array kMeasured = {"final", "best", "timing", "slices", "evaluations", "steps_to"};
  const std::string pointer = pointers.front().to_string();
  const std::string first = pointer.substr(1, pointer.find('/', 1) - 1);
  return std::find(kMeasured.begin(), kMeasured.end(), first) != kMeasured.end();
}

TableKey table_key(const std::string& text, const std::vector<TableRun>& runs,
                   const std::string& flag) {
  const std::vector<std::string> leaves = experiment_leaves(all(runs));
  if (text.starts_with('/')) {
    TableKey key{.label = last_part(text), .pointers = {}};
    try {
      key.pointers = {Pointer(text), Pointer("/experiment" + text)};
    } catch (const Json::parse_error&) {
      throw UserError(flag, "\"" + text + "\" is not a JSON pointer");
    }
    if (!any_has(runs, key)) refuse(flag, text, leaves);
    return key;
  }
  for (const auto& [name, pointer] : kShortNames) {
    if (text == name) return key_at(name, pointer);
  }
  if (TableKey key = key_at(text, "/" + text); any_has(runs, key)) return key;
  std::vector<std::string> matches;
  for (const std::string& leaf : leaves) {
    if (last_part(leaf) == text) matches.push_back(leaf);
  }
  if (matches.empty()) refuse(flag, text, leaves);
  if (matches.size() > 1) {
    std::string list;
    for (const std::string& match : matches) list += (list.empty() ? "" : ", ") + match;
    throw UserError(flag, "\"" + text + "\" may mean " + list, "give one of these pointers");
  }
  return key_at(text, "/experiment" + matches.front());
}

std::vector<TableKey> differing_keys(const std::vector<const TableRun*>& runs) {
  std::vector<TableKey> keys;
  for (const std::string& leaf : experiment_leaves(runs)) {
    if (varies_freely(leaf)) continue;
    TableKey key = key_at(last_part(leaf), "/experiment" + leaf);
    if (!determined(key, {}, runs)) keys.push_back(std::move(key));
  }
  // The variant decides many other keys, so it is named before them.
  std::stable_partition(keys.begin(), keys.end(),
                        [](const TableKey& key) { return key.label == "variant"; });
  return keys;
}

std::vector<TableKey> distinguishing_keys(const std::vector<TableRun>& runs) {
  TableKey name = key_at("name", "/experiment/name");
  name.pointers.emplace_back("/name");
  std::vector<TableKey> chosen = {std::move(name)};
  for (TableKey& key : differing_keys(all(runs))) {
    if (!determined(key, chosen, all(runs))) chosen.push_back(std::move(key));
  }
  return chosen;
}

std::string label_text(const Json* value) {
  if (value == nullptr) return "–";
  if (value->is_null()) return "off";
  if (value->is_string()) return value->get<std::string>();
  return value->dump();
}

}  // namespace mta
