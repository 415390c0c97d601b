// Where the time of fused attention goes: its kernels by stage, each beside its floor.
#pragma once

#include "lib/bench/device_profile.h"
#include "lib/core/json.h"
#include "lib/kernels/cost.h"

#include <cstdint>
#include <string>
#include <vector>

namespace mta {

/// What a device was measured to do.
struct DeviceRates {
  double bytes_per_s = 0, operations_per_s = 0;
};

/// The stage of lib/kernels that a kernel of bfloat16 inputs runs in a pass: a name of
/// kernels::stage_costs(), or of what that leaves out. A kernel that is not known keeps its name.
std::string stage_of_kernel(const std::string& kernel, kernels::Pass pass);

/// Milliseconds below which a pass cannot stay: the floors of its stages, one after the other.
double floor_ms(const kernels::CostShape& shape, kernels::Pass pass, const DeviceRates& rates);

/// The kernels of some passes in one direction, and what one pass has to do.
struct PassProfile {
  std::vector<KernelTime> kernels;
  kernels::CostShape shape;
};

/// profile_json() of both directions, whose parts are stages; `repeats` passes of each were
/// profiled. Every entry has its "direction", and a share of both passes' time. A stage whose work
/// is known also has its "bytes", "operations", "floor_ms" and "share_of_floor", the floor over the
/// time.
Json stages_json(const PassProfile& forward, const PassProfile& backward, std::int64_t repeats,
                 const DeviceRates& rates);

}  // namespace mta
