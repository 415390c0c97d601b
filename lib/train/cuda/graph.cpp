// CUDA graphs by way of LibTorch's. A library of its own: it alone needs libtorch_cuda, which
// programs that only use the CPU do not load.
#include "lib/nn/device_graph.h"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <exception>
#include <utility>

namespace mta {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

class CudaGraph final : public DeviceGraph {
 public:
  explicit CudaGraph(at::MempoolId_t pool) : pool_(pool) {}

  void record(const std::function<void()>& work) {
    // Of this thread alone: the threads that make batches pin memory meanwhile.
    graph_.capture_begin(pool_, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      abandon();
      throw;
    }
    try {
      graph_.capture_end();
    } catch (...) {
      abandon();
      throw;
    }
  }

  void replay() override { graph_.replay(); }
  at::MempoolId_t pool() const { return pool_; }

 private:
  /// Ends a recording that failed, so that work can be queued again.
  void abandon() {
    const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
    cudaGraph_t unfinished = nullptr;
    cudaStreamEndCapture(stream, &unfinished);
    if (unfinished != nullptr) cudaGraphDestroy(unfinished);
    cudaGetLastError();
    try {
      allocator::endAllocateToPool(stream.device_index(), pool_);
    } catch (const std::exception&) {
      // The recording had come far enough to end that itself.
    }
  }

  at::cuda::CUDAGraph graph_;
  at::MempoolId_t pool_;
};

std::unique_ptr<DeviceGraph> record(const std::function<void()>& work, const DeviceGraph* beside) {
  const auto* other = static_cast<const CudaGraph*>(beside);
  auto graph =
      std::make_unique<CudaGraph>(other != nullptr ? other->pool() : at::cuda::graph_pool_handle());
  graph->record(work);
  return graph;
}

[[maybe_unused]] const bool kRegistered = set_graph_recorder(&record);

}  // namespace
}  // namespace mta
