// The keys that rows and columns are made of: short names and JSON pointers into a report.
#pragma once

#include "lib/table/runs.h"

#include <string>
#include <vector>

namespace mta {

/// Where a value stands in a report; the first pointer that a report has counts.
struct TableKey {
  std::string label;                         // for headings: "lr", "err_seq"
  std::vector<Json::json_pointer> pointers;  // "/train/lr" also means "/experiment/train/lr"

  /// Null when the report has no such value.
  const Json* find(const TableRun& run) const;
  /// Whether it is something that a run measured, and not something that was set.
  bool measured() const;
};

/// `text` is a JSON pointer into a report or into its experiment ("/train/lr"), a short name
/// ("variant", "err_seq", "wall_s"), a key of reports ("attention_path"), or the last part of just
/// one key of the experiment ("layers"). Throws UserError, with `flag` as its place, when no run
/// has such a key.
TableKey table_key(const std::string& text, const std::vector<TableRun>& runs,
                   const std::string& flag);

/// The fewest keys that tell different configurations apart: the name, then whatever else differs
/// between runs of equal name, seeds and threads aside.
std::vector<TableKey> distinguishing_keys(const std::vector<TableRun>& runs);

/// Keys of the experiment (seeds and threads aside) in which `runs` differ.
std::vector<TableKey> differing_keys(const std::vector<const TableRun*>& runs);

/// A value as a heading or a label: strings without quotes, null as "off".
std::string label_text(const Json* value);

}  // namespace mta
