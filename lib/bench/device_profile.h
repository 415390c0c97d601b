// Where a GPU's time goes: its kernels as LibTorch's profiler records them, by part.
#pragma once

#include "lib/core/json.h"

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace mta {

/// One kernel, copy or fill, by the device's clock.
struct KernelRun {
  std::string name;
  std::int64_t start_ns = 0, end_ns = 0;
};

/// The kernels of one name.
struct KernelTime {
  std::string name;
  double ms = 0;
  std::int64_t launches = 0;
};

/// Sums by name, the longest first. A kernel's time counts from where all that began before it had
/// ended: one that moves in early and waits for its predecessor is not charged with the wait, and
/// the sum is the time that the device was busy.
std::vector<KernelTime> times_by_name(std::vector<KernelRun> runs);

/// Runs `work` under the profiler, to its end on the device. Nothing where the profiler sees no
/// device.
std::vector<KernelTime> profile_kernels(at::Device device, const std::function<void()>& work);

/// A name for reports, without "void " and cut: "a::b<T>(args)".
std::string short_kernel_name(const std::string& kernel);

/// The part of a training step that a kernel belongs to, by its name: "attention", "matrix
/// products", "norms", "group norm and gate", "rotary", "gate", "loss", "embedding", "optimiser",
/// "copies" (to another type, too), "elementwise" (LibTorch's, not known better) or "other".
std::string part_of_step(const std::string& kernel);

/// Names a part by a kernel's name.
using PartOf = std::function<std::string(const std::string& kernel)>;

/// {"kernel_ms", "parts": [{"part", "ms", "share", "launches"}], "kernels": [the longest]}, all a
/// step; `steps` is how many were profiled.
Json profile_json(const std::vector<KernelTime>& kernels, std::int64_t steps,
                  const PartOf& part_of = part_of_step);

/// Adds to a case's entry the "profile" of `work`, which makes `steps` steps, and "gpu_busy", its
/// share of the `ms` that a step was measured to take. On a CPU the profile is null.
void add_profile(Json& entry, at::Device device, const std::function<void()>& work,
                 std::int64_t steps, double ms);

}  // namespace mta
