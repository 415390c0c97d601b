// Drawing the bar and writing the lines.
#include "lib/train/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace mta {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kBarInterval{100};
constexpr milliseconds kLineInterval{10'000};
constexpr std::size_t kBarCells = 24;
constexpr double kPercent = 100;

}  // namespace

std::string duration_text(double seconds) {
  constexpr std::int64_t kMinute = 60, kHour = 3600;
  const auto whole = static_cast<std::int64_t>(std::llround(std::max(seconds, 0.0)));
  if (whole < kMinute) return fmt::format("{} s", whole);
  if (whole < kHour) return fmt::format("{} min {:02} s", whole / kMinute, whole % kMinute);
  return fmt::format("{} h {:02} min", whole / kHour, whole % kHour / kMinute);
}

double without_nan_sign(double value) {
  return std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : value;
}

Progress::Progress(std::ostream& out, ProgressKind kind, std::string label, std::int64_t first_step,
                   std::int64_t steps)
    : out_(out),
      kind_(kind),
      label_(std::move(label)),
      first_step_(first_step),
      step_(first_step),
      steps_(steps) {}

void Progress::step(std::int64_t step, std::optional<double> loss) {
  step_ = step;
  if (loss) loss_ = loss;
  if (kind_ == ProgressKind::None) return;
  const auto now = Clock::now();
  if (now - drawn_ < (kind_ == ProgressKind::Bar ? kBarInterval : kLineInterval)) return;
  drawn_ = now;
  draw();
}

void Progress::evaluated(const Evaluation& evaluation) {
  step_ = evaluation.step;
  err_seq_ = evaluation.scores.err_seq;
  drawn_ = Clock::now();
  draw();
}

void Progress::say(const std::string& line) {
  if (kind_ == ProgressKind::None) return;
  end_bar();
  out_ << label_ << ": " << line << '\n' << std::flush;
}

std::string Progress::state() const {
  std::string text = fmt::format("{}/{}", step_, steps_);
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const double rate = static_cast<double>(step_ - first_step_) / std::max(seconds, 1e-9);
  if (step_ > first_step_) text += fmt::format("  {:.3g} steps/s", rate);
  if (loss_) text += fmt::format("  loss {:.4f}", without_nan_sign(*loss_));
  if (err_seq_) text += fmt::format("  err_seq {:.1f} %", kPercent * *err_seq_);
  if (step_ > first_step_) {
    text += fmt::format("  {} left", duration_text(static_cast<double>(steps_ - step_) / rate));
  }
  return text;
}

void Progress::draw() {
  if (kind_ == ProgressKind::None) return;
  if (kind_ == ProgressKind::Plain) {
    out_ << label_ << ": " << state() << '\n' << std::flush;
    return;
  }
  const double share =
      static_cast<double>(step_) / static_cast<double>(std::max<std::int64_t>(steps_, 1));
  const auto full = std::min(static_cast<std::size_t>(share * kBarCells), kBarCells);
  std::string line =
      label_ + " [" + std::string(full, '#') + std::string(kBarCells - full, '.') + "] " + state();
  const std::size_t length = line.size();
  if (length < width_) line.append(width_ - length, ' ');  // wipe the rest of a longer line
  width_ = length;
  out_ << '\r' << line << std::flush;
  if (step_ >= steps_) end_bar();
}

void Progress::end_bar() {
  if (width_ == 0) return;
  out_ << '\n';
  width_ = 0;
}

}  // namespace mta
