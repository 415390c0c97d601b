// `mta bench`: times parts of the program against each other, in one process.
#include "apps/mta/commands.h"
#include "lib/bench/attention_bench.h"
#include "lib/bench/attention_tune.h"
#include "lib/bench/card_bench.h"
#include "lib/bench/decode_bench.h"
#include "lib/bench/task_bench.h"
#include "lib/bench/train_cases.h"
#include "lib/bench/train_steps.h"
#include "lib/core/document.h"
#include "lib/core/files.h"
#include "lib/ops/launch_plans.h"
#include "lib/train/device.h"

#include <fmt/ostream.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <ostream>

namespace mta {
namespace {

/// A line for each experiment; `key` names its times, `title` their column.
void print_models(const Json& report, const char* key, const char* title, std::ostream& out) {
  constexpr double kMebibyte = 1 << 20;
  fmt::print(out, "{:<20} {:>12} {:>19} {:>8} {:>15} {:>12} {:>9}\n", "case", title, "quartiles",
             "ratio", "quartiles", "tokens/s", "peak MiB");
  for (const Json& entry : report["cases"]) {
    const Json& ms = entry[key];
    const Json& ratio = entry["ratio_to_first"];
    fmt::print(out,
               "{:<20} {:>12.2f} {:>9.2f}{:>10.2f} {:>8.3f} {:>8.3f}{:>7.3f} {:>12.0f} {:>9.0f}\n",
               entry["name"].get<std::string>(), ms["median"].get<double>(),
               ms["quartiles"][0].get<double>(), ms["quartiles"][1].get<double>(),
               ratio["median"].get<double>(), ratio["quartiles"][0].get<double>(),
               ratio["quartiles"][1].get<double>(), entry["tokens_per_s"].get<double>(),
               entry["peak_memory_bytes"].get<double>() / kMebibyte);
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

/// Median, ratio to standard attention, share of the matrix rate.
std::string times_of(const Json& times) {
  return fmt::format("{:>9.3f} {:>7.2f} {:>5.1f}%", times["ms"]["median"].get<double>(),
                     times["ratio_to_standard"]["median"].get<double>(),
                     100 * times["share_of_matrix_rate"].get<double>());
}

void print_attention(const Json& report, std::ostream& out) {
  constexpr double kMebibyte = 1 << 20;
  fmt::print(out, "{:<18} {:<9} {:>9} {:>7} {:>6} {:>10} {:>7} {:>6} {:>9} {:>9} {:>9}\n", "case",
             "path", "forward", "ratio", "peak", "with back", "ratio", "peak", "MiB", "error",
             "worst d");
  for (const Json& one : report["cases"]) {
    for (const Json& path : one["paths"]) {
      fmt::print(out, "{:<18} {:<9} ", one["case"]["name"].get<std::string>(),
                 path["path"].get<std::string>());
      if (path.contains("reason")) {
        fmt::print(out, "{}\n", path["reason"].get<std::string>());
        continue;
      }
      const Json& memory = path["peak_memory_bytes"];
      double worst = 0;
      for (const auto& [name, error] : path["error"].items()) {
        if (name != "output") worst = std::max(worst, error.get<double>());
      }
      fmt::print(out, "{}  {} {:>9} {:>9.1e} {:>9.1e}\n", times_of(path["forward"]),
                 times_of(path["forward_backward"]),
                 memory.is_null() ? "" : fmt::format("{:.0f}", memory.get<double>() / kMebibyte),
                 path["error"]["output"].get<double>(), worst);
    }
  }
}

void print_cases(const Json& report, std::ostream& out) {
  const std::string kind = report["kind"];
  if (kind == "train") print_models(report, "ms_per_step", "ms a step", out);
  if (kind == "decode") print_models(report, "ms_per_token", "ms a token", out);
  if (kind == "tasks") print_tasks(report, out);
  if (kind == "attention") print_attention(report, out);
}

void print_card(const Json& report, std::ostream& out) {
  const char* before = "";
  for (const auto& [name, part] : report["reports"].items()) {
    fmt::print(out, "{}{}\n", before, name);
    before = "\n";
    if (part.contains("reason")) {
      fmt::print(out, "{}\n", part["reason"].get<std::string>());
    } else {
      print_cases(part, out);
    }
  }
}

void print(const Json& report, std::ostream& out) {
  const Json& provenance = report["provenance"];
  const Json& plans = provenance["launch_plans"];
  fmt::print(out, "{}, {} threads, {} turns{}\n\n",
             provenance["device_description"].get<std::string>(),
             provenance["threads"].get<std::int64_t>(), report["turns"].get<std::int64_t>(),
             plans.is_null() ? "" : ", launch plans: " + plans.get<std::string>());
  if (report["kind"] == "card") {
    print_card(report, out);
  } else {
    print_cases(report, out);
  }
}

std::vector<Experiment> experiments_of(const BenchOptions& options) {
  std::vector<Experiment> experiments;
  for (const auto& file : options.cases) {
    experiments.push_back(read_experiment(load_document(file, options.settings)));
  }
  return experiments;
}

/// Experiment files, and names of built-in cases.
std::vector<Experiment> compared_experiments(const BenchOptions& options) {
  if (options.cases.empty()) {
    throw UserError("--case", "is required: an experiment file, or a built-in case (known: " +
                                  fmt::format("{})", fmt::join(train_case_names(), ", ")));
  }
  std::vector<Experiment> experiments;
  for (const std::filesystem::path& wanted : options.cases) {
    if (wanted.extension() == ".json") {
      experiments.push_back(read_experiment(load_document(wanted, options.settings)));
      continue;
    }
    for (Experiment& one : train_case(wanted.string(), options.settings)) {
      experiments.push_back(std::move(one));
    }
  }
  return experiments;
}

Json bench_train(const BenchOptions& options) {
  return bench_train_steps({.experiments = compared_experiments(options),
                            .timing = {.turns = options.turns},
                            .device = options.device,
                            .threads = static_cast<std::int64_t>(options.threads),
                            .command_line = options.command_line});
}

Json bench_decoding(const BenchOptions& options) {
  DecodeBench bench = {.experiments = compared_experiments(options),
                       .timing = {.turns = options.turns},
                       .device = options.device,
                       .threads = static_cast<std::int64_t>(options.threads),
                       .command_line = options.command_line};
  for (const auto& [wanted, value] : {std::pair(options.context, &bench.context),
                                      {options.batch, &bench.batch},
                                      {options.tokens, &bench.tokens}}) {
    if (wanted) *value = static_cast<std::int64_t>(*wanted);
  }
  return bench_decode(bench);
}

/// Throws where a flag is given that is another kind's.
void check_decode_flags(const BenchOptions& options) {
  for (const auto& [flag, value] : {std::pair("--context", options.context),
                                    {"--batch", options.batch},
                                    {"--tokens", options.tokens}}) {
    if (value && options.kind != "decode") {
      throw UserError(fmt::format("{} {}", flag, *value),
                      "is for mta bench decode, not for mta bench " + options.kind);
    }
  }
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

/// Files of cases, and names of built-in ones; all that the device is fast enough for when nothing
/// is named.
std::vector<AttentionCase> attention_cases(const BenchOptions& options) {
  const std::vector<AttentionCase> usual = usual_attention_cases();
  std::vector<AttentionCase> cases;
  if (options.cases.empty()) {
    const bool cpu = resolve_device(options.device).is_cpu();
    std::copy_if(usual.begin(), usual.end(), std::back_inserter(cases),
                 [&](const AttentionCase& one) { return !cpu || fits_a_cpu(one); });
  }
  for (const std::filesystem::path& wanted : options.cases) {
    if (wanted.extension() == ".json") {
      const auto read =
          read_attention_cases(parse_json(read_file(wanted), wanted.string()), wanted.string());
      cases.insert(cases.end(), read.begin(), read.end());
      continue;
    }
    const auto found = std::find_if(usual.begin(), usual.end(), [&](const AttentionCase& one) {
      return one.name == wanted.string();
    });
    if (found == usual.end()) {
      std::vector<std::string> names;
      for (const AttentionCase& one : usual) names.push_back(one.name);
      throw UserError("--case " + wanted.string(),
                      unknown_name_message("case", wanted.string(), names),
                      "or give a file of cases, *.json");
    }
    cases.push_back(*found);
  }
  return cases;
}

Json attention_report(const BenchOptions& options) {
  if (!options.settings.empty()) {
    throw UserError("--set", "changes experiment files, which attention does not read",
                    "give --case a file of cases");
  }
  return bench_attention({.cases = attention_cases(options),
                          .turns = options.turns,
                          .device = options.device,
                          .threads = static_cast<std::int64_t>(options.threads),
                          .command_line = options.command_line});
}

Json card_report(const BenchOptions& options) {
  if (!options.cases.empty() || !options.settings.empty()) {
    throw UserError(options.cases.empty() ? "--set" : "--case",
                    "mta bench card measures what is built in, so that cards compare",
                    "the other kinds of mta bench take cases of one's own");
  }
  if (resolve_device(options.device).is_cpu()) {
    throw UserError("mta bench card", "measures a GPU, and the device is the CPU",
                    "mta bench attention, train, decode and tasks measure a CPU");
  }
  const CardSettings settings = {.turns = options.turns,
                                 .device = options.device,
                                 .threads = static_cast<std::int64_t>(options.threads),
                                 .command_line = options.command_line};
  return bench_card(usual_card_parts(settings), settings);
}

constexpr const char* kTable = "lib/ops/launch_plans.json";

void print_tuned(const std::vector<TunedCase>& tuned, std::ostream& out) {
  fmt::print(out, "{:<18} {:<9} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7}\n", "case", "direction",
             "chunk", "score", "conv", "mixing", "rows", "gain");
  for (const TunedCase& one : tuned) {
    const bool forward = one.entry.shape.direction == kernels::Direction::Forward;
    fmt::print(out, "{:<18} {:<9} ", one.name, forward ? "forward" : "backward");
    if (!one.reason.empty()) {
      fmt::print(out, "left out: {}\n", one.reason);
      continue;
    }
    const kernels::LaunchPlan& l = one.entry.launch;
    fmt::print(out, "{:>6} {:>6} {:>6} {:>6} {:>6} {:>6.3f}x\n", l.chunk_rows, l.score_keys,
               l.convolution_keys, l.mixing_keys, l.mixing_rows, one.gain);
  }
}

/// Adds to the table in --out where that file is there, else to the one that is built in.
int run_tune(const BenchOptions& options, std::ostream& out) {
  if (options.kind != "attention") throw UserError("--tune", "is for mta bench attention");
  if (options.out.empty()) throw UserError("--tune", "needs --out FILE: the table that it writes");
  if (!options.settings.empty()) throw UserError("--set", "changes experiment files: give --case");
  const std::string name = options.out.string();
  const std::vector<ops::LaunchEntry> table =
      std::filesystem::exists(options.out)
          ? ops::read_launch_plans(parse_json(read_file(options.out), name), name)
          : ops::installed_launch_plans();
  const std::vector<TunedCase> tuned = tune_attention({.cases = attention_cases(options),
                                                       .turns = options.turns,
                                                       .device = options.device,
                                                       .command_line = options.command_line});
  const Json merged_table = ops::to_json(merged(table, tuned));
  write_file_atomically(options.out, merged_table.dump(2) + '\n');
  if (options.json) {
    out << merged_table.dump(2) << '\n';
  } else {
    print_tuned(tuned, out);
    fmt::print(out, "\nto install: cp {} {}, then build again\n", name, kTable);
  }
  return kDone;
}

Json bench_of(const BenchOptions& options) {
  if (options.kind == "attention") return attention_report(options);
  if (options.kind == "train") return bench_train(options);
  if (options.kind == "decode") return bench_decoding(options);
  if (options.kind == "tasks") return bench_tasks(options);
  if (options.kind == "card") return card_report(options);
  throw UserError("mta bench " + options.kind,
                  unknown_name_message("kind", options.kind,
                                       {"attention", "train", "decode", "tasks", "card"}));
}

}  // namespace

int run_bench(const BenchOptions& options, std::ostream& out) {
  check_decode_flags(options);
  if (options.tune) return run_tune(options, out);
  const Json report = bench_of(options);
  if (!options.out.empty()) write_file_atomically(options.out, report.dump(2) + '\n');
  if (options.json) {
    out << report.dump(2) << '\n';
  } else {
    print(report, out);
  }
  return kDone;
}

}  // namespace mta
