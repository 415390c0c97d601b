// Reads config.json, report.json and the ends of the JSON lines.
#include "lib/sweep/run_state.h"

#include "lib/core/description.h"
#include "lib/core/document.h"
#include "lib/core/files.h"

#include <fmt/format.h>

#include <fstream>

namespace mta {
namespace {

namespace fs = std::filesystem;

constexpr const char* kThreads = "/train/threads";

Json read_json(const fs::path& path) { return parse_json(read_file(path), path.string()); }

void compare(const Json& before, const Json& now, const Json& given, const std::string& pointer,
             std::vector<std::string>& differences) {
  if (before == now || (pointer == kThreads && now.is_null())) return;
  if (!before.is_object() || !now.is_object()) {
    differences.push_back(fmt::format("{} is {}, but was {}", pointer, shown(now), shown(before)));
    return;
  }
  for (const auto& [key, value] : now.items()) {
    const std::string below = pointer + "/" + key;
    if (!before.contains(key) && !given.contains(Json::json_pointer(below))) continue;
    compare(before.value(key, Json()), value, given, below, differences);
  }
  for (const auto& [key, value] : before.items()) {
    if (!now.contains(key)) compare(value, Json(), given, pointer + "/" + key, differences);
  }
}

/// The last whole line of a file that another process may be writing to; null without one.
Json last_line(const fs::path& path) {
  constexpr std::streamoff kLongest = 1 << 16;  // an evaluation with its slices
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return nullptr;
  const std::streamoff size = file.tellg();
  const std::streamoff begin = std::max<std::streamoff>(0, size - kLongest);
  std::string text(static_cast<std::size_t>(size - begin), '\0');
  file.seekg(begin);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n'));
  const Json line = Json::parse(text.substr(text.rfind('\n') + 1), nullptr, false);
  return line.is_object() ? line : Json();
}

std::optional<double> number(const Json& line, const char* key) {
  if (!line.is_object() || !line.contains(key) || !line[key].is_number()) return std::nullopt;
  return line[key].get<double>();
}

}  // namespace

PointStatus inspect_run(const fs::path& directory, const Json& config, const Json& given) {
  PointStatus status;
  if (!fs::exists(directory / "config.json")) return status;
  const Json before = read_json(directory / "config.json");
  compare(before, config, given, "", status.differences);
  if (!status.differences.empty()) {
    status.state = PointState::Changed;
    return status;
  }
  const Json::json_pointer threads(kThreads);
  if (before.contains(threads) && before.at(threads).is_number_integer()) {
    status.threads = before.at(threads).get<std::int64_t>();
  }
  status.state = PointState::Unfinished;
  if (!fs::exists(directory / "report.json")) return status;
  const Json report = read_json(directory / "report.json");
  const std::string word = report.value("status", "");
  if (word == "done") status.state = PointState::Done;
  if (word == "failed") {
    status.state = PointState::Failed;
    const Json error = report.value("error", Json());
    if (error.is_string()) status.error = error.get<std::string>();
  }
  return status;
}

RunProgress run_progress(const fs::path& directory) {
  RunProgress progress;
  const Json metrics = last_line(directory / "metrics.jsonl");
  const Json evaluation = last_line(directory / "evaluations.jsonl");
  progress.loss = number(metrics, "loss");
  progress.err_seq = number(evaluation, "err_seq");
  const double step =
      std::max(number(metrics, "step").value_or(0), number(evaluation, "step").value_or(0));
  progress.step = static_cast<std::int64_t>(step);
  return progress;
}

}  // namespace mta
