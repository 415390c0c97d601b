// Capture, replay and events on a GPU; the steady clock on a CPU.
#include "lib/bench/repeated.h"

#include "lib/train/device.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/util/Exception.h>

#include <chrono>
#include <utility>
#ifdef MTA_WITH_CUDA
#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAGuard.h>
#endif

namespace mta {

#ifdef MTA_WITH_CUDA
struct Repeated::Graph {
  c10::cuda::CUDAStream stream;
  at::cuda::CUDAGraph graph;
  at::cuda::CUDAEvent start{cudaEventDefault}, stop{cudaEventDefault};

  Graph(c10::Device device, const std::function<void()>& work)
      : stream(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())) {
    const c10::cuda::CUDAStreamGuard side(stream);
    work();  // whatever is made at a first call
    stream.synchronize();
    release_unused_memory(device);
    graph.capture_begin();
    work();
    graph.capture_end();
  }

  double ms() {
    const c10::cuda::CUDAStreamGuard side(stream);
    fill_l2();
    start.record(stream);
    graph.replay();
    stop.record(stream);
    stop.synchronize();
    return static_cast<double>(start.elapsed_time(stop));
  }

  /// Written, which is quick, and read, so that nothing is left to be written back.
  void fill_l2() const {
    constexpr std::int64_t kOfL2 = 4, kBytes = sizeof(float);
    const std::int64_t l2 = at::cuda::getDeviceProperties(stream.device_index())->l2CacheSize;
    at::zeros({kOfL2 * l2 / kBytes}, at::TensorOptions(stream.device()).dtype(at::kFloat)).sum();
  }
};
#else
struct Repeated::Graph {
  Graph(c10::Device device, const std::function<void()>& /*work*/) {
    TORCH_CHECK(false, device, ": this build is without CUDA");
  }
  static double ms() { return 0; }
};
#endif

Repeated::Repeated(c10::Device device, std::function<void()> work) : work_(std::move(work)) {
  if (device.is_cuda()) graph_ = std::make_unique<Graph>(device, work_);
}

Repeated::~Repeated() = default;

double Repeated::ms() {
  if (graph_) return graph_->ms();
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  work_();
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void release_unused_memory(c10::Device device) {
  if (device.is_cuda()) at::getDeviceAllocator(device.type())->emptyCache();
}

std::int64_t peak_bytes_of(c10::Device device, const std::function<void()>& work) {
  const std::int64_t before = restart_peak_memory(device);
  work();
  synchronize(device);
  return peak_memory_bytes(device) - before;
}

std::int64_t peak_memory_of(c10::Device device, const std::function<void()>& work) {
  if (!device.is_cpu()) return peak_bytes_of(device, work);
  work();
  return peak_memory_bytes(device);
}

}  // namespace mta
