// Times that can be compared on a noisy machine: candidates take turns, and ratios are taken turn
// by turn.
#pragma once

#include "lib/core/json.h"

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace mta {

/// Median and spread of a set of measurements.
struct Spread {
  double median = 0, lower = 0, upper = 0;  // lower and upper quartile
  double least = 0, most = 0;
};
Spread spread_of(std::vector<double> values);
Spread scaled(const Spread& spread, double factor);

struct Candidate {
  std::string name;
  std::function<void()> run;  // one repeat, ended when it returns
  /// One repeat that is timed by its own clock, such as a GPU's; returns ms. In place of `run`.
  std::function<double()> timed{};
};

struct TurnTimes {
  std::string name;
  Spread ms;     // of one repeat
  Spread ratio;  // to the first candidate, each repeat against that of the same turn
};

struct TimingOptions {
  std::size_t warm_up = 3;  // turns that do not count
  std::size_t turns = 15;
};

/// Runs every candidate once a turn; who goes first rotates. The first candidate is the baseline.
std::vector<TurnTimes> time_in_turns(const std::vector<Candidate>& candidates,
                                     const TimingOptions& options);

Json to_json(const Spread& spread);

}  // namespace mta
