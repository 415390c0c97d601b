// Stands in for `mta train` in tests of sweeps: the same files in the run directory, a few
// milliseconds a step, and failures on demand ("/fake" in the experiment).
#include "lib/core/document.h"
#include "lib/core/error.h"
#include "lib/core/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <thread>

namespace mta {
namespace {

namespace fs = std::filesystem;

volatile std::sig_atomic_t stop_requested = 0;

/// Appends one line with one write(2), so that lines of different processes do not mix.
void append(const fs::path& path, const std::string& line) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (::write(descriptor, (line + "\n").data(), line.size() + 1) < 0) std::abort();
  ::close(descriptor);
}

// Json's assertions look to the lint as if moving it could throw.
// NOLINTNEXTLINE(bugprone-exception-escape)
struct Fake {
  fs::path out;
  Json config;

  std::int64_t option(const char* key, std::int64_t otherwise) const {
    return config.value("fake", Json::object()).value(key, otherwise);
  }
  std::int64_t steps() const { return config["train"]["steps"].get<std::int64_t>(); }
  std::int64_t seed() const { return config["seeds"]["data"].get<std::int64_t>(); }

  void report(const std::string& status, std::int64_t step, const Json& error) const {
    // A function of the configuration alone, as a run that was killed and resumed must be.
    const double err_seq = static_cast<double>((seed() * 37 + step * 11) % 100) / 100;
    const Json report = {{"schema", "mta.report/1"},
                         {"name", config["name"]},
                         {"status", status},
                         {"error", error},
                         {"experiment", config},
                         {"final", {{"step", step}, {"err_seq", err_seq}}},
                         {"steps_to", {{"err_seq<0.05", nullptr}}},
                         {"timing", {{"wall_s", 1.5}, {"ms_per_step", 2.5}}},
                         {"environment",
                          {{"gpu", std::getenv("CUDA_VISIBLE_DEVICES") != nullptr
                                       ? Json(std::getenv("CUDA_VISIBLE_DEVICES"))
                                       : Json()}}}};
    write_file_atomically(out / "report.json", report.dump(2));
  }

  /// The failures that the experiment asks for, at half of the steps, for the first tries.
  void fail_if_asked(std::int64_t step) const {
    const std::string kind = config.value("fake", Json::object()).value("fail", "");
    if (kind.empty() || step != steps() / 2 || tries() > option("failing_tries", 1000)) return;
    if (kind == "kill") ::raise(SIGKILL);
    if (kind == "stop") ::raise(SIGTERM);
    if (kind == "mute") std::exit(7);
    if (kind == "error") {
      report("failed", step, "loss is not finite at step " + std::to_string(step));
      std::cerr << "mta: error: loss is not finite at step " << step << std::endl;
      std::exit(3);
    }
  }

  std::int64_t tries() const {
    std::ifstream history(out / "history.txt");
    std::int64_t count = 0;
    for (std::string line; std::getline(history, line);) count += line.starts_with("begin");
    return count;
  }

  int train() const {
    std::int64_t step = 0;
    if (fs::exists(out / "checkpoint.json")) {
      step = parse_json(read_file(out / "checkpoint.json"), "checkpoint")["step"];
    }
    while (step < steps() && stop_requested == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(option("ms_per_step", 1)));
      ++step;
      append(out / "metrics.jsonl", Json({{"step", step}, {"loss", 1.5}}).dump());
      fail_if_asked(step);
      if (step % 5 == 0)
        write_file_atomically(out / "checkpoint.json", Json({{"step", step}}).dump());
    }
    append(out / "evaluations.jsonl", Json({{"step", step}, {"err_seq", 0.25}}).dump());
    const bool done = step == steps();
    report(done ? "done" : "stopped", step, nullptr);
    append(out / "history.txt", done ? "end" : "stopped");
    return 0;
  }
};

int run(int argc, char** argv) {
  Fake fake;
  std::string file;
  std::vector<std::string> settings;
  bool resume = false;
  for (int i = 2; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--resume") {
      resume = true;
    } else if (!flag.starts_with("--")) {
      file = flag;
    } else {
      const std::string value = argv[++i];
      if (flag == "--set") settings.push_back(value);
      if (flag == "--out") fake.out = value;
    }
  }
  fake.config = load_document(file, settings).root;
  if (fake.option("refuse", 0) != 0) throw UserError("--device", "no such device");
  const int lock = ::open((fake.out / ".lock").c_str(), O_RDWR | O_CREAT, 0644);
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
    append(fake.out / "history.txt", "clash");
    throw UserError(fake.out.string(), "another process is training in this folder");
  }
  if (fs::exists(fake.out / "config.json") && !resume) throw UserError("--out", "holds a run");
  fs::remove(fake.out / "report.json");
  write_file_atomically(fake.out / "pid", std::to_string(::getpid()));
  append(fake.out / "history.txt", "begin");
  write_file_atomically(fake.out / "config.json", fake.config.dump(2));
  return fake.train();
}

}  // namespace
}  // namespace mta

int main(int argc, char** argv) {
  std::signal(SIGTERM, [](int) { mta::stop_requested = 1; });
  try {
    return mta::run(argc, argv);
  } catch (const mta::UserError& error) {
    std::cerr << "mta: error: " << error.what() << std::endl;
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "mta: error: " << error.what() << std::endl;
    return 1;
  }
}
