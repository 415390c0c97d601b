// Locks and checks of a run's folder.
#include "lib/run/run_directory.h"

#include "lib/core/description.h"
#include "lib/core/document.h"
#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/experiment/experiment.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace mta {
namespace {

/// "/train/steps is 600, but was 500" for every value that differs.
void compare(const Json& before, const Json& now, const std::string& pointer,
             std::vector<std::string>& differences) {
  if (before == now) return;
  if (!before.is_object() || !now.is_object()) {
    differences.push_back(fmt::format("{} is {}, but was {}", pointer, shown(now), shown(before)));
    return;
  }
  for (const auto& [key, value] : now.items()) {
    const Json absent;
    compare(before.contains(key) ? before.at(key) : absent, value, pointer + '/' + key,
            differences);
  }
  for (const auto& [key, value] : before.items()) {
    if (!now.contains(key)) compare(value, Json(), pointer + '/' + key, differences);
  }
}

/// With the defaults of keys that an older program did not know. As it is when this program cannot
/// read it: what differs is then named by comparing.
Json with_defaults(const Json& config) {
  try {
    return to_json(read_experiment({.root = config, .origins = {}}));
  } catch (const UserError&) {
    return config;
  }
}

}  // namespace

RunFiles::RunFiles(std::filesystem::path run_directory)
    : directory(std::move(run_directory)),
      config(directory / "config.json"),
      metrics(directory / "metrics.jsonl"),
      evaluations(directory / "evaluations.jsonl"),
      report(directory / "report.json"),
      checkpoint(directory / "checkpoint"),
      lock(directory / ".lock") {}

RunLock::RunLock(const RunFiles& files) {
  std::error_code error;
  std::filesystem::create_directories(files.directory, error);
  if (error) throw UserError(files.directory.string(), "cannot be made: " + error.message());
  constexpr int kReadableByAll = 0644;
  descriptor_ = ::open(files.lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kReadableByAll);
  if (descriptor_ < 0) {
    throw UserError(files.directory.string(),
                    fmt::format("cannot be written to: {}", std::strerror(errno)));
  }
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    ::close(descriptor_);
    throw UserError(files.directory.string(), "another process is training in this folder");
  }
}

RunLock::~RunLock() { ::close(descriptor_); }

std::optional<RunReport> finished_report(const RunFiles& files) {
  if (!std::filesystem::exists(files.report)) return std::nullopt;
  RunReport report = read_report(files.report);
  if (report.status != RunStatus::Done) return std::nullopt;
  return report;
}

void check_may_run(const RunFiles& files, const Json& config, bool resume) {
  if (!std::filesystem::exists(files.config)) return;
  if (!resume) {
    const bool finished = finished_report(files).has_value();
    throw UserError(
        files.directory.string(),
        finished ? "holds a finished run" : "holds a run that has not finished",
        finished ? "choose another --out" : "go on with --resume, or choose another --out");
  }
  std::vector<std::string> differences;
  const Json begun = begun_config(files, config);
  if (begun != config) compare(with_defaults(begun), config, "", differences);
  std::vector<Problem> problems;
  for (std::string& difference : differences) {
    problems.push_back({files.config.string(), std::move(difference), {}});
  }
  if (problems.empty()) return;
  problems.back().hint = "a run resumes with the experiment that it began with";
  throw UserError(std::move(problems));
}

Json begun_config(const RunFiles& files, const Json& config) {
  if (!std::filesystem::exists(files.config)) return config;
  return parse_json(read_file(files.config), files.config.string());
}

std::string config_hash(const Json& config) {
  std::uint64_t hash = 14695981039346656037u;
  for (const char c : config.dump()) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return fmt::format("{:016x}", hash);
}

}  // namespace mta
