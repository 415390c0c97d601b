// Writes a table as Markdown, CSV, LaTeX or JSON.
#include "lib/table/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace mta {
namespace {

using Lines = std::vector<std::vector<std::string>>;

/// Characters that a terminal shows: UTF-8 continuation bytes take no place of their own.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

/// The heading line, then a line for each row.
Lines lines_of(const Table& table) {
  Lines lines(1, table.row_keys);
  for (const TableColumn& column : table.columns) lines[0].push_back(column.heading);
  for (const TableRow& row : table.rows) {
    lines.push_back(row.labels);
    for (const TableCell& cell : row.cells) lines.back().push_back(cell.text);
  }
  return lines;
}

std::string padded(const std::string& text, std::size_t to, bool right) {
  const std::string space(to - width(text), ' ');
  return right ? space + text : text + space;
}

std::string markdown(const Table& table) {
  Lines lines = lines_of(table);
  for (auto& line : lines) {
    for (std::string& cell : line) cell = replaced(cell, "|", "\\|");
  }
  std::vector<std::size_t> widths(lines[0].size(), 2);  // "-:" at least
  for (const auto& line : lines) {
    for (std::size_t c = 0; c < line.size(); ++c) widths[c] = std::max(widths[c], width(line[c]));
  }
  const std::size_t labels = table.row_keys.size();
  std::string text;
  for (std::size_t l = 0; l < lines.size(); ++l) {
    for (std::size_t c = 0; c < widths.size(); ++c) {
      text += fmt::format("| {} ", padded(lines[l][c], widths[c], c >= labels));
    }
    text += "|\n";
    if (l > 0) continue;
    for (std::size_t c = 0; c < widths.size(); ++c) {
      text += fmt::format("|{}{}", std::string(widths[c] + 1, '-'), c >= labels ? ":" : "-");
    }
    text += "|\n";
  }
  if (!table.notes.empty()) text += "\n";
  for (const std::string& note : table.notes) text += fmt::format("- {}\n", note);
  return text;
}

std::string latex_escaped(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (std::string_view("%&#$_{}").find(c) != std::string_view::npos) {
      escaped += '\\';
      escaped += c;
    } else if (c == '<' || c == '>') {
      escaped += fmt::format("${}$", c);
    } else if (c == '\\' || c == '^' || c == '~') {
      escaped += fmt::format("\\char{}{{}}", static_cast<int>(c));
    } else {
      escaped += c;
    }
  }
  return replaced(replaced(escaped, "±", "$\\pm$"), "–", "--");
}

std::string latex(const Table& table) {
  const Lines lines = lines_of(table);
  std::string text = "% needs \\usepackage{booktabs}\n\\begin{tabular}{" +
                     std::string(table.row_keys.size(), 'l') +
                     std::string(table.columns.size(), 'r') + "}\n\\toprule\n";
  for (std::size_t l = 0; l < lines.size(); ++l) {
    for (std::size_t c = 0; c < lines[l].size(); ++c) {
      if (c > 0) text += " & ";
      text += latex_escaped(lines[l][c]);
    }
    text += " \\\\\n";
    if (l == 0) text += "\\midrule\n";
  }
  text += "\\bottomrule\n\\end{tabular}\n";
  for (const std::string& note : table.notes) {
    text += "\\par\\small " + latex_escaped(note) + "\n";
  }
  return text;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  return fmt::format("\"{}\"", replaced(text, "\"", "\"\""));
}

std::string csv_value(const Json& value) {
  if (value.is_null()) return {};
  if (value.is_string()) return csv_field(value.get<std::string>());
  if (!value.is_array()) return csv_field(value.dump());
  std::string list;
  for (const Json& item : value) {
    if (!list.empty()) list += ' ';
    list += label_text(&item);
  }
  return csv_field(list);
}

/// One column for each field of each cell: "err_seq_percent.mean". Notes have no place in a CSV
/// file; the counts by status say that there is something to note.
std::string csv(const Table& table) {
  std::string text;
  for (const std::string& key : table.row_keys) text += csv_field(key) + ",";
  for (const TableColumn& column : table.columns) {
    for (const std::string& field : cell_fields(column.statistic)) {
      text += csv_field(column.id + "." + field) + ",";
    }
  }
  text.back() = '\n';
  for (const TableRow& row : table.rows) {
    for (const std::string& label : row.labels) text += csv_field(label) + ",";
    for (std::size_t c = 0; c < table.columns.size(); ++c) {
      for (const std::string& field : cell_fields(table.columns[c].statistic)) {
        text += csv_value(row.cells[c].value.at(field)) + ",";
      }
    }
    text.back() = '\n';
  }
  return text;
}

std::string json(const Table& table) {
  Json root = {{"schema", "mta.table/1"}, {"rows", Json::array()}, {"notes", table.notes}};
  for (const TableRow& row : table.rows) {
    Json& item = root["rows"].emplace_back(Json::object());
    for (std::size_t k = 0; k < row.labels.size(); ++k) item[table.row_keys[k]] = row.labels[k];
    for (std::size_t c = 0; c < table.columns.size(); ++c) {
      item["cells"][table.columns[c].id] = row.cells[c].value;
    }
  }
  return root.dump(2) + "\n";
}

}  // namespace

std::string to_text(const Table& table, TableFormat format) {
  switch (format) {
    case TableFormat::Markdown:
      return markdown(table);
    case TableFormat::Csv:
      return csv(table);
    case TableFormat::Latex:
      return latex(table);
    case TableFormat::JsonObject:
      return json(table);
  }
  return {};
}

}  // namespace mta
