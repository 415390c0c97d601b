// The device that a run computes on: chosen, described and measured in this one place.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/StreamGuard.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mta {

struct DeviceInfo {
  std::string name;         // "cpu", "cuda:0"
  std::string description;  // "AMD EPYC 9B14", "NVIDIA H200"
  std::int64_t memory_bytes = 0;
  std::string driver;  // of the GPU; empty for the CPU
};

/// "auto" (the first GPU, or else the CPU), "cpu", "cuda" or "cuda:1". Throws UserError, naming
/// `--device`, on anything else and on a device that is not there, with the reason.
at::Device resolve_device(const std::string& request);

/// The CPU first, then every GPU that this build can use.
std::vector<DeviceInfo> devices();
DeviceInfo describe_device(at::Device device);

/// Waits until the device has done all that it was given.
void synchronize(at::Device device);
/// A stream of a GPU's own beside the default one, which nothing can be recorded on, current on
/// this thread while this lives. Waits for the device at either end. On the CPU it does nothing.
class WorkStream {
 public:
  explicit WorkStream(at::Device device);
  ~WorkStream();
  WorkStream(const WorkStream&) = delete;
  WorkStream& operator=(const WorkStream&) = delete;

 private:
  at::Device device_;
  std::optional<c10::StreamGuard> guard_;
};

/// Has LibTorch's operations on a GPU add up in a fixed order. To be called before the device is
/// used; the CPU's always do.
void use_deterministic_algorithms(at::Device device, bool wanted);

/// The most memory in use so far: by the process for the CPU, by tensors for a GPU. Bytes.
std::int64_t peak_memory_bytes(at::Device device);
/// Of a GPU: the most is counted anew from here on. Returns what tensors use now, in bytes.
std::int64_t restart_peak_memory(at::Device device);

/// "2.11.0"
std::string libtorch_version();

}  // namespace mta
