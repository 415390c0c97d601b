// Where a GPU's time goes: its kernels as LibTorch's profiler records them, by part.
#pragma once

#include "lib/core/json.h"

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace mta {

/// The kernels of one name.
struct KernelTime {
  std::string name;
  double ms = 0;
  std::int64_t launches = 0;
};

/// Runs `work` under the profiler, to its end on the device. Kernels, copies and fills, the longest
/// first; nothing where the profiler sees no device.
std::vector<KernelTime> profile_kernels(at::Device device, const std::function<void()>& work);

/// The part of a training step that a kernel belongs to, by its name: "attention", "matrix
/// products", "norms", "rotary", "gate", "loss", "embedding", "optimiser", "copies" or "other".
std::string part_of_step(const std::string& kernel);

/// {"kernel_ms", "parts": [{"part", "ms", "share", "launches"}], "kernels": [the longest]}, all a
/// step; `steps` is how many were profiled.
Json profile_json(const std::vector<KernelTime>& kernels, std::int64_t steps);

}  // namespace mta
