// Leaves out of a table or picture what was not asked for.
#pragma once

#include "lib/table/runs.h"

#include <string>
#include <vector>

namespace mta {

/// The runs, or measurements, that meet every condition: "KEY=VALUE" or "KEY=VALUE,VALUE", with a
/// key as in table_key() and values as they are shown. Throws UserError for a condition of another
/// form, and for a value that none has.
std::vector<TableRun> only(std::vector<TableRun> runs, const std::vector<std::string>& conditions);

}  // namespace mta
