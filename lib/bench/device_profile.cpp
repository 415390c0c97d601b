// LibTorch's profiler, and names of kernels.
#include "lib/bench/device_profile.h"

#include "lib/train/device.h"

#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace mta {
namespace {

constexpr std::size_t kLongest = 30;  // kernels that the report names
constexpr double kNanosecondsPerMillisecond = 1e6;

/// The first part of whose words one stands in the name counts.
struct Part {
  const char* name;
  std::vector<const char*> words;
};
const std::vector<Part>& parts() {
  static const std::vector<Part> all = {
      {"norms", {"RmsNorm", "sum_parts_kernel"}},
      {"group norm and gate", {"NormGate"}},
      {"rotary", {"Rotation"}},
      {"gate", {"Gated"}},
      {"loss", {"CrossEntropy", "nll_loss", "LogSoftMax"}},
      {"embedding",
       {"AddRows", "embedding", "compute_grad_weight", "sum_and_scatter", "segment", "RadixSort",
        "indexSelect", "gather_kernel"}},
      {"attention", {"mta::kernels", "flash", "fmha", "cudnn"}},
      {"matrix products", {"gemm", "nvjet", "cutlass", "splitK", "cublas", "gemv"}},
      {"optimiser", {"mta::train", "FusedAdam", "lpnorm"}},
      {"copies", {"Memcpy", "Memset", "CatArray", "FillFunctor", "copy", "Copy"}},
      {"elementwise", {"elementwise", "multi_tensor", "reduce_kernel"}},
  };
  return all;
}

std::vector<KernelTime> longest_first(const std::map<std::string, KernelTime>& by_name) {
  std::vector<KernelTime> times;
  for (const auto& [unused, time] : by_name) times.push_back(time);
  std::sort(times.begin(), times.end(), [](const auto& a, const auto& b) { return a.ms > b.ms; });
  return times;
}

Json entry(const char* key, const KernelTime& time, double all_ms, double steps) {
  return {{key, time.name},
          {"ms", time.ms / steps},
          {"share", all_ms > 0 ? time.ms / all_ms : 0},
          {"launches", static_cast<double>(time.launches) / steps}};
}

}  // namespace

std::vector<KernelTime> times_by_name(std::vector<KernelRun> runs) {
  std::sort(runs.begin(), runs.end(),
            [](const auto& a, const auto& b) { return a.start_ns < b.start_ns; });
  std::map<std::string, KernelTime> by_name;
  std::int64_t ended = 0;
  for (const KernelRun& run : runs) {
    KernelTime& time = by_name[run.name];
    time.name = run.name;
    const std::int64_t alone = run.end_ns - std::max(run.start_ns, ended);
    time.ms += static_cast<double>(std::max<std::int64_t>(alone, 0)) / kNanosecondsPerMillisecond;
    ++time.launches;
    ended = std::max(ended, run.end_ns);
  }
  return longest_first(by_name);
}

std::vector<KernelTime> profile_kernels(at::Device device, const std::function<void()>& work) {
  namespace profiler = torch::autograd::profiler;
  const std::set<profiler::ActivityType> activities = {profiler::ActivityType::CUDA};
  const profiler::ProfilerConfig config(profiler::ProfilerState::KINETO);
  synchronize(device);
  profiler::prepareProfiler(config, activities);
  profiler::enableProfiler(config, activities);
  work();
  synchronize(device);
  const auto result = profiler::disableProfiler();

  std::vector<KernelRun> runs;
  for (const profiler::KinetoEvent& event : result->events()) {
    if (event.deviceType() != device.type()) continue;
    const auto start = static_cast<std::int64_t>(event.startNs());
    runs.push_back({event.name(), start, start + static_cast<std::int64_t>(event.durationNs())});
  }
  return times_by_name(std::move(runs));
}

std::string short_kernel_name(const std::string& kernel) {
  constexpr std::size_t kLetters = 120;
  const std::string start = "void ";
  return kernel.substr(kernel.rfind(start, 0) == 0 ? start.size() : 0, kLetters);
}

std::string part_of_step(const std::string& kernel) {
  for (const Part& part : parts()) {
    for (const char* word : part.words) {
      if (kernel.find(word) != std::string::npos) return part.name;
    }
  }
  return "other";
}

Json profile_json(const std::vector<KernelTime>& kernels, std::int64_t steps,
                  const PartOf& part_of) {
  std::map<std::string, KernelTime> by_part;
  double all_ms = 0;
  for (const KernelTime& kernel : kernels) {
    const std::string name = part_of(kernel.name);
    KernelTime& part = by_part[name];
    part.name = name;
    part.ms += kernel.ms;
    part.launches += kernel.launches;
    all_ms += kernel.ms;
  }
  const auto count = static_cast<double>(steps);
  Json part_list = Json::array(), kernel_list = Json::array();
  for (const KernelTime& part : longest_first(by_part)) {
    part_list.push_back(entry("part", part, all_ms, count));
  }
  for (std::size_t i = 0; i < std::min(kernels.size(), kLongest); ++i) {
    KernelTime kernel = kernels[i];
    kernel.name = short_kernel_name(kernel.name);
    kernel_list.push_back(entry("kernel", kernel, all_ms, count));
  }
  return {{"kernel_ms", all_ms / count}, {"parts", part_list}, {"kernels", kernel_list}};
}

void add_profile(Json& entry, at::Device device, const std::function<void()>& work,
                 std::int64_t steps, double ms) {
  entry["profile"] = nullptr;
  if (device.is_cpu()) return;
  entry["profile"] = profile_json(profile_kernels(device, work), steps);
  entry["gpu_busy"] = entry["profile"]["kernel_ms"].get<double>() / ms;
}

}  // namespace mta
