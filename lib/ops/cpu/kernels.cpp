// The table of kernels of one instruction set: this file is compiled once for each, see
// CMakeLists.txt.
#include "lib/ops/cpu/backward.h"
#include "lib/ops/cpu/forward.h"
#include "lib/ops/cpu/levels.h"

namespace mta::ops::cpu::MTA_SIMD {
namespace {

template <class T>
Index forward_workspace(const Forward<T>& call) {
  Arena arena(nullptr);
  ForwardPass<T> pass(call, arena);
  return arena.used();
}

template <class T>
void forward(const Forward<T>& call, Index begin, Index end, void* workspace) {
  Arena arena(workspace);
  ForwardPass<T>(call, arena).run(begin, end);
}

template <class T>
Index backward_workspace(const Backward<T>& call) {
  Arena arena(nullptr);
  BackwardPass<T> pass(call, arena);
  return arena.used();
}

template <class T>
void backward(const Backward<T>& call, Index begin, Index end, void* workspace) {
  Arena arena(workspace);
  BackwardPass<T>(call, arena).run(begin, end);
}

template <class T>
constexpr Kernels<T> kTable = {forward_workspace<T>, forward<T>, backward_workspace<T>, backward<T>,
                               dropout_row<T>};

}  // namespace

const Kernels<float>& float_kernels() { return kTable<float>; }
const Kernels<double>& double_kernels() { return kTable<double>; }

}  // namespace mta::ops::cpu::MTA_SIMD
