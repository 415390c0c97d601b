// `mta table`: many reports -> one table.
#pragma once

#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

namespace mta {

struct TableOptions {
  std::vector<std::filesystem::path> inputs;  // reports, run directories, folders of them
  std::string rows;                           // comma-separated; empty = what tells runs apart
  std::string columns;                        // comma-separated; empty = the usual ones
  std::string baseline;                       // row to compare with; empty = none
  std::vector<std::string> only;              // conditions KEY=VALUE,VALUE
  std::string format = "markdown";            // markdown, csv, latex or json
};

/// Returns the exit code: 0, whatever became of the runs.
int run_table(const TableOptions& options, std::ostream& out, std::ostream& err);

}  // namespace mta
