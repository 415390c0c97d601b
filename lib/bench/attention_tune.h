// Measures launch plans of the fused attention on this card, and makes the table that holds them.
#pragma once

#include "lib/bench/attention_cases.h"
#include "lib/core/json.h"
#include "lib/kernels/workspace.h"
#include "lib/ops/launch_plans.h"

#include <cstddef>
#include <string>
#include <vector>

namespace mta {

struct AttentionTune {
  std::vector<AttentionCase> cases;
  std::size_t turns = 15;
  std::string device = "auto";
  std::vector<std::string> command_line;
};

/// What was measured for one case and direction; one that was left out has a reason instead.
struct TunedCase {
  std::string name;
  std::string reason;
  ops::LaunchEntry entry;
  double gain = 1;  ///< time by the kernels' defaults over time of the plan
};

/// Every case forward and backward. A case is left out where the kernels do not cover it, or where
/// an earlier one is of its class. Throws UserError where there is no GPU.
std::vector<TunedCase> tune_attention(const AttentionTune& tune);

/// What a plan must gain to have an entry: less is noise, and defaults may get better.
constexpr double kLeastGain = 1.01;

/// `table` with the entries of what was tuned, in place of those of the same card and class; none
/// where the defaults are as good.
std::vector<ops::LaunchEntry> merged(std::vector<ops::LaunchEntry> table,
                                     const std::vector<TunedCase>& tuned);

/// The sizes and stages of a case, for plans of chunks: its pointers say which stages are there,
/// and point to no weights.
kernels::Problem problem_of(const AttentionCase& one);

}  // namespace mta
