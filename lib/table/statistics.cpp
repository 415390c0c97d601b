// Means, deviations, bootstrap intervals and censored medians.
#include "lib/table/statistics.h"

#include "lib/core/rng.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace mta {
namespace {

constexpr std::size_t kResamples = 10'000;
constexpr double kTail = 0.025;  // on each side of a 95 % interval

/// Linear between the two nearest order statistics.
double quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

}  // namespace

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::optional<double> deviation_of(std::span<const double> values) {
  if (values.size() < 2) return std::nullopt;
  const double centre = mean_of(values);
  double squares = 0;
  for (const double value : values) squares += (value - centre) * (value - centre);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

double median_of(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  return std::midpoint(sorted[(sorted.size() - 1) / 2], sorted[sorted.size() / 2]);
}

std::optional<Interval> bootstrap_interval(std::span<const double> values) {
  if (values.size() < 2) return std::nullopt;
  // One fixed sequence for every cell: an interval does not depend on what else is in the table.
  Rng rng(0, stream_of("table:bootstrap"), 0);
  const auto size = static_cast<std::uint32_t>(values.size());
  std::vector<double> means(kResamples);
  for (double& resampled : means) {
    double sum = 0;
    for (std::uint32_t i = 0; i < size; ++i) sum += values[rng.below(size)];
    resampled = sum / size;
  }
  std::sort(means.begin(), means.end());
  return Interval{quantile(means, kTail), quantile(means, 1 - kTail)};
}

SolvedMedian median_steps(std::vector<StepsToSolve> runs) {
  // At the same step, solved comes first: the unsolved run needs longer.
  std::sort(runs.begin(), runs.end(), [](const StepsToSolve& a, const StepsToSolve& b) {
    return std::pair(a.step, !a.solved) < std::pair(b.step, !b.solved);
  });
  const std::size_t lower = (runs.size() - 1) / 2, upper = runs.size() / 2;
  const auto is_solved = [](const StepsToSolve& run) { return run.solved; };
  SolvedMedian result;
  result.step = std::midpoint(runs[lower].step, runs[upper].step);
  result.at_least =
      !std::all_of(runs.begin(), runs.begin() + static_cast<std::ptrdiff_t>(upper) + 1, is_solved);
  result.solved = static_cast<std::size_t>(std::count_if(runs.begin(), runs.end(), is_solved));
  result.runs = runs.size();
  return result;
}

}  // namespace mta
