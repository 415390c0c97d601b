// RunReport to JSON and back.
#include "lib/report/report.h"

#include "lib/core/document.h"
#include "lib/core/error.h"
#include "lib/core/files.h"

#include <fmt/format.h>

#include <algorithm>

namespace mta {
namespace {

const std::vector<std::pair<RunStatus, std::string>> kStatuses = {
    {RunStatus::Done, "done"}, {RunStatus::Failed, "failed"}, {RunStatus::Stopped, "stopped"}};

/// The modes that a summary has a block for, measured or not.
std::vector<std::string> block_names() {
  std::vector<std::string> names = evaluation_modes();
  names.emplace_back("greedy");
  return names;
}

std::string status_name(RunStatus status) {
  for (const auto& [candidate, name] : kStatuses) {
    if (candidate == status) return name;
  }
  return {};
}

RunStatus status_of(const std::string& name) {
  for (const auto& [status, candidate] : kStatuses) {
    if (candidate == name) return status;
  }
  throw UserError("status", fmt::format("is \"{}\" (known: done, failed, stopped)", name));
}

Json figures(const Evaluation& evaluation) {
  Json json = to_json(evaluation);
  json.erase("split");
  json.erase("mode");
  return json;
}

/// The figures of the deciding mode, then a block for each mode.
Json to_json(const std::optional<Summary>& summary) {
  if (!summary) return nullptr;
  Json json = {{"step", summary->step}, {"mode", summary->mode}};
  for (const std::string& mode : block_names()) json[mode] = nullptr;
  for (const Evaluation& evaluation : summary->evaluations) {
    if (evaluation.mode == summary->mode) json.update(figures(evaluation));
    json[evaluation.mode] = figures(evaluation);
  }
  return json;
}

std::optional<Summary> summary_from_json(const Json& json) {
  if (json.is_null()) return std::nullopt;
  Summary summary{.step = json.at("step").get<std::int64_t>(),
                  .mode = json.at("mode").get<std::string>(),
                  .evaluations = {}};
  for (const std::string& mode : block_names()) {
    if (json.at(mode).is_null()) continue;
    Json evaluation = json.at(mode);
    evaluation["split"] = "test";
    evaluation["mode"] = mode;
    summary.evaluations.push_back(evaluation_from_json(evaluation));
  }
  return summary;
}

Summary summary_of(const std::vector<Evaluation>& evaluations, std::int64_t step,
                   const std::string& mode) {
  Summary summary{.step = step, .mode = mode, .evaluations = {}};
  std::copy_if(evaluations.begin(), evaluations.end(), std::back_inserter(summary.evaluations),
               [&](const Evaluation& e) { return e.step == step; });
  return summary;
}

Json to_json(const StepTiming& step) {
  return {{"captured", step.captured},
          {"reason", step.reason},
          {"replayed", step.replayed},
          {"plain", step.plain}};
}

/// Reports from before there was one have none.
std::optional<StepTiming> step_timing_from_json(const Json& timing) {
  const auto found = timing.find("step");
  if (found == timing.end() || found->is_null()) return std::nullopt;
  return StepTiming{.captured = found->at("captured").get<bool>(),
                    .reason = found->at("reason").get<std::string>(),
                    .replayed = found->at("replayed").get<std::int64_t>(),
                    .plain = found->at("plain").get<std::int64_t>()};
}

Json to_json(const Timing& timing) {
  return {{"wall_s", or_null(timing.wall_s)},
          {"train_s", or_null(timing.train_s)},
          {"ms_per_step", or_null(timing.ms_per_step)},
          {"tokens_per_s", or_null(timing.tokens_per_s)},
          {"data_wait_s", or_null(timing.data_wait_s)},
          {"peak_memory_bytes", or_null(timing.peak_memory_bytes)},
          {"step", timing.step ? to_json(*timing.step) : Json(nullptr)}};
}

Timing timing_from_json(const Json& json) {
  return {.wall_s = optional_from_json<double>(json.at("wall_s")),
          .train_s = optional_from_json<double>(json.at("train_s")),
          .ms_per_step = optional_from_json<double>(json.at("ms_per_step")),
          .tokens_per_s = optional_from_json<double>(json.at("tokens_per_s")),
          .data_wait_s = optional_from_json<double>(json.at("data_wait_s")),
          .peak_memory_bytes = optional_from_json<std::int64_t>(json.at("peak_memory_bytes")),
          .step = step_timing_from_json(json)};
}

RunReport parse(const Json& json) {
  RunReport report;
  json.at("name").get_to(report.name);
  report.status = status_of(json.at("status").get<std::string>());
  report.error = optional_from_json<std::string>(json.at("error"));
  report.stop_reason = optional_from_json<std::string>(json.at("stop_reason"));
  report.experiment = json.at("experiment");
  json.at("seeds").at("weights").get_to(report.seeds.weights);
  json.at("seeds").at("data").get_to(report.seeds.data);
  json.at("seeds").at("train").get_to(report.seeds.train);
  json.at("parameters").at("total").get_to(report.parameters.total);
  for (const auto& [part, count] : json.at("parameters").at("by_part").items()) {
    report.parameters.by_part.emplace_back(part, count.get<std::int64_t>());
  }
  const Json& paths = json.at("attention_path");
  const Json& reasons = json.at("attention_path_reason");
  for (std::size_t i = 0; i < paths.size(); ++i) {
    report.attention_path.push_back(
        {paths.at(i).get<std::string>(), reasons.at(i).get<std::string>()});
  }
  json.at("steps").get_to(report.steps);
  report.final_scores = summary_from_json(json.at("final"));
  report.best = summary_from_json(json.at("best"));
  for (const auto& [threshold, step] : json.at("steps_to").items()) {
    report.steps_to.emplace_back(threshold, optional_from_json<std::int64_t>(step));
  }
  for (const Json& evaluation : json.at("evaluations")) {
    report.evaluations.push_back(evaluation_from_json(evaluation));
  }
  report.slices = slices_from_json(json.at("slices"));
  report.timing = timing_from_json(json.at("timing"));
  report.provenance = provenance_from_json(json.at("provenance"));
  return report;
}

}  // namespace

void summarise(RunReport& report, const std::vector<Evaluation>& evaluations,
               const EvaluateConfig& config) {
  report.evaluations = evaluations;
  const std::string& mode = config.modes.front();
  for (const double threshold : config.thresholds) {
    report.steps_to.emplace_back(fmt::format("err_seq<{}", threshold),
                                 first_step_below(evaluations, mode, threshold));
  }
  if (evaluations.empty()) return;
  report.final_scores = summary_of(evaluations, evaluations.back().step, mode);
  if (const auto step = best_step(evaluations, mode)) {
    report.best = summary_of(evaluations, *step, mode);
  }
  for (const Evaluation& evaluation : report.final_scores->evaluations) {
    if (evaluation.mode == mode) report.slices = evaluation.scores.slices;
  }
}

Json to_json(const RunReport& report) {
  Json json = {{"schema", kReportSchema},
               {"name", report.name},
               {"status", status_name(report.status)},
               {"error", or_null(report.error)},
               {"stop_reason", or_null(report.stop_reason)},
               {"experiment", report.experiment},
               {"seeds",
                {{"weights", report.seeds.weights},
                 {"data", report.seeds.data},
                 {"train", report.seeds.train}}},
               {"parameters", {{"total", report.parameters.total}, {"by_part", Json::object()}}},
               {"attention_path", Json::array()},
               {"attention_path_reason", Json::array()},
               {"steps", report.steps},
               {"final", to_json(report.final_scores)},
               {"best", to_json(report.best)},
               {"steps_to", Json::object()},
               {"evaluations", Json::array()},
               {"slices", to_json(report.slices)},
               {"timing", to_json(report.timing)},
               {"provenance", to_json(report.provenance)}};
  for (const auto& [part, count] : report.parameters.by_part) {
    json["parameters"]["by_part"][part] = count;
  }
  for (const LayerPath& layer : report.attention_path) {
    json["attention_path"].push_back(layer.path);
    json["attention_path_reason"].push_back(layer.reason);
  }
  for (const auto& [threshold, step] : report.steps_to) json["steps_to"][threshold] = or_null(step);
  for (const Evaluation& evaluation : report.evaluations) {
    json["evaluations"].push_back(to_json(evaluation));
  }
  return json;
}

RunReport report_from_json(const Json& json, const std::string& place) {
  if (!json.is_object() || json.value("schema", "") != kReportSchema) {
    throw UserError(place,
                    fmt::format("is not a report (\"schema\" must be \"{}\")", kReportSchema));
  }
  try {
    return parse(json);
  } catch (const Json::exception& error) {
    throw UserError(place, fmt::format("is not a whole report: {}", error.what()));
  }
}

void write_report(const std::filesystem::path& path, const RunReport& report) {
  constexpr int kIndent = 2;
  write_file_atomically(
      path, to_json(report).dump(kIndent, ' ', false, Json::error_handler_t::replace) + '\n');
}

RunReport read_report(const std::filesystem::path& path) {
  return report_from_json(parse_json(read_file(path), path.string()), path.string());
}

}  // namespace mta
