// Work for a device that is recorded once and replayed: a CUDA graph, where the program has them.
#pragma once

#include <functional>
#include <memory>

namespace mta {

/// Its memory stays as it was when the work was recorded: what it reads and writes keeps its
/// address.
class DeviceGraph {
 public:
  DeviceGraph() = default;
  DeviceGraph(const DeviceGraph&) = delete;
  DeviceGraph& operator=(const DeviceGraph&) = delete;
  virtual ~DeviceGraph() = default;
  /// Queues the work on the current stream.
  virtual void replay() = 0;
};

/// Records what `work` queues on the current stream, which is not the default one, without running
/// it. Graphs that never run at the same time share memory: `beside` is one of them, or null.
/// Throws what `work` throws, and c10::Error where something in it cannot be recorded.
using GraphRecorder = std::unique_ptr<DeviceGraph> (*)(const std::function<void()>& work,
                                                       const DeviceGraph* beside);

/// Null until a library that can record is linked in (target mta_train_cuda).
GraphRecorder graph_recorder();
/// Called by that library.
bool set_graph_recorder(GraphRecorder recorder);

}  // namespace mta
