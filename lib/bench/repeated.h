// Work that is repeated and timed: by the clock on a CPU, as a replayed graph on a GPU.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

namespace mta {

/// On a GPU the work is captured once: the gaps between launches are then those of a captured
/// training step. It must not wait for the device, and everything that it allocates must be freed
/// when it returns. It is timed behind a fill of memory that takes longer than submitting it, so
/// that the time is the GPU's alone, and that leaves nothing of earlier work in L2.
class Repeated {
 public:
  Repeated(c10::Device device, std::function<void()> work);
  ~Repeated();
  Repeated(const Repeated&) = delete;
  Repeated& operator=(const Repeated&) = delete;

  /// Does it once more and waits; milliseconds.
  double ms();

 private:
  struct Graph;

  std::function<void()> work_;
  std::unique_ptr<Graph> graph_;  // of a GPU
};

/// Frees what LibTorch keeps of a device's memory but does not use.
void release_unused_memory(c10::Device device);
/// The most memory that tensors on a GPU held at once while `work` ran, over what they held before;
/// in bytes.
std::int64_t peak_bytes_of(c10::Device device, const std::function<void()>& work);
/// The same on a GPU; on the CPU the most that the process has held so far.
std::int64_t peak_memory_of(c10::Device device, const std::function<void()>& work);

}  // namespace mta
