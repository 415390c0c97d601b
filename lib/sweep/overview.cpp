// Draws the block of bars and writes the lines.
#include "lib/sweep/overview.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace mta {
namespace {

constexpr std::chrono::seconds kLineInterval{10};
constexpr std::size_t kBarCells = 20;
constexpr double kPercent = 100;

struct Terminal {
  std::size_t columns = 80;
  std::size_t rows = 24;
};

Terminal terminal() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) {
    return {};
  }
  return {.columns = size.ws_col, .rows = size.ws_row};
}

/// Cuts lines to what a terminal can show: one that wraps would take two, and the cursor cannot go
/// up past the top. The last line stays.
void fit(std::vector<std::string>& lines, const Terminal& terminal) {
  const std::size_t most = std::max<std::size_t>(terminal.rows, 4) - 1;
  if (lines.size() > most) {
    const std::size_t hidden = lines.size() - most + 1;
    const auto begin = lines.end() - 1 - static_cast<std::ptrdiff_t>(hidden);
    lines.insert(lines.erase(begin, lines.end() - 1), fmt::format("... and {} more", hidden));
  }
  for (std::string& line : lines) line = line.substr(0, terminal.columns - 1);
}

}  // namespace

std::string time_text(double seconds) {
  constexpr std::int64_t kMinute = 60, kHour = 3600;
  const auto whole = static_cast<std::int64_t>(std::llround(std::max(seconds, 0.0)));
  if (whole < kMinute) return fmt::format("{} s", whole);
  if (whole < kHour) return fmt::format("{} min {:02} s", whole / kMinute, whole % kMinute);
  return fmt::format("{} h {:02} min", whole / kHour, whole % kHour / kMinute);
}

std::string run_text(const RunLine& run, std::size_t name_width, OverviewKind kind) {
  std::string text = fmt::format("{:<{}}  ", run.name, name_width);
  if (kind == OverviewKind::Bars) {
    const double steps = static_cast<double>(std::max<std::int64_t>(run.steps, 1));
    const double share = std::clamp(static_cast<double>(run.progress.step) / steps, 0.0, 1.0);
    const auto full = static_cast<std::size_t>(share * kBarCells);
    text += fmt::format("[{}{}] ", std::string(full, '#'), std::string(kBarCells - full, '.'));
  }
  text += fmt::format("{}/{}", run.progress.step, run.steps);
  if (run.progress.loss) text += fmt::format("  loss {:.4f}", *run.progress.loss);
  if (run.progress.err_seq)
    text += fmt::format("  err_seq {:.1f} %", kPercent * *run.progress.err_seq);
  if (run.seconds_left) text += fmt::format("  {} left", time_text(*run.seconds_left));
  return text;
}

std::string totals_text(const SweepTotals& totals) {
  std::string text = fmt::format("{} of {} done", totals.done, totals.points);
  const std::size_t waiting =
      totals.points - totals.done - totals.failed - totals.running - totals.elsewhere;
  if (totals.failed > 0) text += fmt::format(", {} failed", totals.failed);
  if (totals.running > 0) text += fmt::format(", {} running", totals.running);
  if (totals.elsewhere > 0) text += fmt::format(", {} run by another sweep", totals.elsewhere);
  if (waiting > 0) text += fmt::format(", {} waiting", waiting);
  if (totals.seconds_left) text += fmt::format("  {} left", time_text(*totals.seconds_left));
  return text;
}

void Overview::say(const std::string& line) {
  wipe();
  out_ << line << '\n' << std::flush;
}

void Overview::note(const std::string& line) {
  if (kind_ != OverviewKind::None) say(line);
}

void Overview::show(const std::vector<RunLine>& runs, const SweepTotals& totals) {
  if (kind_ == OverviewKind::None) return;
  if (kind_ == OverviewKind::Plain && Clock::now() - shown_ < kLineInterval) return;
  shown_ = Clock::now();
  std::size_t name_width = 0;
  for (const RunLine& run : runs) name_width = std::max(name_width, run.name.size());
  std::vector<std::string> lines;
  for (const RunLine& run : runs) lines.push_back(run_text(run, name_width, kind_));
  lines.push_back(totals_text(totals));
  if (kind_ == OverviewKind::Bars) fit(lines, terminal());
  wipe();
  for (const std::string& line : lines) out_ << line << '\n';
  out_ << std::flush;
  if (kind_ == OverviewKind::Bars) drawn_ = lines.size();
}

void Overview::wipe() {
  // Up by as many lines as were drawn, then clear to the end of the screen.
  if (drawn_ > 0) out_ << fmt::format("\033[{}A\r\033[J", drawn_) << std::flush;
  drawn_ = 0;
}

}  // namespace mta
