// Shows how far a sweep has come: a block of bars on a terminal, lines elsewhere.
#pragma once

#include "lib/sweep/run_state.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

namespace mta {

enum class OverviewKind { Bars, Plain, None };

/// A run that is under way.
struct RunLine {
  std::string name;
  RunProgress progress = {};
  std::int64_t steps = 0;
  std::optional<double> seconds_left = {};
};

struct SweepTotals {
  std::size_t points = 0;
  std::size_t done = 0;
  std::size_t failed = 0;
  std::size_t running = 0;
  std::size_t elsewhere = 0;  // locked by another sweep
  std::optional<double> seconds_left = {};
};

class Overview {
 public:
  /// `out` outlives this.
  Overview(std::ostream& out, OverviewKind kind) : out_(out), kind_(kind) {}
  ~Overview() { wipe(); }
  Overview(const Overview&) = delete;
  Overview& operator=(const Overview&) = delete;

  /// A line that stays, whatever the kind: failures.
  void say(const std::string& line);
  /// A line that stays, unless the kind is None.
  void note(const std::string& line);
  /// Bars are drawn anew; lines are written when ten seconds have passed since the last ones.
  void show(const std::vector<RunLine>& runs, const SweepTotals& totals);

 private:
  using Clock = std::chrono::steady_clock;

  void wipe();

  std::ostream& out_;
  OverviewKind kind_;
  std::size_t drawn_ = 0;  // lines of the block on the terminal
  Clock::time_point shown_ = Clock::now();
};

/// "multi_token-seed1  420/1200  loss 0.1234  err_seq 45.0 %  12 s left"; with a bar if asked.
std::string run_text(const RunLine& run, std::size_t name_width, OverviewKind kind);
/// "3 of 15 done, 1 failed, 2 running, 9 waiting  2 min 05 s left"
std::string totals_text(const SweepTotals& totals);
/// "48 s", "12 min 05 s", "3 h 20 min"
std::string time_text(double seconds);

}  // namespace mta
