// The columns of a table: which key, which statistic, and the cell they give for a row's runs.
#pragma once

#include "lib/table/keys.h"

#include <string>
#include <vector>

namespace mta {

enum class Statistic {
  Count,     // runs by status
  Interval,  // mean, standard deviation and 95 % interval
  Mean,      // mean and standard deviation
  Median,
  Deviation,
  Least,
  Most,
  Values,      // every distinct value
  Share,       // of a slice that is correct: mean and interval over runs, or the one run's interval
  Steps,       // median steps to solve, unsolved runs counted as such
  Difference,  // of the mean against the baseline, in pairs of equal seeds
  Spread,      // median and quartiles, as one measurement has them
  Single,      // a number of one measurement
};

/// One value of a key.
struct ColumnSplit {
  TableKey key;
  std::string value;  // as label_text() shows it
};

struct TableColumn {
  std::string id;       // for programs: "err_seq_percent", "median_err_seq_percent"
  std::string heading;  // for people: "err_seq %, mean ± sd [95 %]"
  Statistic statistic = Statistic::Count;
  TableKey key = {};                     // Count has none
  double scale = 1;                      // errors are fractions in reports and percent in tables
  bool scientific = false;               // Single: as 4.2e-03
  std::vector<ColumnSplit> splits = {};  // the column is about runs with these values alone
};

/// One cell, for people and for programs. `value` is an object with the fields of its column; what
/// was not measured is null there and "–" in `text`.
struct TableCell {
  std::string text;
  Json value = Json::object();
};

using RowRuns = std::vector<const TableRun*>;

/// "n", a key, "statistic(key)" with interval, mean, median, sd, min, max or values; "steps_to" or
/// "steps_to(0.01)"; "slice(depth)", which is a column for each depth with the share correct, its
/// interval and the number of samples in all: with one run Wilson's interval over its samples, with
/// several as for errors, over the runs; "by(length,err_seq)", which is a column of err_seq for
/// each length. A key alone means its interval for errors and losses, its mean for other
/// measurements, its values for what was set. Of measurements of a benchmark, measured_column()
/// says what is known, besides by(). Throws UserError for anything else.
std::vector<TableColumn> table_columns(const std::vector<std::string>& texts,
                                       const std::vector<TableRun>& runs);

/// The names of the values in this column's cells, in order.
std::vector<std::string> cell_fields(Statistic statistic);

/// Measurements come from runs that are done. In Steps, failed and stopped runs count as unsolved
/// where they ended.
TableCell table_cell(const TableColumn& column, const RowRuns& row);

/// The runs of a row that the column is about.
RowRuns runs_of(const TableColumn& column, const RowRuns& row);

/// The Difference column that goes with an Interval column.
TableColumn difference_column(const TableColumn& column, const std::string& baseline);
/// `column` is a Difference column; `baseline` may be empty.
TableCell difference_cell(const TableColumn& column, const RowRuns& row, const RowRuns& baseline);

/// "a,b(c,d)" -> "a", "b(c,d)".
std::vector<std::string> split_columns(const std::string& text);

}  // namespace mta
