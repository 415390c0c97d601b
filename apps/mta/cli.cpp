// Every command and flag of `mta`, once. CLI11 is included here and nowhere else.
#include "apps/mta/cli.h"

#include "apps/mta/commands.h"
#include "apps/mta/maps.h"
#include "apps/mta/plot.h"
#include "apps/mta/sweep.h"
#include "apps/mta/table.h"
#include "lib/core/description.h"
#include "lib/core/error.h"
#include "lib/core/version.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <type_traits>
#include <vector>

namespace mta {
namespace {

/// Builds the parser; the chosen command is left in `chosen`.
class Parser {
 public:
  Parser(std::ostream& out, std::ostream& err, std::vector<std::string> command_line)
      : out_(out), err_(err), command_line_(std::move(command_line)) {
    app_.require_subcommand(1);
    app_.set_version_flag("--version", std::string(version().program));
    add_list();
    add_schema();
    add_generate();
    add_train();
    add_eval();
    add_verify();
    add_decode();
    add_bench();
    add_sweep();
    add_table();
    add_maps();
    add_plot();
  }

  int run(int argc, const char* const* argv);

 private:
  CLI::App* command(const std::string& name, const std::string& summary) {
    CLI::App* command = app_.add_subcommand(name, summary);
    names_.push_back(name);
    return command;
  }

  /// Options live as long as the parser; the callback chooses `function`, to be run with them.
  template <class Options, class Function>
  std::shared_ptr<Options> options_of(CLI::App* command, Function function) {
    auto options = std::make_shared<Options>();
    command->callback([this, options, function] {
      chosen_ = [this, options, function] {
        if constexpr (std::is_invocable_v<Function, const Options&, std::ostream&>) {
          return function(*options, out_);
        } else {
          return function(*options, out_, err_);
        }
      };
    });
    return options;
  }

  static void add_device(CLI::App* command, std::string& device) {
    command->add_option("--device", device, "auto, cpu, cuda or cuda:INDEX")->capture_default_str();
  }

  void add_list() {
    CLI::App* list = command("list", "what is built in: variants, tasks, kernels, devices");
    auto options = options_of<ListOptions>(list, run_list);
    list->add_option("what", options->what, "variants, tasks, kernels or devices; all when absent");
    list->add_flag("--json", options->json, "write JSON");
  }

  void add_schema() {
    CLI::App* schema = command("schema", "the JSON Schema of an experiment or sweep file");
    auto options = options_of<SchemaOptions>(schema, run_schema);
    schema->add_option("what", options->what, "experiment or sweep")->capture_default_str();
  }

  void add_generate() {
    CLI::App* generate = command("generate", "samples of a task as JSONL");
    auto options = options_of<GenerateOptions>(generate, run_generate);
    generate->add_option("task", options->task, "name of the task (mta list tasks)")->required();
    generate
        ->add_option("--set", options->settings, "key=value, a key of the task; may be repeated")
        ->take_all()
        ->allow_extra_args(false);
    generate->add_option("--split", options->split, "train or test")->capture_default_str();
    generate->add_option("--count", options->count, "number of samples")->required();
    generate->add_option("--seed", options->seed, "seed of the samples")->capture_default_str();
    generate
        ->add_option("--format", options->format,
                     "mta: src, tgt and facts; ruler: what RULER's evaluation reads (needle only)")
        ->capture_default_str();
    generate->add_option("--out", options->out, "file to write; - is stdout")
        ->capture_default_str();
  }

  void add_train() {
    CLI::App* train = command("train", "train one model, write a run directory");
    auto options = options_of<TrainOptions>(train, run_train);
    options->command_line = command_line_;
    train->add_option("experiment", options->experiment, "experiment file (JSON)")->required();
    train->add_option("--set", options->settings, "/path=value over the file; may be repeated")
        ->take_all()
        ->allow_extra_args(false);
    train->add_option("--out", options->out, "run directory")->required();
    train->add_flag("--resume", options->resume,
                    "go on from the last checkpoint in the run directory");
    add_device(train, options->device);
    train->add_option("--progress", options->progress, "auto, bar, plain or none")
        ->capture_default_str();
  }

  void add_eval() {
    CLI::App* eval = command("eval", "score a trained model");
    auto options = options_of<EvalOptions>(eval, run_eval);
    eval->add_option("run", options->run, "run directory")->required();
    eval->add_option("--data", options->data,
                     "samples to score (JSONL); fresh test samples when absent");
    eval->add_option("--set", options->settings,
                     "key=value, another value of a key of the task, such as a greater length; may "
                     "be repeated")
        ->take_all()
        ->allow_extra_args(false);
    eval->add_option("--samples", options->samples,
                     "number of samples; the experiment's when absent");
    eval->add_option("--mode", options->mode, "correct or reference")->capture_default_str();
    eval->add_option("--decode", options->decode, "teacher or greedy")->capture_default_str();
    eval->add_option("--by", options->by, "slices to break the score down by, with commas")
        ->delimiter(',');
    add_device(eval, options->device);
    eval->add_flag("--json", options->json, "write JSON");
  }

  void add_verify() {
    CLI::App* verify = command("verify", "run golden vectors through the library");
    auto options = options_of<VerifyOptions>(verify, run_verify);
    verify->add_option("files", options->files, "golden files (safetensors)")->required();
    add_device(verify, options->device);
    verify->add_option("--path", options->path, "composed or fused")->capture_default_str();
    verify
        ->add_option("--precision", options->precision,
                     "auto, fp32, bf16 or fp16; 16 bits need --path fused on a GPU")
        ->capture_default_str();
    verify->add_flag("--json", options->json, "write JSON");
  }

  void add_decode() {
    CLI::App* decode = command("decode", "greedy generation with the cache");
    auto options = options_of<DecodeOptions>(decode, run_decode);
    decode->add_option("run", options->run, "run directory")->required();
    decode->add_option("--prompt", options->prompt, "text up to the answer")->required();
    decode->add_option("--limit", options->limit, "tokens to write at most")->capture_default_str();
    add_device(decode, options->device);
  }

  void add_bench() {
    CLI::App* bench = command("bench", "times of candidates against each other, in one process");
    auto options = options_of<BenchOptions>(bench, run_bench);
    options->command_line = command_line_;
    bench
        ->add_option(
            "kind", options->kind,
            "attention: fused against composed and standard attention; train: whole "
            "training steps; decode: tokens written with the cache; tasks: samples made by "
            "one thread; card: attention, train and decode of all that is built in, on a GPU")
        ->required();
    bench->add_option(
        "--case", options->cases,
        "experiment file; train, decode: or a built-in case (toy_step, large_model), the first is "
        "the baseline; "
        "attention: a file of cases (*.json) or the name of one that is built in; tasks and "
        "attention: all that are built in when absent");
    bench->add_option("--set", options->settings, "/path=value over every file; may be repeated")
        ->take_all()
        ->allow_extra_args(false);
    bench->add_option("--turns", options->turns, "repeats of each case")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    bench->add_option("--threads", options->threads, "CPU threads; 0 = all")->capture_default_str();
    add_device(bench, options->device);
    const auto count = [&](const char* flag, std::optional<std::uint64_t>& value,
                           const char* help) {
      bench->add_option(flag, value, help)->check(CLI::PositiveNumber);
    };
    count("--context", options->context, "decode: tokens in the cache; 4096 when absent");
    count("--batch", options->batch, "decode: texts that grow side by side; 1 when absent");
    count("--tokens", options->tokens, "decode: tokens written a turn; 32 when absent");
    bench->add_flag("--tune", options->tune,
                    "attention: measure how the CUDA kernels' work is best cut on this card, and "
                    "write the table of launch plans to --out");
    bench->add_option("--out", options->out, "also write the report to this file");
    bench->add_flag("--json", options->json, "write JSON");
  }

  void add_sweep() {
    CLI::App* sweep = command("sweep", "a grid of runs; a second call does what is missing");
    auto options = options_of<SweepOptions>(sweep, run_sweep);
    sweep->add_option("sweep", options->file, "sweep file (JSON)")->required();
    sweep->add_option("--out", options->out, "folder of the run directories")->required();
    sweep->add_option("--jobs", options->jobs, "runs at once; one, or one a GPU, when absent");
    sweep->add_option("--shard", options->shard, "i/n: the i-th of n parts of the grid");
    sweep->add_option("--on-failure", options->on_failure, "continue or stop")
        ->capture_default_str();
    sweep->add_option("--retries", options->retries, "further tries of a run that fails")
        ->capture_default_str();
    sweep->add_flag("--dry-run", options->dry_run, "say what would run");
    sweep->add_option("--device", options->device, "auto, cpu or cuda")->capture_default_str();
    sweep->add_option("--progress", options->progress, "auto, bar, plain or none")
        ->capture_default_str();
  }

  void add_table() {
    CLI::App* table = command("table", "many reports -> one table");
    auto options = options_of<TableOptions>(table, run_table);
    table
        ->add_option("inputs", options->inputs,
                     "reports, run directories, or folders of them; or reports of mta bench")
        ->required();
    table->add_option(
        "--rows", options->rows,
        "keys, with commas; what tells runs apart if absent; for mta bench attention, train and "
        "decode also part and kernel: the profile");
    table->add_option("--columns", options->columns,
                      "with commas: n, KEY, STATISTIC(KEY), steps_to(THRESHOLD), slice(NAME), "
                      "by(KEY,COLUMN); for mta bench its own, such as total_ms");
    table
        ->add_option("--only", options->only,
                     "KEY=VALUE,VALUE: leave out what has other values; may be repeated")
        ->take_all()
        ->allow_extra_args(false);
    table->add_option("--baseline", options->baseline, "row that the others are compared with");
    table->add_option("--format", options->format, "markdown, csv, latex or json")
        ->capture_default_str();
  }

  void add_maps() {
    CLI::App* maps = command("maps", "attention maps of every stage, as arrays and as a page");
    auto request = options_of<MapsCommand>(maps, run_maps);
    maps::MapsOptions& options = request->options;
    maps->add_option("run", options.run, "run directory")->required();
    maps->add_option("--compare", options.compare, "a second run, on the same samples");
    maps->add_option("--data", options.data, "samples (JSONL); the run's test samples when absent");
    list_option(maps, "--samples", options.samples, "indices of samples, with commas")
        ->capture_default_str();
    list_option(maps, "--layers", options.layers, "with commas; all when absent");
    list_option(maps, "--heads", options.heads, "with commas; all when absent");
    list_option(maps, "--stages", options.stages, "with commas; all when absent");
    maps->add_option("--rows", request->rows, "window of queries, FIRST:END; -20: is the last 20")
        ->capture_default_str();
    maps->add_option("--columns", request->columns, "window of keys, FIRST:END")
        ->capture_default_str();
    maps->add_option("--out", options.out, "folder to write")->required();
    maps->add_option("--device", options.device, "auto, cpu, cuda or cuda:INDEX")
        ->capture_default_str();
    maps->add_flag("--json", request->json, "write the shares on the target as JSON");
  }

  void add_plot() {
    std::string kinds;
    for (const plot::PlotKind& kind : plot::plot_kinds()) {
      kinds += "\n  " + kind.name + ": " + kind.summary;
    }
    CLI::App* plot = command("plot", "reports -> a picture");
    auto request = options_of<PlotCommand>(
        plot, [plot](PlotCommand command, std::ostream& out, std::ostream& err) {
          command.options.given = given(plot);
          return run_plot(command, out, err);
        });
    plot::PlotOptions& options = request->options;
    plot->add_option("kind", options.kind, "what to draw:" + kinds)->required();
    plot->add_option("inputs", options.inputs,
                     "reports, run directories, or folders of them; for maps, what mta maps "
                     "wrote; for times, scaling and profile, reports of mta bench")
        ->required();
    plot->add_option("--out", options.out, "FILE.svg, .png, .pdf or .html")->required();
    plot->add_option("--title", options.title, "above the picture");
    plot->add_option("--metric", options.metric,
                     "err_seq, err_tok or loss; for bars also a pointer into reports")
        ->capture_default_str();
    plot->add_option("--mode", options.mode, "of evaluation; the run's first when absent");
    list_option(plot, "--by", options.by,
                "keys that make a variant; what tells runs apart if absent");
    plot->add_option("--threshold", options.threshold, "for steps: err_seq below it is solved")
        ->capture_default_str();
    plot->add_flag("--log", request->logarithmic, "logarithmic axis of the metric");
    plot->add_option("--rows", options.rows, "for heatmap: a slice; depth when there is one");
    plot->add_option("--columns", options.columns, "for heatmap: a key; /task/length when absent");
    list_option(plot, "--layers", options.layers, "for kernels, mixing, maps; all when absent");
    list_option(plot, "--heads", options.heads, "for kernels, maps; all when absent");
    list_option(plot, "--stages", options.stages, "for kernels, mixing, maps; all when absent");
    list_option(plot, "--samples", options.samples, "for maps: one; the first when absent");
    plot->add_option("--only", options.only,
                     "KEY=VALUE,VALUE: leave out what has other values; may be repeated")
        ->take_all()
        ->allow_extra_args(false);
    plot->add_option("--size", request->size, "WIDTHxHEIGHT in millimetres");
  }

  /// The names of the flags and positions that the command line has.
  static std::vector<std::string> given(const CLI::App* command) {
    std::vector<std::string> names;
    for (const CLI::Option* option : command->get_options()) {
      if (option->count() > 0) names.push_back(option->get_name());
    }
    return names;
  }

  /// Values with commas.
  template <class Values>
  static CLI::Option* list_option(CLI::App* command, const std::string& flag, Values& values,
                                  const std::string& help) {
    return command->add_option(flag, values, help)->delimiter(',')->allow_extra_args(false);
  }

  CLI::App app_{"A laboratory for Multi-Token Attention (arXiv 2504.00927)", "mta"};
  std::ostream& out_;
  std::ostream& err_;
  std::vector<std::string> command_line_;
  std::vector<std::string> names_;
  std::function<int()> chosen_;
};

int Parser::run(int argc, const char* const* argv) {
  if (argc > 1 && argv[1][0] != '-' &&
      std::find(names_.begin(), names_.end(), argv[1]) == names_.end()) {
    throw UserError("", unknown_name_message("command", argv[1], names_));
  }
  try {
    app_.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help, --version
      app_.exit(error, out_, err_);
      return kDone;
    }
    throw UserError("", error.what(), "mta --help and mta COMMAND --help list what is known");
  }
  return chosen_();
}

}  // namespace

int run(int argc, const char* const* argv, std::ostream& out, std::ostream& err) {
  return Parser(out, err, {argv, argv + argc}).run(argc, argv);
}

}  // namespace mta
