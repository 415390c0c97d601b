// Finds the fastest launch plan of a problem by timing candidates: the search alone, over any
// timer.
#pragma once

#include "lib/bench/timing.h"
#include "lib/kernels/workspace.h"

#include <cstddef>
#include <functional>
#include <vector>

namespace mta {

/// Times plans against each other, in turns; the first is the baseline of the ratios.
using LaunchTimer =
    std::function<std::vector<TurnTimes>(const std::vector<kernels::LaunchPlan>& candidates)>;

struct LaunchTime {
  kernels::LaunchPlan launch;
  Spread ms;
};

struct LaunchSearch {
  int rows = 0;                    ///< of a chunk by default
  kernels::LaunchPlan by_default;  ///< every number filled in
  kernels::LaunchPlan best;
  double gain = 1;                ///< time by default over time of the best, by medians
  std::vector<LaunchTime> times;  ///< of all that was tried, in the order of trying
};

/// One number after the other, those that the problem's stages have, twice: a candidate replaces
/// the best so far only when three quarters of its turns were faster, so that noise changes
/// nothing. `problem.launch` is not read; `budget` bytes of workspace decide the chunks.
LaunchSearch search_launch(const kernels::Problem& problem, kernels::Direction direction,
                           std::size_t budget, const LaunchTimer& timer);

}  // namespace mta
