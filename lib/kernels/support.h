// What the kernels cover: one table, used by the checks' messages and by `mta list kernels`.
#pragma once

#include "lib/kernels/params.h"
#include "lib/kernels/status.h"

#include <vector>

namespace mta::kernels {

constexpr int kMaxQuerySpan = 16;
constexpr int kMaxKeySpan = 32;
constexpr int kMaxHeads = 64;
constexpr int kMaxTokens = 1 << 20;
constexpr int kHeadDims[] = {32, 64, 96, 128};

struct SupportRow {
  const char* what;     ///< the property, such as "head size d"
  const char* covered;  ///< the values that are covered
};

/// The table, in the order in which `check` looks at the properties.
std::vector<SupportRow> support_table();

/// A device as the kernels see it.
struct Device {
  int capability = 0;       ///< compute capability, 10 major + minor; 0: there is none
  int shared_bytes = 0;     ///< shared memory that a block may have
  bool has_code = false;    ///< the kernels are built for it
  int multiprocessors = 0;  ///< each runs blocks by itself
};
constexpr int kLeastCapability = 80;

/// Ok where every kernel runs on the device, else Unsupported, with the reason in last_error().
Status check(const Device& device);

/// Ok, or InvalidArgument with last_error() naming the number that cannot be.
Status check(const LaunchPlan& launch);

/// Ok, or Unsupported / InvalidArgument with last_error() naming the property, its value and what
/// is covered. Looks at sizes and options only, so it needs no device.
Status check(const Problem& problem);

}  // namespace mta::kernels
