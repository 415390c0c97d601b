// Names of kernels as data, and what their stages must do.
#include "lib/bench/attention_stages.h"

#include <algorithm>
#include <iterator>
#include <string_view>

namespace mta {
namespace {

using kernels::Pass;

constexpr double kMilliseconds = 1e3;  // of a second

/// A kernel in whose name both words stand runs these stages; null: not in that pass.
struct StageKernel {
  std::string_view symbol, argument;
  const char* forward;
  const char* backward;
};

/// The first that fits counts.
constexpr StageKernel kStageKernels[] = {
    {"scores_kernel<__nv_bfloat16, __nv_bfloat16", "", nullptr, "gradient of the weights"},
    {"scores_kernel<", "", "scores", "scores, again"},
    {"convolution_kernel<", "MapKind)0", "convolution before softmax",
     "convolution before softmax, again"},
    {"convolution_kernel<", "MapKind)1", "convolution after softmax",
     "convolution after softmax, again"},
    {"convolution_walk_kernel<", "MapKind)0", "convolution before softmax",
     "convolution before softmax, again"},
    {"convolution_walk_kernel<", "MapKind)1", "convolution after softmax",
     "convolution after softmax, again"},
    {"convolved_mixing_kernel<", "MapKind)0", "convolution and mixing before softmax",
     "convolution and mixing before softmax, again"},
    {"convolved_mixing_kernel<", "MapKind)1", "convolution and mixing after softmax", nullptr},
    {"convolved_mixing_walk_kernel<", "MapKind)0", "convolution and mixing before softmax",
     "convolution and mixing before softmax, again"},
    {"convolved_mixing_walk_kernel<", "MapKind)1", "convolution and mixing after softmax", nullptr},
    {"convolved_mixing_backward_kernel<", "", nullptr,
     "convolution after softmax, again, and mixing after it, backward"},
    {"convolved_mixing_backward_walk_kernel<", "", nullptr,
     "convolution after softmax, again, and mixing after it, backward"},
    {"convolution_backward_kernel<", "MapKind)0", nullptr, "convolution before softmax, backward"},
    {"convolution_backward_kernel<", "MapKind)1", nullptr, "convolution after softmax, backward"},
    {"convolution_streamed_kernel<", "MapKind)0", nullptr, "convolution before softmax, backward"},
    {"convolution_streamed_kernel<", "MapKind)1", nullptr, "convolution after softmax, backward"},
    {"convolution_streamed_kernel<", "MapKind)2", nullptr,
     "softmax and convolution before it, backward"},
    {"mix_before_kernel<", "", "mixing before softmax", "mixing before softmax, again"},
    {"mix_after_kernel<", "", "mixing after softmax", nullptr},
    {"mix_after_backward_kernel<", "", nullptr, "mixing after softmax, backward"},
    {"mix_before_backward_kernel<", "", nullptr, "softmax and mixing before it, backward"},
    {"mixed_statistics_kernel", "", "statistics of head mixing", nullptr},
    {"mixed_weights_kernel<", "", "softmax and head mixing", nullptr},
    {"mixed_dots_kernel<", "", nullptr, "softmax and head mixing, dots"},
    {"mixed_gradients_kernel<", "", nullptr, "softmax and head mixing, backward"},
    {"softmax_weights_kernel<", "", "softmax weights", "softmax weights, again"},
    {"softmax_backward_kernel<", "", nullptr, "softmax, backward"},
    {"finish_softmax_kernel", "", "row statistics", nullptr},
    {"finish_dots_kernel", "", nullptr, "row dots"},
    {"weighted_sum_kernel<", "", "weighted sum", "gradient of q"},
    {"weighted_parts_kernel<", "", "weighted sum", "gradient of q"},
    {"transposed_sum_kernel<", "", nullptr, "gradients of k and v"},
    {"one_pass_forward_kernel<", "", "forward in one pass", nullptr},
    {"one_pass_backward_kernel<", "", nullptr, "backward in one pass"},
    {"prepare_kernel", "", "prepared weights", "prepared weights, again"},
    {"slot_sums_kernel", "", nullptr, "sums of gradients"},
    {"weight_gradient_kernel", "", nullptr, "sums of gradients"},
};

/// Adds to a stage what it must do, where that is known.
void add_cost(Json& part, const std::vector<kernels::StageCost>& costs, const DeviceRates& rates) {
  for (const kernels::StageCost& cost : costs) {
    if (part["part"] != cost.name) continue;
    const double ms =
        floor_seconds(cost, rates.bytes_per_s, rates.operations_per_s) * kMilliseconds;
    part["bytes"] = cost.bytes;
    part["operations"] = cost.operations;
    part["floor_ms"] = ms;
    part["share_of_floor"] = ms / part["ms"].get<double>();
  }
}

Json pass_json(const PassProfile& of, std::int64_t repeats, Pass pass, const DeviceRates& rates) {
  Json profile = profile_json(of.kernels, repeats, [&](const std::string& kernel) {
    return stage_of_kernel(kernel, pass);
  });
  const std::vector<kernels::StageCost> costs = stage_costs(of.shape, pass);
  for (Json& part : profile["parts"]) add_cost(part, costs, rates);
  for (const char* list : {"parts", "kernels"}) {
    for (Json& entry : profile[list]) {
      entry["direction"] = pass == Pass::Forward ? "forward" : "backward";
    }
  }
  return profile;
}

}  // namespace

std::string stage_of_kernel(const std::string& kernel, kernels::Pass pass) {
  const auto* const known =
      std::find_if(std::begin(kStageKernels), std::end(kStageKernels), [&](const auto& each) {
        return kernel.find(each.symbol) != std::string::npos &&
               kernel.find(each.argument) != std::string::npos;
      });
  const char* stage = nullptr;
  if (known != std::end(kStageKernels)) {
    stage = pass == Pass::Forward ? known->forward : known->backward;
  }
  return stage != nullptr ? stage : short_kernel_name(kernel);
}

double floor_ms(const kernels::CostShape& shape, kernels::Pass pass, const DeviceRates& rates) {
  double seconds = 0;
  for (const kernels::StageCost& cost : stage_costs(shape, pass)) {
    seconds += floor_seconds(cost, rates.bytes_per_s, rates.operations_per_s);
  }
  return seconds * kMilliseconds;
}

Json stages_json(const PassProfile& forward, const PassProfile& backward, std::int64_t repeats,
                 const DeviceRates& rates) {
  Json all = {{"kernel_ms", 0.0}, {"parts", Json::array()}, {"kernels", Json::array()}};
  for (const Json& pass : {pass_json(forward, repeats, Pass::Forward, rates),
                           pass_json(backward, repeats, Pass::Backward, rates)}) {
    all["kernel_ms"] = all["kernel_ms"].get<double>() + pass["kernel_ms"].get<double>();
    for (const char* list : {"parts", "kernels"}) {
      all[list].insert(all[list].end(), pass[list].begin(), pass[list].end());
    }
  }
  const double all_ms = all["kernel_ms"].get<double>();
  for (const char* list : {"parts", "kernels"}) {
    for (Json& entry : all[list]) {
      entry["share"] = all_ms > 0 ? entry["ms"].get<double>() / all_ms : 0;
    }
  }
  return all;
}

}  // namespace mta
