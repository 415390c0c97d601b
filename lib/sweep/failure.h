// Why a run failed, in one line.
#pragma once

#include "lib/sweep/child.h"
#include "lib/sweep/run_state.h"

#include <string>

namespace mta {

/// From how its process ended, what it printed, and what its directory says afterwards.
std::string failure_text(const ChildEnd& end, const std::string& output, const PointStatus& status);

}  // namespace mta
