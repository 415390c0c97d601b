// Launch plans that were measured, by card and class of shape: data in launch_plans.json, which is
// built in. What nobody measured takes the kernels' defaults.
#pragma once

#include "lib/core/json.h"
#include "lib/kernels/workspace.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mta::ops {

inline constexpr const char* kLaunchPlansSchema = "mta.launch_plans/1";
/// What a report calls the plan of a card that the table does not have.
inline constexpr const char* kDefaultPlan = "default";

/// Calls that are expected to like the same plan.
struct LaunchClass {
  kernels::Direction direction = kernels::Direction::Forward;
  std::int64_t head_dim = 64;
  std::vector<std::string> stages;       ///< of kq_before, heads_before, kq_after, heads_after
  std::vector<std::int64_t> tokens;      ///< T: the least and the most
  std::vector<std::int64_t> chunk_rows;  ///< rows of a chunk by default: the least and the most
  friend bool operator==(const LaunchClass&, const LaunchClass&) = default;
};

/// The class of a problem whose chunks have `rows` rows when nothing is asked for: lengths from 3/4
/// of a power of two to the next one's, and chunks below 256, below 1,024, and longer.
LaunchClass launch_class(const kernels::Problem& problem, kernels::Direction direction, int rows);

struct LaunchEntry {
  std::string card;  ///< as `mta list devices` names it
  LaunchClass shape;
  kernels::LaunchPlan launch;
  Json measured = Json::object();  ///< what led to it: case, date, driver, commit, timings
};

/// Reads a table; `file` stands in messages. Throws UserError with every problem in it: another
/// schema, unknown keys, numbers that the kernels refuse, a class twice.
std::vector<LaunchEntry> read_launch_plans(const Json& root, const std::string& file);
Json to_json(const std::vector<LaunchEntry>& entries);

/// The table that is built in.
const std::vector<LaunchEntry>& installed_launch_plans();

/// The entry for a call with `budget` bytes of workspace, or null.
const LaunchEntry* find_launch(const std::vector<LaunchEntry>& entries, std::string_view card,
                               const kernels::Problem& problem, kernels::Direction direction,
                               std::size_t budget);

/// What decides about a card's launch plans: its own name where the table that is built in has it,
/// else kDefaultPlan.
std::string launch_plans_of(std::string_view card);

}  // namespace mta::ops
