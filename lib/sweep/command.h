// The command that runs one point.
#pragma once

#include "lib/sweep/run_state.h"
#include "lib/sweep/sweep.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mta {

/// In a run directory: what the run's processes printed.
inline constexpr const char* kRunLog = "log.txt";

/// <program> train FILE --set ... --out DIR --device ... --progress plain [--resume]
std::vector<std::string> train_command(const SweepPoint& point, const PointStatus& status,
                                       const Share& share, const SweepRequest& request);

/// Threads that a point asks for, or was begun with (other numbers round differently).
std::optional<std::int64_t> threads_of(const SweepPoint& point, const PointStatus& status);
std::int64_t steps_of(const SweepPoint& point);

/// As a shell takes it, with quotes where they are needed.
std::string shell_text(const std::vector<std::string>& arguments);

}  // namespace mta
