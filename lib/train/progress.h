// Says how far a run has come: a bar on a terminal, lines elsewhere.
#pragma once

#include "lib/train/scores.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

namespace mta {

enum class ProgressKind { Bar, Plain, None };

class Progress {
 public:
  /// `out` outlives this. `first_step` updates were made before this run began; `label` names it.
  Progress(std::ostream& out, ProgressKind kind, std::string label, std::int64_t first_step,
           std::int64_t steps);

  /// After an update. A bar is redrawn at most ten times a second, a line written at most every ten
  /// seconds, so this may be called at every step.
  void step(std::int64_t step, std::optional<double> loss);
  /// After an evaluation: always shown.
  void evaluated(const Evaluation& evaluation);
  /// A line of its own ("stopped by signal at step 120").
  void say(const std::string& line);

 private:
  using Clock = std::chrono::steady_clock;

  std::string state() const;  // "120/1200  38.2 steps/s  loss 1.23  err_seq 45.0 %  29 s left"
  void draw();
  void end_bar();

  std::ostream& out_;
  ProgressKind kind_;
  std::string label_;
  std::int64_t first_step_, step_, steps_;
  std::optional<double> loss_, err_seq_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point drawn_ = start_;
  std::size_t width_ = 0;  // characters of the bar on the terminal
};

/// "48 s", "12 min 05 s", "3 h 20 min".
std::string duration_text(double seconds);

/// The same value, or nan without a sign: processors make -nan of 0 / 0, which says nothing more.
double without_nan_sign(double value);

}  // namespace mta
