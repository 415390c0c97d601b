// The learning rate as a pure function of the step.
#pragma once

#include "lib/train/config.h"

#include <cstdint>

namespace mta {

/// The rate of update `step`, 1 <= step <= config.steps. With u = (step - 1) updates behind it:
///
///     warm-up (u < warmup)   lr * step / warmup, so that the last of them has the full rate
///     constant               lr
///     linear                 lr to lr * final_lr_fraction over the steps after the warm-up
///     cosine                 the same along half a cosine
///     warmup_stable_decay    lr, then linear over the last steps * decay_fraction
///
/// A falling rate reaches its end value after the last update, so that no update has rate 0.
double learning_rate(const TrainConfig& config, std::int64_t step);

}  // namespace mta
