// Finds the parameters by name.
#include "lib/maps/learned.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/block_diag.h>
#include <fmt/core.h>

#include <algorithm>

namespace mta::maps {
namespace {

/// [G, c, c] -> [H, H], groups on the diagonal.
at::Tensor whole_matrix(const at::Tensor& groups, bool inputs_first) {
  return at::block_diag((inputs_first ? groups.transpose(1, 2) : groups).unbind(0));
}

Json numbers_of(const at::Tensor& values) {
  const at::Tensor flat = values.to(at::kCPU, at::kFloat).contiguous();
  const float* const begin = flat.const_data_ptr<float>();
  return std::vector<float>(begin, begin + flat.numel());
}

}  // namespace

Json write_learned(const Parameters& parameters, const std::vector<std::int64_t>& layers,
                   const std::string& folder, MapArchive& archive) {
  Json list = Json::array();
  for (const std::int64_t layer : layers) {
    const std::string prefix = fmt::format("layers.{}.attention.", layer);
    for (const auto& [name, parameter] : parameters.named()) {
      for (const char* const stage : {"kq_before", "heads_before", "kq_after", "heads_after"}) {
        const bool kernel = name == prefix + stage + ".kernel";
        if (!kernel && name != prefix + stage + ".weight") continue;
        const at::Tensor detached = parameter.detach();
        const at::Tensor values =
            kernel ? detached : whole_matrix(detached, std::string(stage) == "heads_after");
        const std::string file = fmt::format("{}learned/layer_{}/{}.npy", folder, layer, stage);
        Json entry = {{"layer", layer}, {"stage", stage}};
        entry.update(archive.write_array(file, values));
        entry["values"] = numbers_of(values);
        list.push_back(std::move(entry));
      }
    }
  }
  return list;
}

}  // namespace mta::maps
