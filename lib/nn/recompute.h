// Work whose intermediate results are not kept for the backward pass but computed again in it.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace mta {

/// A function of tensors that gives the same bits whenever it is called on the same values, on any
/// thread.
using Work = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>& inputs)>;

/// work(inputs), of which backward finds only the inputs and calls `work` on them again (Chen et
/// al., arXiv 1604.06174). Gradients are bit for bit those of work(inputs), once each input that
/// other work uses too is given as often as `work` uses it, last use first: what is added up here
/// for an input is added to the rest in one piece.
///
/// `parameters`: every tensor beside the inputs that `work` reads and that wants a gradient, a leaf
/// each. Those that the innermost RoundedWeights of this thread holds are found rounded in both
/// passes. What else `work` reads must stay as it is until backward is done. Differentiable once;
/// backward may be captured in a CUDA graph where `work` may.
std::vector<at::Tensor> recomputed(const std::vector<at::Tensor>& inputs,
                                   const std::vector<at::Tensor>& parameters, const Work& work);

}  // namespace mta
