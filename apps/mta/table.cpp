// `mta table`: finds the runs or measurements, makes the table, prints it.
#include "apps/mta/table.h"

#include "lib/core/description.h"
#include "lib/core/error.h"
#include "lib/table/measurements.h"
#include "lib/table/only.h"
#include "lib/table/table.h"

#include <array>
#include <ostream>
#include <utility>

namespace mta {
namespace {

TableFormat format_of(const std::string& name) {
  constexpr std::array<std::pair<const char*, TableFormat>, 4> kFormats{
      {{"markdown", TableFormat::Markdown},
       {"csv", TableFormat::Csv},
       {"latex", TableFormat::Latex},
       {"json", TableFormat::JsonObject}}};
  std::vector<std::string> known;
  for (const auto& [text, format] : kFormats) {
    if (name == text) return format;
    known.emplace_back(text);
  }
  throw UserError("--format", unknown_name_message("format", name, known));
}

}  // namespace

int run_table(const TableOptions& options, std::ostream& out, std::ostream& err) {
  const TableFormat format = format_of(options.format);
  const Table table = make_table(only(find_runs_or_measurements(options.inputs), options.only),
                                 {.rows = split_columns(options.rows),
                                  .columns = split_columns(options.columns),
                                  .baseline = options.baseline});
  out << to_text(table, format) << std::flush;
  // A CSV file has no place for notes.
  if (format == TableFormat::Csv) {
    for (const std::string& note : table.notes) err << "mta: note: " << note << '\n';
  }
  return 0;
}

}  // namespace mta
