// `mta bench`: times parts of the program against each other, in one process.
#include "apps/mta/commands.h"
#include "lib/bench/task_bench.h"
#include "lib/bench/train_steps.h"
#include "lib/core/document.h"
#include "lib/core/files.h"

#include <fmt/ostream.h>

#include <ostream>

namespace mta {
namespace {

void print_train(const Json& report, std::ostream& out) {
  fmt::print(out, "{:<20} {:>12} {:>19} {:>8} {:>15} {:>12}\n", "case", "ms a step", "quartiles",
             "ratio", "quartiles", "tokens/s");
  for (const Json& entry : report["cases"]) {
    const Json& ms = entry["ms_per_step"];
    const Json& ratio = entry["ratio_to_first"];
    fmt::print(out, "{:<20} {:>12.2f} {:>9.2f}{:>10.2f} {:>8.3f} {:>8.3f}{:>7.3f} {:>12.0f}\n",
               entry["name"].get<std::string>(), ms["median"].get<double>(),
               ms["quartiles"][0].get<double>(), ms["quartiles"][1].get<double>(),
               ratio["median"].get<double>(), ratio["quartiles"][0].get<double>(),
               ratio["quartiles"][1].get<double>(), entry["tokens_per_s"].get<double>());
  }
}

void print_tasks(const Json& report, std::ostream& out) {
  constexpr double kMega = 1e6;
  fmt::print(out, "{:<30} {:>12} {:>20} {:>12} {:>8}\n", "case", "samples/s", "quartiles",
             "tokens/s", "MB/s");
  for (const Json& entry : report["cases"]) {
    const Json& samples = entry["samples_per_s"];
    fmt::print(out, "{:<30} {:>12.0f} {:>10.0f}{:>10.0f} {:>12.0f} {:>8.1f}\n",
               entry["name"].get<std::string>(), samples["median"].get<double>(),
               samples["quartiles"][0].get<double>(), samples["quartiles"][1].get<double>(),
               entry["tokens_per_s"]["median"].get<double>(),
               entry["text_bytes_per_s"].get<double>() / kMega);
  }
}

void print(const Json& report, std::ostream& out) {
  const Json& provenance = report["provenance"];
  fmt::print(out, "{}, {} threads, {} turns\n\n",
             provenance["device_description"].get<std::string>(),
             provenance["threads"].get<std::int64_t>(), report["turns"].get<std::int64_t>());
  (report["kind"] == "train" ? print_train : print_tasks)(report, out);
}

std::vector<Experiment> experiments_of(const BenchOptions& options) {
  std::vector<Experiment> experiments;
  for (const auto& file : options.cases) {
    experiments.push_back(read_experiment(load_document(file, options.settings)));
  }
  return experiments;
}

Json bench_train(const BenchOptions& options) {
  if (options.cases.empty()) throw UserError("--case", "is required: an experiment file");
  return bench_train_steps({.experiments = experiments_of(options),
                            .timing = {.turns = options.turns},
                            .device = options.device,
                            .threads = static_cast<std::int64_t>(options.threads),
                            .command_line = options.command_line});
}

Json bench_tasks(const BenchOptions& options) {
  if (options.device != "auto" || options.threads > 1) {
    throw UserError("mta bench tasks", "samples are made by one thread of the CPU",
                    "leave --device and --threads out");
  }
  if (options.cases.empty() && !options.settings.empty()) {
    throw UserError("--set", "changes experiment files: give --case");
  }
  TaskBench bench = {.cases = {}, .turns = options.turns, .command_line = options.command_line};
  for (const Experiment& experiment : experiments_of(options)) {
    bench.cases.push_back({experiment.name, experiment.task});
  }
  if (bench.cases.empty()) bench.cases = usual_task_cases();
  return bench_tasks(bench);
}

}  // namespace

int run_bench(const BenchOptions& options, std::ostream& out) {
  if (options.kind != "train" && options.kind != "tasks") {
    throw UserError("mta bench " + options.kind,
                    unknown_name_message("kind", options.kind, {"train", "tasks"}));
  }
  const Json report = options.kind == "train" ? bench_train(options) : bench_tasks(options);
  if (!options.out.empty()) write_file_atomically(options.out, report.dump(2) + '\n');
  if (options.json) {
    out << report.dump(2) << '\n';
  } else {
    print(report, out);
  }
  return kDone;
}

}  // namespace mta
