// The result of one run, and report.json (schema mta.report/1).
#pragma once

#include "lib/core/json.h"
#include "lib/report/provenance.h"
#include "lib/train/config.h"
#include "lib/train/scores.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mta {

inline constexpr const char* kReportSchema = "mta.report/1";

enum class RunStatus { Done, Failed, Stopped };

/// The evaluations of one step, one a mode.
struct Summary {
  std::int64_t step = 0;
  std::string mode;                     // whose figures stand for the whole
  std::vector<Evaluation> evaluations;  // of that step
};

struct ParameterCounts {
  std::int64_t total = 0;
  std::vector<std::pair<std::string, std::int64_t>> by_part;
};

/// Which path computed a layer's attention, and why not the other one.
struct LayerPath {
  std::string path;  // "composed" or "fused"
  std::string reason;
};

/// Whether this process's updates were replayed from a graph.
struct StepTiming {
  bool captured = false;
  std::string reason;                    // why not; empty if they were
  std::int64_t replayed = 0, plain = 0;  // updates
};

struct Timing {
  std::optional<double> wall_s;       // all of the run, evaluation and set-up included
  std::optional<double> train_s;      // updates only
  std::optional<double> ms_per_step;  // median
  std::optional<double> tokens_per_s;
  std::optional<double> data_wait_s;  // time in which training waited for a batch
  std::optional<std::int64_t> peak_memory_bytes;
  std::optional<StepTiming> step = std::nullopt;
};

struct RunReport {
  std::string name;
  RunStatus status = RunStatus::Failed;
  std::optional<std::string> error;
  std::optional<std::string> stop_reason;  // "steps", "seconds", "err_seq", "signal"
  Json experiment = Json::object();        // resolved
  SeedsConfig seeds;
  ParameterCounts parameters;
  std::vector<LayerPath> attention_path;  // by layer
  std::int64_t steps = 0;                 // updates made
  std::optional<Summary> final_scores, best;
  std::vector<std::pair<std::string, std::optional<std::int64_t>>> steps_to;
  std::vector<Evaluation> evaluations;
  SliceCounts slices;  // of the final evaluation
  Timing timing;
  Provenance provenance;
};

/// Fills final_scores, best, steps_to and slices from `evaluations` (in step order), as `config`
/// says.
void summarise(RunReport& report, const std::vector<Evaluation>& evaluations,
               const EvaluateConfig& config);

/// Every key is there; what was not measured is null.
Json to_json(const RunReport& report);
/// Throws UserError naming `place` and the key when `json` is not such a report.
RunReport report_from_json(const Json& json, const std::string& place);

void write_report(const std::filesystem::path& path, const RunReport& report);
RunReport read_report(const std::filesystem::path& path);

}  // namespace mta
