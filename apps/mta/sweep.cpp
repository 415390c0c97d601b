// `mta sweep`: points from the sweep file, runs, failures once more, the table.
#include "apps/mta/sweep.h"

#include "apps/mta/commands.h"
#include "lib/core/description.h"
#include "lib/core/error.h"
#include "lib/core/version.h"
#include "lib/experiment/experiment.h"
#include "lib/sweep/sweep.h"
#include "lib/table/table.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <ostream>
#include <string_view>
#include <utility>
#include <vector>

namespace mta {
namespace {

using Names = std::vector<std::string>;

/// The place of `word` among `names`; throws UserError with the nearest one.
std::size_t choice(const std::string& flag, const std::string& word, const Names& names) {
  const auto found = std::find(names.begin(), names.end(), word);
  if (found == names.end()) throw UserError(flag, unknown_name_message("value", word, names));
  return static_cast<std::size_t>(found - names.begin());
}

OverviewKind overview_of(const std::string& word) {
  constexpr OverviewKind kKinds[] = {OverviewKind::Bars, OverviewKind::Plain, OverviewKind::None};
  const std::size_t place = choice("--progress", word, {"bar", "plain", "none", "auto"});
  if (place < std::size(kKinds)) return kKinds[place];
  return ::isatty(STDERR_FILENO) != 0 ? OverviewKind::Bars : OverviewKind::Plain;
}

/// "2/3" -> {2, 3}
std::pair<std::int64_t, std::int64_t> shard_numbers(const std::string& text) {
  std::int64_t index = 0, count = 0;
  const char* end = text.data() + text.size();
  const auto [slash, bad_index] = std::from_chars(text.data(), end, index);
  const bool has_slash = bad_index == std::errc() && slash != end && *slash == '/';
  const auto [stop, bad_count] = std::from_chars(has_slash ? slash + 1 : end, end, count);
  if (!has_slash || bad_count != std::errc() || stop != end || index < 1 || index > count) {
    throw UserError("--shard", fmt::format("must be i/n with 1 <= i <= n, but is \"{}\"", text),
                    "for example --shard 2/3");
  }
  return {index, count};
}

/// What the machine has for runs on `device`.
Machine machine_for(const std::string& device) {
  const std::size_t place = choice("--device", device, {"auto", "cuda", "cpu"});
  Machine machine = this_machine();
  constexpr std::size_t kCpu = 2;
  if (place == kCpu || version().cuda.empty()) machine.gpus.clear();
  return machine;
}

SweepRequest request_of(const SweepOptions& options) {
  SweepRequest request;
  request.out = options.out;
  request.program = {std::filesystem::read_symlink("/proc/self/exe").string()};
  request.file = "/proc/self/exe";  // this very program, even when a newer one takes its place
  request.machine = machine_for(options.device);
  const auto gpus = static_cast<std::int64_t>(request.machine.gpus.size());
  request.jobs = options.jobs.value_or(std::max<std::int64_t>(gpus, 1));
  if (request.jobs < 1) throw UserError("--jobs", "must be at least 1");
  if (options.retries < 0) throw UserError("--retries", "must be at least 0");
  request.retries = options.retries;
  request.on_failure = choice("--on-failure", options.on_failure, {"continue", "stop"}) == 0
                           ? OnFailure::Continue
                           : OnFailure::Stop;
  request.device = options.device;
  request.overview = overview_of(options.progress);
  return request;
}

/// Says again what went wrong, and what to do next.
int sum_up(const SweepResult& result, std::ostream& err) {
  for (const SweepFailure& failure : result.failures) {
    err << fmt::format("mta: error: {}: {}\n  hint: all that it printed is in {}\n", failure.name,
                       failure.error, failure.log.string());
  }
  if (result.done < result.points) {
    err << fmt::format(
        "mta: note: {} of {} runs are done; the same command goes on with the rest\n", result.done,
        result.points);
  }
  if (!result.failures.empty()) return kBadNumbers;
  return result.interrupted ? kFailed : kDone;
}

}  // namespace

int run_sweep(const SweepOptions& options, std::ostream& out, std::ostream& err) {
  const SweepRequest request = request_of(options);
  const std::vector<SweepPoint> all =
      sweep_points(read_sweep_file(options.file),
                   [](const Document& document) { return to_json(read_experiment(document)); });
  const auto [index, count] = shard_numbers(options.shard.empty() ? "1/1" : options.shard);
  const std::vector<SweepPoint> points = shard_of(all, index, count);
  if (options.dry_run) {
    out << dry_run_text(points, request);
    return kDone;
  }
  refuse_changed(request.out, all);
  write_plan(request.out, all);
  const SweepResult result = run_points(points, request, err);
  out << to_text(make_table(find_runs({request.out}), {}), TableFormat::Markdown) << std::flush;
  return sum_up(result, err);
}

}  // namespace mta
