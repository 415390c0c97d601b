// What a table says about a set of numbers: centre, spread, interval, and medians with unsolved
// runs.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace mta {

double mean_of(std::span<const double> values);
/// Square root of the sum of squared deviations over n - 1; nothing for a single value.
std::optional<double> deviation_of(std::span<const double> values);
double median_of(std::span<const double> values);

struct Interval {
  double low = 0;
  double high = 0;
};

/// 95 % interval of the mean: percentile bootstrap (Efron), 10,000 resamples of the same size. The
/// same values in the same order give the same interval. Nothing for a single value.
std::optional<Interval> bootstrap_interval(std::span<const double> values);

/// How long a run took to solve its task; `step` is where an unsolved run ended.
struct StepsToSolve {
  double step = 0;
  bool solved = false;
};

struct SolvedMedian {
  double step = 0;
  bool at_least = false;  // `step` is only a lower bound of the median
  std::size_t solved = 0;
  std::size_t runs = 0;
};

/// The median over all runs. An unsolved run counts as "later than where it ended", so the median
/// is exact as long as every unsolved run lies above it, and a lower bound otherwise.
SolvedMedian median_steps(std::vector<StepsToSolve> runs);

}  // namespace mta
