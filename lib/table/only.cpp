// Reads conditions and applies them.
#include "lib/table/only.h"

#include "lib/core/description.h"
#include "lib/core/error.h"
#include "lib/table/columns.h"
#include "lib/table/keys.h"

#include <algorithm>

namespace mta {
namespace {

std::vector<TableRun> only_where(const std::vector<TableRun>& runs, const std::string& condition) {
  const auto equals = condition.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == condition.size()) {
    throw UserError("--only " + condition, "must be KEY=VALUE or KEY=VALUE,VALUE",
                    "for example --only variant=standard,multi_token");
  }
  const TableKey key = table_key(condition.substr(0, equals), runs, "--only");
  const std::vector<std::string> wanted = split_columns(condition.substr(equals + 1));
  std::vector<std::string> known;
  std::vector<TableRun> chosen;
  for (const TableRun& run : runs) {
    const std::string value = label_text(key.find(run));
    if (std::find(known.begin(), known.end(), value) == known.end()) known.push_back(value);
    if (std::find(wanted.begin(), wanted.end(), value) != wanted.end()) chosen.push_back(run);
  }
  for (const std::string& value : wanted) {
    if (std::find(known.begin(), known.end(), value) == known.end()) {
      throw UserError("--only " + condition, unknown_name_message(key.label, value, known));
    }
  }
  return chosen;
}

}  // namespace

std::vector<TableRun> only(std::vector<TableRun> runs, const std::vector<std::string>& conditions) {
  for (const std::string& condition : conditions) runs = only_where(runs, condition);
  return runs;
}

}  // namespace mta
