// `mta train`: one run, from an experiment file to a report.
#include "lib/run/train.h"

#include "apps/mta/commands.h"
#include "lib/core/document.h"
#include "lib/experiment/experiment.h"

#include <fmt/ostream.h>
#include <unistd.h>

#include <ostream>

namespace mta {
namespace {

ProgressKind progress_of(const std::string& name) {
  if (name == "auto") return isatty(STDERR_FILENO) != 0 ? ProgressKind::Bar : ProgressKind::Plain;
  if (name == "bar") return ProgressKind::Bar;
  if (name == "plain") return ProgressKind::Plain;
  if (name == "none") return ProgressKind::None;
  throw UserError("--progress " + name,
                  unknown_name_message("progress", name, {"auto", "bar", "plain", "none"}));
}

}  // namespace

int run_train(const TrainOptions& options, std::ostream& out, std::ostream& err) {
  const RunOptions run = {.directory = options.out,
                          .resume = options.resume,
                          .device = options.device,
                          .progress = progress_of(options.progress),
                          .log = &err,
                          .command_line = options.command_line};
  const Experiment experiment =
      read_experiment(load_document(options.experiment, options.settings));
  const RunResult result = run_training(experiment, run);
  if (result.was_complete) {
    err << "mta: note: " << options.out.string() << " is complete: nothing to resume\n";
  }
  out << (options.out / "report.json").string() << '\n';
  return kDone;
}

}  // namespace mta
