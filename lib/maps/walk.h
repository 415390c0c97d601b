// Runs a model over one sequence and shows the attention maps of chosen layers, some rows at a
// time.
#pragma once

#include "lib/maps/window.h"
#include "lib/model/language_model.h"

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace mta::maps {

/// Consecutive rows of one map.
struct MapRows {
  std::int64_t layer = 0;
  std::string_view stage;
  bool after_softmax = false;  // the softmax included: rows are weights, before it they are scores
  std::int64_t first_row = 0;
  at::Tensor
      map;  // [H, rows, columns], float32 on the CPU; columns after the last row are left out
};

struct WalkRequest {
  std::vector<std::int32_t> tokens;
  std::vector<std::int64_t> layers;  // ascending
  IndexRange rows;                   // of which maps are shown
  std::int64_t chunk = 0;            // rows computed at once; 0 = as many as make maps of 16 MiB
};

/// Calls `show` for the rows in request.rows, layer by layer, rows in order, stages in their order.
/// Memory: chunk x T for each head and stage, never T x T (but for 16 rows, however long they are).
/// Exact, since a row depends on the tokens up to its own only (and on the rows above that the
/// convolutions need, which are computed too).
void walk_maps(const LanguageModel& model, const ModelConfig& config, at::ScalarType compute,
               const WalkRequest& request, const std::function<void(const MapRows&)>& show);

}  // namespace mta::maps
