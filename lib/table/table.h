// Many reports become one table: a row for each configuration, a cell for each statistic.
#pragma once

#include "lib/table/columns.h"

#include <string>
#include <vector>

namespace mta {

struct TableRequest {
  std::vector<std::string> rows = {};     // keys; empty = the fewest that tell configurations apart
  std::vector<std::string> columns = {};  // as in table_columns(); empty = usual_columns()
  std::string baseline = {};  // value of the first row key; each interval gets a difference to it
};

struct TableRow {
  std::vector<std::string> labels;  // one for each row key
  std::vector<TableCell> cells;
};

struct Table {
  std::vector<std::string> row_keys;
  std::vector<TableColumn> columns;
  std::vector<TableRow> rows;
  std::vector<std::string> notes;  // runs that failed or are missing, means over unlike runs
};

/// n, err_seq with its interval and median, steps to solve, ms a step, wall time.
const std::vector<std::string>& usual_columns();

/// Rows stand in the order in which their first run does. Every run is in a row. Of measurements,
/// rows "part" and "kernel" are those of their profiles. Throws UserError for
/// unknown keys, for a baseline that is no row, and for measurements that would share a cell.
Table make_table(const std::vector<TableRun>& runs, const TableRequest& request);

enum class TableFormat { Markdown, Csv, Latex, JsonObject };

/// Markdown and LaTeX show `text` of each cell and the notes; CSV and JSON every field.
std::string to_text(const Table& table, TableFormat format);

}  // namespace mta
