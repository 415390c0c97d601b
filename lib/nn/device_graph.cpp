// The recorder in use.
#include "lib/nn/device_graph.h"

namespace mta {
namespace {

GraphRecorder recorder_in_use = nullptr;

}  // namespace

GraphRecorder graph_recorder() { return recorder_in_use; }

bool set_graph_recorder(GraphRecorder recorder) {
  recorder_in_use = recorder;
  return true;
}

}  // namespace mta
