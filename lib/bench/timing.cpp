// Turns, quartiles and ratios.
#include "lib/bench/timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace mta {
namespace {

/// Linear interpolation between order statistics; `sorted` is not empty.
double quantile(const std::vector<double>& sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

double milliseconds(const Candidate& candidate) {
  if (candidate.timed) return candidate.timed();
  const auto start = std::chrono::steady_clock::now();
  candidate.run();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  return {.median = quantile(values, 0.5),
          .lower = quantile(values, 0.25),
          .upper = quantile(values, 0.75),
          .least = values.front(),
          .most = values.back()};
}

Spread scaled(const Spread& spread, double factor) {
  return {.median = factor * spread.median,
          .lower = factor * spread.lower,
          .upper = factor * spread.upper,
          .least = factor * spread.least,
          .most = factor * spread.most};
}

std::vector<TurnTimes> time_in_turns(const std::vector<Candidate>& candidates,
                                     const TimingOptions& options) {
  std::vector<std::vector<double>> ms(candidates.size());
  for (std::size_t turn = 0; turn < options.warm_up + options.turns; ++turn) {
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      const std::size_t c = (i + turn) % candidates.size();
      const double time = milliseconds(candidates[c]);
      if (turn >= options.warm_up) ms[c].push_back(time);
    }
  }
  std::vector<TurnTimes> timings;
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    std::vector<double> ratios;
    for (std::size_t turn = 0; turn < options.turns; ++turn) {
      ratios.push_back(ms[c][turn] / ms[0][turn]);
    }
    timings.push_back({.name = candidates[c].name,
                       .ms = spread_of(ms[c]),
                       .ratio = spread_of(std::move(ratios))});
  }
  return timings;
}

Json to_json(const Spread& spread) {
  return {{"median", spread.median},
          {"quartiles", {spread.lower, spread.upper}},
          {"range", {spread.least, spread.most}}};
}

}  // namespace mta
