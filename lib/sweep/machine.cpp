// Looks at affinity, control groups and device files; keeps account of what is lent out.
#include "lib/sweep/machine.h"

#include <sched.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <utility>

namespace mta {
namespace {

std::int64_t usable_cores() {
  cpu_set_t set;
  std::int64_t cores = 1;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string line;
  if (std::getline(file, line)) cores = std::min(cores, quota_of(line).value_or(cores));
  return std::max<std::int64_t>(cores, 1);
}

/// /dev/nvidia0, /dev/nvidia1, ...: a container has those of its own GPUs only, and CUDA numbers
/// them from 0.
std::vector<std::string> gpus_of_devices() {
  constexpr std::string_view kPrefix = "nvidia";
  std::vector<std::string> gpus;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/dev", error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix) || name.size() == kPrefix.size()) continue;
    const bool numbered = std::all_of(name.begin() + kPrefix.size(), name.end(), [](char c) {
      return std::isdigit(static_cast<unsigned char>(c)) != 0;
    });
    if (numbered) gpus.push_back(std::to_string(gpus.size()));
  }
  return gpus;
}

std::vector<std::string> visible_gpus() {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible == nullptr) return gpus_of_devices();
  std::vector<std::string> gpus;
  std::istringstream list(visible);
  for (std::string gpu; std::getline(list, gpu, ',');) {
    if (gpu.empty() || gpu == "-1") break;  // CUDA ignores what follows too
    gpus.push_back(gpu);
  }
  return gpus;
}

}  // namespace

std::optional<std::int64_t> quota_of(const std::string& cpu_max) {
  std::istringstream text(cpu_max);
  std::int64_t quota = 0, period = 0;
  if (!(text >> quota >> period) || quota <= 0 || period <= 0) return std::nullopt;
  return (quota + period - 1) / period;
}

Machine this_machine() { return {.cores = usable_cores(), .gpus = visible_gpus()}; }

Shares::Shares(Machine machine, std::int64_t jobs)
    : machine_(std::move(machine)),
      jobs_(std::min(jobs, machine_.cores)),
      runs_on_gpu_(machine_.gpus.size(), 0) {}

std::int64_t Shares::usual_threads() const {
  return std::max<std::int64_t>(machine_.cores / jobs_, 1);
}

bool Shares::has_room() const { return runs_ == 0 || (runs_ < jobs_ && threads_ < machine_.cores); }

std::optional<Share> Shares::take(std::optional<std::int64_t> threads) {
  Share share{.threads = threads.value_or(usual_threads()), .gpu = {}};
  const bool fits = runs_ == 0 || threads_ + share.threads <= machine_.cores;
  if (!has_room() || !fits) return std::nullopt;
  ++runs_;
  threads_ += share.threads;
  if (!runs_on_gpu_.empty()) {
    const auto least = std::min_element(runs_on_gpu_.begin(), runs_on_gpu_.end());
    ++*least;
    share.gpu = machine_.gpus[static_cast<std::size_t>(least - runs_on_gpu_.begin())];
  }
  return share;
}

void Shares::give_back(const Share& share) {
  --runs_;
  threads_ -= share.threads;
  const auto gpu = std::find(machine_.gpus.begin(), machine_.gpus.end(), share.gpu);
  if (gpu != machine_.gpus.end())
    --runs_on_gpu_[static_cast<std::size_t>(gpu - machine_.gpus.begin())];
}

}  // namespace mta
