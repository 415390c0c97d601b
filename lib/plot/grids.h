// What pictures of arrays have in common: choosing layers, heads and stages, axes over cells,
// sizes.
#pragma once

#include "lib/plot/figure.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace mta::plot {

/// An empty list chooses everything.
template <class Value>
bool is_chosen(const std::vector<Value>& chosen, const Value& value) {
  return chosen.empty() || std::find(chosen.begin(), chosen.end(), value) != chosen.end();
}

/// Throws UserError at `flag` when `name` is not one of `known`.
void require_known(const std::string& flag, const std::string& name,
                   const std::vector<std::string>& known);

/// `chosen`, or all of 0 .. heads-1. Throws UserError at --heads for a head that is not there.
std::vector<std::int64_t> chosen_heads(const std::vector<std::int64_t>& chosen, std::int64_t heads);

/// Over cells 0 .. size-1, without ticks.
Axis cell_axis(const std::string& label, std::size_t size);
/// The same with some of the indices as ticks, `first` for the first cell.
Axis index_axis(const std::string& label, std::size_t size, std::int64_t first = 0);

/// Gives the page the size that panels of rows x columns cells need; cells shrink where a panel
/// would be too large for paper.
void size_panels(Figure& figure, double rows, double columns, double cell_mm);

}  // namespace mta::plot
