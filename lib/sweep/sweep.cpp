// The loop of a sweep: start what fits, wait, look at what has ended.
#include "lib/sweep/sweep.h"

#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/sweep/child.h"
#include "lib/sweep/command.h"
#include "lib/sweep/failure.h"
#include "lib/sweep/signals.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <fstream>
#include <optional>
#include <utility>

namespace mta {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kGlance{200};         // between two looks at the runs' progress
constexpr milliseconds kElsewhereWait{500};  // before asking again for a lock that somebody holds

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// A point that has to be run.
struct Waiting {
  const SweepPoint* point;
  std::int64_t tries = 0;
  std::optional<PointLock> lock = {};  // kept between two tries
  bool elsewhere = false;              // another sweep had it when we last asked
  Clock::time_point not_before = {};
};

/// A point whose process is alive.
struct Running {
  Waiting what;
  pid_t process;
  Share share;
  std::int64_t first_step;
  std::streamoff log_begin;  // where this try begins in the log
  Clock::time_point start;
  RunProgress progress;
};

class Sweep {
 public:
  Sweep(const std::vector<SweepPoint>& points, const SweepRequest& request, std::ostream& log)
      : request_(request),
        shares_(request.machine, request.jobs),
        overview_(log, request.overview) {
    result_.points = points.size();
    for (const SweepPoint& point : points) {
      if (state_of(point).state == PointState::Done) {
        ++result_.done;
      } else {
        waiting_.push_back({.point = &point});
      }
    }
  }

  SweepResult run() {
    announce();
    while (!running_.empty() || (!waiting_.empty() && may_start())) {
      if (may_start()) start_what_fits();
      if (running_.empty() && waiting_.empty()) break;
      react(signals_.wait(kGlance));
      collect_ended();
      show();
    }
    return std::move(result_);
  }

 private:
  bool may_start() const {
    const bool stopped = request_.on_failure == OnFailure::Stop && !result_.failures.empty();
    return !result_.interrupted && !stopped;
  }

  fs::path directory(const SweepPoint& point) const { return request_.out / point.name; }
  fs::path log(const SweepPoint& point) const { return directory(point) / kRunLog; }
  PointStatus state_of(const SweepPoint& point) const {
    return inspect_run(directory(point), point.config, point.given);
  }

  void announce() {
    overview_.note(fmt::format("{} runs, {} done already; {} at a time, {} {} each", result_.points,
                               result_.done, shares_.jobs(), shares_.usual_threads(),
                               shares_.usual_threads() == 1 ? "thread" : "threads"));
    if (shares_.jobs() < request_.jobs) {
      overview_.note(fmt::format("{} at a time were asked for, but there are {} cores",
                                 request_.jobs, shares_.jobs()));
    }
  }

  void start_what_fits() {
    for (std::size_t left = waiting_.size(); left > 0 && shares_.has_room(); --left) {
      Waiting next = std::move(waiting_.front());
      waiting_.pop_front();
      if (Clock::now() < next.not_before || !try_to_start(next))
        waiting_.push_back(std::move(next));
    }
  }

  /// False when it has to wait on.
  bool try_to_start(Waiting& next) {
    const SweepPoint& point = *next.point;
    try {
      if (!next.lock) next.lock = PointLock::take(directory(point));
      if (!next.lock) {
        if (!next.elsewhere) overview_.note("elsewhere  " + point.name + "  another sweep runs it");
        next.elsewhere = true;
        next.not_before = Clock::now() + kElsewhereWait;
        return false;
      }
      // Only now nobody else can change it.
      const PointStatus status = state_of(point);
      if (settled_elsewhere(next, status)) return true;
      const auto share = shares_.take(threads_of(point, status));
      if (!share) {
        if (next.tries == 0) next.lock.reset();
        return false;
      }
      launch(next, status, *share);
    } catch (const std::exception& error) {
      fail(next, error.what());
    }
    return true;
  }

  /// What another sweep has done with the point meanwhile.
  bool settled_elsewhere(Waiting& next, const PointStatus& status) {
    if (status.state == PointState::Done) {
      ++result_.done;
      overview_.note("done       " + next.point->name + "  by another sweep");
      return true;
    }
    if (status.state == PointState::Changed ||
        (next.elsewhere && status.state == PointState::Failed)) {
      result_.failures.push_back(
          {next.point->name, failure_text({}, {}, status), log(*next.point)});
      overview_.say("failed     " + next.point->name + "  " + result_.failures.back().error);
      return true;
    }
    next.elsewhere = false;
    return false;
  }

  void launch(Waiting& next, const PointStatus& status, const Share& share) {
    const SweepPoint& point = *next.point;
    ChildCommand command;
    command.arguments = train_command(point, status, share, request_);
    command.file = request_.file;
    if (!share.gpu.empty()) command.environment = {{"CUDA_VISIBLE_DEVICES", share.gpu}};
    command.log = log(point);
    command.lock = next.lock->descriptor();
    command.signals = signals_.before();
    std::ofstream(command.log, std::ios::app) << "$ " << shell_text(command.arguments) << '\n';
    const auto log_begin = static_cast<std::streamoff>(fs::file_size(command.log));
    const std::int64_t first_step = run_progress(directory(point)).step;
    pid_t process = 0;
    try {
      process = start_child(command);
    } catch (...) {
      shares_.give_back(share);
      throw;
    }
    if (request_.overview == OverviewKind::Plain) {
      overview_.note(fmt::format("{}    {}", first_step > 0 ? "resumed" : "started", point.name));
    }
    running_.push_back({.what = std::move(next),
                        .process = process,
                        .share = share,
                        .first_step = first_step,
                        .log_begin = log_begin,
                        .start = Clock::now(),
                        .progress = {.step = first_step, .loss = {}, .err_seq = {}}});
  }

  void react(int signal) {
    if (signal == 0 || signal == SIGCHLD) return;
    overview_.say(result_.interrupted
                      ? "killing the runs"
                      : "stopping: the runs save a checkpoint (once more kills them)");
    for (const Running& run : running_)
      ::kill(run.process, result_.interrupted ? SIGKILL : SIGTERM);
    result_.interrupted = true;
  }

  void collect_ended() {
    for (std::size_t i = 0; i < running_.size();) {
      const auto end = ended(running_[i].process);
      if (!end) {
        ++i;
        continue;
      }
      Running run = std::move(running_[i]);
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
      shares_.give_back(run.share);
      finish(run, *end);
    }
  }

  void finish(Running& run, const ChildEnd& end) {
    const SweepPoint& point = *run.what.point;
    run.progress = run_progress(directory(point));
    steps_ended_ += run.progress.step - run.first_step;
    PointStatus status;
    try {
      status = state_of(point);
    } catch (const std::exception& error) {
      return fail(run.what, error.what());
    }
    if (status.state == PointState::Done) {
      ++result_.done;
      const auto err_seq = run.progress.err_seq;
      overview_.note(fmt::format("done       {}{}  {}", point.name,
                                 err_seq ? fmt::format("  err_seq {:.1f} %", 100 * *err_seq) : "",
                                 time_text(seconds_since(run.start))));
      return;
    }
    if (result_.interrupted && status.state != PointState::Failed) {
      overview_.note(fmt::format("stopped    {}  at step {}", point.name, run.progress.step));
      return;
    }
    fail(run.what, failure_text(end, output_of(run), status));
  }

  std::string output_of(const Running& run) const {
    std::ifstream file(log(*run.what.point), std::ios::binary);
    file.seekg(run.log_begin);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  void fail(Waiting& what, const std::string& error) {
    const bool again = what.tries < request_.retries && may_start();
    overview_.say(fmt::format("failed     {}  {}{}", what.point->name, error,
                              again ? "  (trying again)" : ""));
    if (again) {
      ++what.tries;
      waiting_.push_back(std::move(what));
    } else {
      result_.failures.push_back({what.point->name, error, log(*what.point)});
    }
  }

  void show() {
    std::vector<RunLine> lines;
    SweepTotals totals{.points = result_.points,
                       .done = result_.done,
                       .failed = result_.failures.size(),
                       .running = running_.size()};
    for (const Waiting& waiting : waiting_) totals.elsewhere += waiting.elsewhere ? 1 : 0;
    std::int64_t steps = steps_ended_, steps_left = 0;
    double longest = 0;
    for (Running& run : running_) {
      run.progress = run_progress(directory(*run.what.point));
      const std::int64_t all = steps_of(*run.what.point), made = run.progress.step - run.first_step;
      RunLine& line = lines.emplace_back(RunLine{run.what.point->name, run.progress, all, {}});
      steps += made;
      steps_left += all - run.progress.step;
      if (made <= 0) continue;
      line.seconds_left = seconds_since(run.start) * static_cast<double>(all - run.progress.step) /
                          static_cast<double>(made);
      longest = std::max(longest, *line.seconds_left);
    }
    for (const Waiting& waiting : waiting_) steps_left += steps_of(*waiting.point);
    if (steps > 0) {
      const double at_this_rate =
          seconds_since(start_) * static_cast<double>(steps_left) / static_cast<double>(steps);
      totals.seconds_left = std::max(at_this_rate, longest);
    }
    overview_.show(lines, totals);
  }

  const SweepRequest& request_;
  const WaitingSignals signals_;
  Shares shares_;
  Overview overview_;
  std::deque<Waiting> waiting_;
  std::vector<Running> running_;
  SweepResult result_;
  std::int64_t steps_ended_ = 0;  // made in this call by processes that have ended
  Clock::time_point start_ = Clock::now();
};

}  // namespace

SweepResult run_points(const std::vector<SweepPoint>& points, const SweepRequest& request,
                       std::ostream& log) {
  return Sweep(points, request, log).run();
}

}  // namespace mta
