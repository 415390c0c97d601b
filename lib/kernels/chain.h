// What both chains share: checked arguments, addresses in the workspace, and the choice of kernel
// instances.
#pragma once

#include "lib/kernels/stages.h"
#include "lib/kernels/status.h"

#include <string>

namespace mta::kernels {

/// Launch functions of one head size.
struct ProductLaunches {
  void (*scores)(const ScoresArgs&, ElementType, cudaStream_t);
  void (*weight_gradient)(const ScoresArgs&, ElementType, cudaStream_t);
  void (*weighted_sum)(const WeightedSumArgs&, ElementType, cudaStream_t);
  void (*transposed_sum)(const TransposedSumArgs&, ElementType, cudaStream_t);
  void (*one_pass)(const OnePassArgs&, ElementType, cudaStream_t);
  void (*one_pass_backward)(const OnePassBackwardArgs&, ElementType, cudaStream_t);
};

/// One call in flight: the problem, its plan, and the chunk that is being queued.
class Chain {
 public:
  Chain(const Problem& problem, const WorkspacePlan& plan, const Workspace& workspace,
        cudaStream_t stream);

  /// Ok while every launch so far was accepted; else the first failure, with its stage.
  Status status() const { return status_; }
  /// Runs one stage's launch function, unless an earlier one failed.
  template <class Launch>
  void run(const char* stage, Launch&& launch) {
    if (status_ != Status::Ok) return;
    launch();
    note_launch(stage);
  }

  void prepare(bool with_backward);
  void start(const Chunk& chunk) { chunk_ = chunk; }

  /// S, C and M of the chunk's rows, M not with head mixing alone; with `want_statistics` the
  /// partial sums of M's rows.
  void softmax_map(const Tensor& q, const Tensor& k, bool want_statistics);
  /// R (or nothing, if A follows directly), from M and `lse`.
  void reconvolve(const float* lse);
  /// Does one kernel make the convolution and the mixing after it? R is then never stored.
  bool fuses(const Convolution& conv, const Mixing& mix) const;
  /// What it needs to make A from M and `lse`, where that is so after the softmax.
  ConvolvedMixingArgs convolved_weights(const float* lse) const;

  const Problem& problem() const { return problem_; }
  const WorkspacePlan& plan() const { return plan_; }
  const Chunk& chunk() const { return chunk_; }
  const ProductLaunches& products() const { return products_; }
  cudaStream_t stream() const { return stream_; }

  template <class Value>
  Value* at(std::size_t offset) const {
    return offset == WorkspacePlan::kNone ? nullptr : reinterpret_cast<Value*>(base_ + offset);
  }
  MapView map(std::size_t offset) const {
    return {at<std::uint16_t>(offset), map_numbers(plan_.shape), plan_.shape};
  }
  TensorView tensor(const Tensor& x) const;
  const float* rows(const float* x) const;  // [B, H, T] from the chunk's first map
  /// Toeplitz tables at `offset` from the chunk's first head.
  const std::uint32_t* tables(std::size_t offset, int query_span, const KeyWindow& window) const;
  /// The same of a convolution's sums [maps, slots, taps].
  float* convolution_sums(std::size_t offset, const Convolution& conv, int slots) const;
  /// Mixing blocks of the chunk's units, and their sums.
  const std::uint16_t* mixing_blocks(std::size_t offset, const MixingPlan& mix) const;
  float* mixing_sums(std::size_t offset, const MixingPlan& mix) const;
  Extent extent(RowRange rows, int reach) const;
  DropoutArgs dropout() const;
  DropoutArgs no_dropout() const { return {}; }
  RowStatistics statistics() const;
  RowDots dots() const;
  MixingArgs mixing(const Mixing& mix, RowRange rows) const;
  /// Of head mixing alone: S, and both mixings' weights, backward also their sums and dA.
  MixingAloneArgs mixing_alone_args(const float* lse) const;

 private:
  void note_launch(const char* stage);
  /// C from S.
  void convolve_scores(const RowStatistics& wanted);
  /// M, and in the backward C, from S in one kernel.
  void convolved_softmax_map(const RowStatistics& statistics);
  void mixing_alone_statistics(const RowStatistics& wanted);
  ConvolvedMixingArgs convolved_mixing(const Convolution& conv, const Mixing& mix) const;
  int first_map() const { return chunk_.first_batch * problem_.heads + chunk_.first_head; }

  const Problem& problem_;
  const WorkspacePlan& plan_;
  char* base_;
  cudaStream_t stream_;
  ProductLaunches products_;
  int shared_bytes_;  // that the device gives a block
  Chunk chunk_{};
  Status status_ = Status::Ok;
};

void launch_convolution(MapKind kind, const ConvolutionArgs& args, cudaStream_t stream);
void launch_convolution_backward(MapKind kind, const ConvolutionBackwardArgs& args,
                                 ElementType type, cudaStream_t stream);
void launch_convolution_streamed(MapKind kind, const ConvolutionBackwardArgs& args,
                                 ElementType type, cudaStream_t stream);

/// Calls `run` with the ConvolvedMixingKernels<blocks> that the window needs.
template <class Run>
void with_convolved_mixing(const KeyWindow& window, Run&& run) {
  if (built_blocks(window.blocks) == 2) {
    run(ConvolvedMixingKernels<2>{});
  } else {
    run(ConvolvedMixingKernels<3>{});
  }
}

/// Calls `run` with the MixingKernels<parts> that the plan needs.
template <class Run>
void with_mixing(const MixingPlan& plan, Run&& run) {
  if (plan.parts == 1) {
    run(MixingKernels<1>{});
  } else if (plan.parts == 2) {
    run(MixingKernels<2>{});
  } else {
    run(MixingKernels<4>{});
  }
}

/// A pointer that must be there, on a 16-byte boundary, with strides of whole 16-byte pieces.
Status check_tensor(const Tensor& x, const char* name);
Status check_workspace(const Workspace& workspace, std::size_t needed);
Status check_pointer(const void* pointer, const char* name);

}  // namespace mta::kernels
