// `mta bench`: times parts of the program against each other, in one process.
#include "apps/mta/commands.h"
#include "lib/bench/train_steps.h"
#include "lib/core/document.h"
#include "lib/core/files.h"

#include <fmt/ostream.h>

#include <ostream>

namespace mta {
namespace {

void print(const Json& report, std::ostream& out) {
  const Json& provenance = report["provenance"];
  fmt::print(out, "{}, {} threads, {} turns\n\n",
             provenance["device_description"].get<std::string>(),
             provenance["threads"].get<std::int64_t>(), report["turns"].get<std::int64_t>());
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

}  // namespace

int run_bench(const BenchOptions& options, std::ostream& out) {
  const std::vector<std::string> kinds = {"train"};
  if (options.kind != "train") {
    throw UserError("mta bench " + options.kind, unknown_name_message("kind", options.kind, kinds));
  }
  TrainStepBench bench = {.experiments = {},
                          .timing = {.turns = options.turns},
                          .device = options.device,
                          .threads = static_cast<std::int64_t>(options.threads),
                          .command_line = options.command_line};
  for (const auto& file : options.cases) {
    bench.experiments.push_back(read_experiment(load_document(file, options.settings)));
  }
  const Json report = bench_train_steps(bench);
  if (!options.out.empty()) write_file_atomically(options.out, report.dump(2) + '\n');
  if (options.json) {
    out << report.dump(2) << '\n';
  } else {
    print(report, out);
  }
  return kDone;
}

}  // namespace mta
