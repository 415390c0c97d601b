// The commands of `mta` as plain functions: options in, results to `out`, the rest to `err`, exit
// code back. Commands with parts of their own have a header of their own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

namespace mta {

/// Exit codes of the program. Errors that are thrown become 1, 2 or 3 in main.cpp.
inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kBadRequest = 2;
inline constexpr int kBadNumbers = 3;

struct ListOptions {
  std::string what;  // variants, tasks, kernels, devices; empty = all
  bool json = false;
};
int run_list(const ListOptions& options, std::ostream& out);

struct SchemaOptions {
  std::string what = "experiment";  // or "sweep"
};
int run_schema(const SchemaOptions& options, std::ostream& out);

struct GenerateOptions {
  std::string task;
  std::vector<std::string> settings;  // key=value, keys of the task
  std::string split = "train";
  std::uint64_t count = 0;
  std::uint64_t seed = 1;
  std::string format = "mta";  // mta or ruler
  std::string out = "-";
};
int run_generate(const GenerateOptions& options, std::ostream& out, std::ostream& err);

struct TrainOptions {
  std::filesystem::path experiment;
  std::vector<std::string> settings;  // /path=value
  std::filesystem::path out;
  bool resume = false;
  std::string device = "auto";
  std::string progress = "auto";
  std::vector<std::string> command_line;  // recorded in the report
};
int run_train(const TrainOptions& options, std::ostream& out, std::ostream& err);

struct EvalOptions {
  std::filesystem::path run;
  std::filesystem::path data;         // empty = fresh samples of the run's task
  std::vector<std::string> settings;  // key=value, keys of the task
  std::optional<std::uint64_t> samples;
  std::string mode = "correct";
  std::string decode = "teacher";
  std::vector<std::string> by;  // slices
  std::string device = "auto";
  bool json = false;
};
int run_eval(const EvalOptions& options, std::ostream& out);

struct VerifyOptions {
  std::vector<std::filesystem::path> files;
  std::string device = "auto";
  std::string path = "composed";
  std::string precision = "auto";
  bool json = false;
};
int run_verify(const VerifyOptions& options, std::ostream& out);

struct DecodeOptions {
  std::filesystem::path run;
  std::string prompt;
  std::uint64_t limit = 256;  // tokens
  std::string device = "auto";
};
int run_decode(const DecodeOptions& options, std::ostream& out);

struct BenchOptions {
  std::string kind;                          // attention, train, decode, tasks or card
  std::vector<std::filesystem::path> cases;  // files and names; the first is the baseline
  std::vector<std::string> settings;         // /path=value, for all of them
  std::uint64_t turns = 15;
  std::uint64_t threads = 0;  // 0 = all
  std::string device = "auto";
  std::optional<std::uint64_t> context, batch, tokens;  // of decode
  bool tune = false;                                    // attention: measure launch plans
  std::filesystem::path out;  // report, or table of launch plans; empty = none
  bool json = false;
  std::vector<std::string> command_line;
};
int run_bench(const BenchOptions& options, std::ostream& out);

}  // namespace mta
