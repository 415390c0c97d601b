// `mta eval`: scores a trained model on fresh or given samples.
#include "apps/mta/commands.h"
#include "lib/core/description.h"
#include "lib/run/trained.h"

#include <fmt/ostream.h>

#include <ostream>

namespace mta {
namespace {

/// One mode name for the library: generation has no teacher, so no other mode goes with it.
std::string mode_of(const EvalOptions& options) {
  std::vector<std::string> modes = evaluation_modes();
  if (std::find(modes.begin(), modes.end(), options.mode) == modes.end()) {
    throw UserError("--mode " + options.mode, unknown_name_message("mode", options.mode, modes));
  }
  if (options.decode == "teacher") return options.mode;
  if (options.decode != "greedy") {
    throw UserError("--decode " + options.decode,
                    unknown_name_message("decoding", options.decode, {"teacher", "greedy"}));
  }
  if (options.mode != "correct") {
    throw UserError("--decode greedy", "cannot go with --mode " + options.mode,
                    "the reference mode is defined for teacher-forced scores");
  }
  return "greedy";
}

/// Only the slices that were asked for; a name that the task does not have is refused.
SliceCounts chosen_slices(const SliceCounts& slices, const std::vector<std::string>& names) {
  std::vector<std::string> known;
  for (const auto& [name, unused] : slices) known.push_back(name);
  SliceCounts chosen;
  for (const std::string& name : names) {
    const auto found = slices.find(name);
    if (found == slices.end()) {
      throw UserError("--by " + name, unknown_name_message("slice", name, known));
    }
    chosen.insert(*found);
  }
  return chosen;
}

std::string percent(const std::optional<double>& share) {
  return share ? fmt::format("{:.2f} %", 100 * *share) : std::string("not measured");
}

void print(const Evaluation& evaluation, const SliceCounts& slices, std::ostream& out) {
  const Scores& scores = evaluation.scores;
  fmt::print(out, "step {}, {} samples of {}, mode {}\n", evaluation.step, scores.scored,
             evaluation.split, evaluation.mode);
  fmt::print(out, "err_seq {}\nerr_tok {}\n", percent(scores.err_seq), percent(scores.err_tok));
  if (scores.loss) fmt::print(out, "loss    {:.4f} nats a token\n", *scores.loss);
  for (const auto& [name, values] : slices) {
    fmt::print(out, "\n{:<20} {:>8} {:>10}   95 % interval\n", name, "samples", "exact");
    for (const auto& [value, slice] : values) {
      const auto [low, high] = wilson_interval(slice);
      fmt::print(out, "{:<20} {:>8} {:>8.1f} %   {:.1f} to {:.1f} %\n", value, slice.count,
                 100.0 * static_cast<double>(slice.correct) / static_cast<double>(slice.count),
                 100 * low, 100 * high);
    }
  }
}

}  // namespace

int run_eval(const EvalOptions& options, std::ostream& out) {
  EvaluateRunOptions request;
  request.mode = mode_of(options);
  if (!options.data.empty()) request.data = options.data;
  request.settings = options.settings;
  if (options.samples) request.samples = static_cast<std::int64_t>(*options.samples);
  const TrainedModel trained = load_trained(options.run, options.device);
  const Evaluation evaluation = evaluate_trained(trained, request);
  const SliceCounts slices = chosen_slices(evaluation.scores.slices, options.by);
  if (options.json) {
    Json json = to_json(evaluation);
    json["slices"] = to_json(slices);
    out << json.dump(2) << '\n';
  } else {
    print(evaluation, slices, out);
  }
  return kDone;
}

}  // namespace mta
