// Puts commands together, and what goes on around a run: shards, the plan, refusals, the dry run.
#include "lib/sweep/command.h"

#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/table/runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string_view>

namespace mta {
namespace {

constexpr const char* kThreads = "/train/threads";

std::optional<std::int64_t> whole_number(const Json& config, const char* pointer) {
  const Json::json_pointer at(pointer);
  if (!config.contains(at) || !config.at(at).is_number_integer()) return std::nullopt;
  return config.at(at).get<std::int64_t>();
}

std::string state_text(PointState state) {
  switch (state) {
    case PointState::Missing:
      return "missing";
    case PointState::Unfinished:
      return "unfinished";
    case PointState::Failed:
      return "failed";
    case PointState::Done:
      return "done";
    case PointState::Changed:
      return "changed";
  }
  return {};
}

}  // namespace

std::vector<std::string> train_command(const SweepPoint& point, const PointStatus& status,
                                       const Share& share, const SweepRequest& request) {
  std::vector<std::string> command = request.program;
  command.insert(command.end(), {"train", point.experiment.string()});
  const auto set = [&](const std::string& pointer, const Json& value) {
    command.insert(command.end(), {"--set", setting_text(pointer, value)});
  };
  for (const auto& [pointer, value] : point.settings) set(pointer, value);
  if (!whole_number(point.config, kThreads)) set(kThreads, share.threads);
  command.insert(command.end(), {"--out", (request.out / point.name).string(), "--device",
                                 request.device, "--progress", "plain"});
  if (status.state != PointState::Missing) command.emplace_back("--resume");
  return command;
}

std::optional<std::int64_t> threads_of(const SweepPoint& point, const PointStatus& status) {
  if (const auto wanted = whole_number(point.config, kThreads)) return wanted;
  return status.threads;
}

std::int64_t steps_of(const SweepPoint& point) {
  return whole_number(point.config, "/train/steps").value_or(0);
}

std::string shell_text(const std::vector<std::string>& arguments) {
  constexpr std::string_view kPlain = "_-./=,:+@%";
  std::string text;
  for (const std::string& argument : arguments) {
    const bool plain =
        !argument.empty() && std::all_of(argument.begin(), argument.end(), [&](char c) {
          return std::isalnum(static_cast<unsigned char>(c)) != 0 || kPlain.find(c) != kPlain.npos;
        });
    if (!text.empty()) text += ' ';
    if (plain) {
      text += argument;
      continue;
    }
    text += '\'';
    for (const char c : argument) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
    text += '\'';
  }
  return text;
}

std::vector<SweepPoint> shard_of(const std::vector<SweepPoint>& points, std::int64_t index,
                                 std::int64_t count) {
  std::vector<SweepPoint> shard;
  for (auto i = static_cast<std::size_t>(index - 1); i < points.size();
       i += static_cast<std::size_t>(count)) {
    shard.push_back(points[i]);
  }
  return shard;
}

void write_plan(const std::filesystem::path& out, const std::vector<SweepPoint>& points) {
  Json plan = {{"schema", kPlanSchema}, {"runs", Json::array()}};
  for (const SweepPoint& point : points) {
    plan["runs"].push_back({{"name", point.name}, {"experiment", point.config}});
  }
  std::filesystem::create_directories(out);
  write_file_atomically(out / kPlanFile, plan.dump(2) + '\n');
}

void refuse_changed(const std::filesystem::path& out, const std::vector<SweepPoint>& points) {
  std::vector<Problem> problems;
  for (const SweepPoint& point : points) {
    const PointStatus status = inspect_run(out / point.name, point.config, point.given);
    for (const std::string& difference : status.differences) {
      problems.push_back({(out / point.name).string(), difference, {}});
    }
  }
  if (problems.empty()) return;
  problems.back().hint = "choose another --out, or move the run directories named above away";
  throw UserError(std::move(problems));
}

std::string dry_run_text(const std::vector<SweepPoint>& points, const SweepRequest& request) {
  const Shares shares(request.machine, request.jobs);
  std::string text;
  for (const SweepPoint& point : points) {
    const PointStatus status = inspect_run(request.out / point.name, point.config, point.given);
    const Share share{.threads = threads_of(point, status).value_or(shares.usual_threads()),
                      .gpu = {}};
    text += fmt::format("{}  {}  {}\n", point.name, state_text(status.state),
                        shell_text(train_command(point, status, share, request)));
  }
  return text;
}

}  // namespace mta
