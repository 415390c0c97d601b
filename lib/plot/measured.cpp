// Finds measurements, and says how they are named and coloured.
#include "lib/plot/measured.h"

#include "lib/core/error.h"
#include "lib/table/measurements.h"
#include "lib/table/only.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <set>
#include <utility>

namespace mta::plot {
namespace {

bool is_one_of(const std::vector<std::string>& kinds, const std::string& kind) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

}  // namespace

std::vector<TableRun> load_measurements(const PlotOptions& options,
                                        const std::vector<std::string>& kinds,
                                        std::vector<std::string>& notices) {
  std::vector<TableRun> made;
  std::set<std::string> drawn;  // reports
  for (TableRun& run : only(find_measurements(options.inputs), options.only)) {
    if (run.status != RunState::Done) {
      notices.push_back(run.name + ": " + run.error);
      continue;
    }
    if (is_one_of(kinds, run.bench)) drawn.insert(text_at(run, "report"));
    made.push_back(std::move(run));
  }
  for (const TableRun& run : made) {
    if (drawn.count(text_at(run, "report")) > 0) continue;
    throw UserError(options.kind,
                    fmt::format("draws reports of mta bench {}, and {} is of mta bench {}",
                                fmt::join(kinds, " and "), text_at(run, "report"), run.bench));
  }
  // What is left besides is of a card's report, which holds all kinds.
  std::erase_if(made, [&](const TableRun& run) { return !is_one_of(kinds, run.bench); });
  return made;
}

std::optional<double> number_at(const TableRun& run, const std::string& pointer) {
  const Json::json_pointer place(pointer);
  if (!run.report.contains(place) || !run.report.at(place).is_number()) return std::nullopt;
  return run.report.at(place).get<double>();
}

std::string text_at(const TableRun& run, const std::string& key) {
  return run.report.at(key).get<std::string>();
}

std::vector<std::string> row_labels(const std::vector<TableRun>& measurements) {
  std::set<std::string> reports, benches;
  for (const TableRun& run : measurements) {
    reports.insert(text_at(run, "report"));
    benches.insert(text_at(run, "bench"));
  }
  std::vector<std::string> labels;
  for (const TableRun& run : measurements) {
    std::string label = text_at(run, "case");
    if (benches.size() > 1) label = text_at(run, "bench") + ": " + label;
    if (reports.size() > 1) label = text_at(run, "report") + ": " + label;
    labels.push_back(std::move(label));
  }
  return labels;
}

std::size_t style_of_path(const std::string& path) {
  constexpr std::array kPaths = {"fused", "composed", "standard", "kernels"};
  const auto* const found = std::find(kPaths.begin(), kPaths.end(), path);
  return std::size_t(std::distance(kPaths.begin(), found));
}

std::string three_digits(double value) {
  constexpr int kDigits = 3;
  const int before_point = value > 0 ? int(std::floor(std::log10(value))) + 1 : 1;
  return fmt::format("{:.{}f}", value, std::max(0, kDigits - before_point));
}

}  // namespace mta::plot
