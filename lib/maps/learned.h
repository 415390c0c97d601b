// The kernels and mixing matrices of a model, as arrays.
#pragma once

#include "lib/core/json.h"
#include "lib/maps/archive.h"
#include "lib/nn/parameters.h"

#include <cstdint>
#include <string>
#include <vector>

namespace mta::maps {

/// Writes kq kernels [H, c_q, c_k] and mixing weights as [H, H] matrices (row: output head; 0
/// outside of groups) of the chosen layers. Returns [{"layer", "stage", "file", "shape", "range",
/// "values"}].
Json write_learned(const Parameters& parameters, const std::vector<std::int64_t>& layers,
                   const std::string& folder, MapArchive& archive);

}  // namespace mta::maps
