// Warm-up and the four shapes of the learning rate.
#include "lib/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace mta {

double learning_rate(const TrainConfig& config, std::int64_t step) {
  if (step <= config.warmup) {
    return config.lr * static_cast<double>(step) / static_cast<double>(config.warmup);
  }
  const auto steps = static_cast<double>(config.steps);
  const auto left = static_cast<double>(config.steps - step + 1);  // this update and those after it
  const auto after_warmup = static_cast<double>(config.steps - config.warmup);
  double height = 1;  // 1 = lr, 0 = lr * final_lr_fraction
  switch (config.schedule) {
    case Schedule::Constant:
      return config.lr;
    case Schedule::Linear:
      height = left / after_warmup;
      break;
    case Schedule::Cosine:
      height = (1 - std::cos(std::numbers::pi * left / after_warmup)) / 2;
      break;
    case Schedule::WarmupStableDecay:
      height = std::min(1.0, left / std::min(steps * config.decay_fraction, after_warmup));
      break;
  }
  return config.lr * (config.final_lr_fraction + (1 - config.final_lr_fraction) * height);
}

}  // namespace mta
