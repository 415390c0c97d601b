// A search along the coordinates.
#include "lib/bench/launch_search.h"

#include <algorithm>
#include <iterator>

namespace mta {
namespace {

using kernels::LaunchPlan;
using kernels::Problem;

/// A number of the plan, and the values worth a try.
struct Coordinate {
  int LaunchPlan::*number;
  std::vector<int> values;
};

std::vector<Coordinate> coordinates_of(const Problem& p, kernels::Direction direction, int rows) {
  const bool mixes = p.mix_before.weight != nullptr || p.mix_after.weight != nullptr;
  std::vector<Coordinate> all = {{&LaunchPlan::score_keys, {256, 512, 1024}}};
  if (kernels::convolves_by_tiles(p, direction)) {
    all.push_back({&LaunchPlan::convolution_keys, {128, 256, 512, 1024}});
  }
  if (mixes) {
    all.push_back({&LaunchPlan::mixing_keys, {128, 256, 512}});
    all.push_back({&LaunchPlan::mixing_rows, {4, 8, 16, 32}});
  }
  for (Coordinate& c : all) {
    if (c.number == &LaunchPlan::mixing_rows) continue;
    // A strip that ends past the last key is as good as one twice as long.
    const auto too_long = [&](int keys) { return keys / 2 >= p.tokens; };
    c.values.erase(std::remove_if(c.values.begin(), c.values.end(), too_long), c.values.end());
  }
  all.push_back({&LaunchPlan::chunk_rows, {0}});  // as many as fit, or fewer
  for (const int fewer : {256, 512, 1024}) {
    if (fewer < rows) all.back().values.push_back(fewer);
  }
  return all;
}

/// The best so far, then it with each other value of the coordinate.
std::vector<LaunchPlan> candidates_of(const LaunchPlan& best, const Coordinate& coordinate) {
  std::vector<LaunchPlan> candidates = {best};
  for (const int value : coordinate.values) {
    if (value == best.*coordinate.number) continue;
    candidates.push_back(best);
    candidates.back().*coordinate.number = value;
  }
  return candidates;
}

/// The candidate to go on with: 0 unless another is faster beyond doubt.
std::size_t fastest(const std::vector<TurnTimes>& times) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < times.size(); ++i) {
    if (times[i].ratio.upper < 1 && times[i].ms.median < times[best].ms.median) best = i;
  }
  return best;
}

}  // namespace

LaunchSearch search_launch(const Problem& problem, kernels::Direction direction, std::size_t budget,
                           const LaunchTimer& timer) {
  constexpr int kRounds = 2;
  Problem plain = problem;
  plain.launch = {};
  const kernels::WorkspacePlan workspace = kernels::workspace_plan(plain, direction, budget);
  LaunchSearch search{.rows = workspace.rows,
                      .by_default = workspace.launch,
                      .best = workspace.launch,
                      .times = {}};
  for (int round = 0; round < kRounds; ++round) {
    bool changed = false;
    for (const Coordinate& coordinate : coordinates_of(problem, direction, workspace.rows)) {
      const std::vector<LaunchPlan> candidates = candidates_of(search.best, coordinate);
      if (candidates.size() == 1) continue;
      const std::vector<TurnTimes> times = timer(candidates);
      for (std::size_t i = 0; i < times.size(); ++i) {
        search.times.push_back({candidates[i], times[i].ms});
      }
      const std::size_t chosen = fastest(times);
      if (chosen == 0) continue;
      changed = true;
      search.best = candidates[chosen];
      search.gain *= times[0].ms.median / times[chosen].ms.median;
    }
    if (!changed) break;
  }
  return search;
}

}  // namespace mta
