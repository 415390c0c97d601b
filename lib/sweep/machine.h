// What this machine offers to runs: CPU cores and GPUs, and how they are shared out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mta {

struct Machine {
  std::int64_t cores = 1;
  std::vector<std::string> gpus = {};  // as CUDA_VISIBLE_DEVICES names them
};

/// Cores that this process may use (affinity, as Slurm and taskset set it, and the quota of its
/// control group) and the GPUs that it sees (CUDA_VISIBLE_DEVICES, or else all).
Machine this_machine();

/// The first number of "max 100000" or "150000 100000" (cpu.max of a control group) over the
/// second, rounded up; nothing when there is no limit.
std::optional<std::int64_t> quota_of(const std::string& cpu_max);

/// What one run is given.
struct Share {
  std::int64_t threads = 1;
  std::string gpu = {};  // empty = as the program finds it
};

/// Lends cores and GPUs to runs: never more threads than there are cores, each GPU to as few runs
/// as possible.
class Shares {
 public:
  Shares(Machine machine, std::int64_t jobs);

  /// Runs at once: as asked for, but not more than there are cores.
  std::int64_t jobs() const { return jobs_; }
  /// Threads of a run that does not say how many it wants.
  std::int64_t usual_threads() const;

  /// Whether another run, of one thread, could be given anything at present.
  bool has_room() const;
  /// Nothing when too much is lent out at present. A run that wants more threads than there are
  /// cores gets them, alone.
  std::optional<Share> take(std::optional<std::int64_t> threads);
  void give_back(const Share& share);

 private:
  Machine machine_;
  std::int64_t jobs_;
  std::int64_t runs_ = 0;
  std::int64_t threads_ = 0;
  std::vector<std::int64_t> runs_on_gpu_;
};

}  // namespace mta
