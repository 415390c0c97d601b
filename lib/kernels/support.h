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

/// Ok, or Unsupported / InvalidArgument with last_error() naming the property, its value and what
/// is covered. Looks at sizes and options only, so it needs no device.
Status check(const Problem& problem);

}  // namespace mta::kernels
