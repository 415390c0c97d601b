// Times decoding with a cache: experiments against each other, in one process.
#pragma once

#include "lib/bench/timing.h"
#include "lib/core/json.h"
#include "lib/experiment/experiment.h"

#include <cstdint>
#include <string>
#include <vector>

namespace mta {

struct DecodeBench {
  std::vector<Experiment> experiments;  // the first is the baseline
  std::int64_t context = 4096;          // tokens in the cache before each turn
  std::int64_t batch = 1;               // texts that grow side by side
  std::int64_t tokens = 32;             // decoded a turn, one after the other
  TimingOptions timing;
  std::string device = "auto";
  std::int64_t threads = 0;  // 0 = all cores
  std::vector<std::string> command_line;
};

/// Greedy decoding of models with their initial weights after `context` random tokens. Each turn
/// starts at the same context; chosen tokens stay on the device, which is waited for once a turn.
/// On a GPU each experiment is two cases: "NAME", whose steps are replayed from a CUDA graph, and
/// "NAME plain", queued operation by operation; `use` says how many steps of each were, and why.
/// Report of schema mta.bench/1: milliseconds a token, ratios, tokens a second of all texts, peak
/// memory (of a case's own tensors on a GPU, of the process so far on the CPU), and on a GPU the
/// share of time of each part.
Json bench_decode(const DecodeBench& bench);

}  // namespace mta
