// The smallest experiment worth training: the test setting of the block-finding study.
#pragma once

#include "lib/experiment/experiment.h"

#include <string>
#include <vector>

namespace mta::check {

/// Alphabet 10, blocks of 2, query of 1, 4 blocks; D 32, 1 layer, 4 heads, hidden 64; kq
/// convolution 2 x 3; lr 8e-3, batch 64, 500 steps, constant and then linear to 0 over the last
/// fifth. `settings`
/// ("/train/steps=5") come after these.
inline Experiment tiny_experiment(const std::vector<std::string>& settings = {}) {
  std::vector<std::string> all = {
      R"(/task={"kind": "block_finding", "block_length": 2, "query_length": 1, "alphabet": 10,
                "length": 15, "target": "all", "truncation": "fit"})",
      R"(/model={"dim": 32, "layers": 1, "heads": 4, "ffn_hidden": 64})",
      R"(/attention={"variant": "kq_before_only", "kq_before": {"query": 2, "key": 3}})",
      R"(/train={"steps": 500, "batch": 64, "lr": 8e-3, "schedule": "warmup_stable_decay",
                 "decay_fraction": 0.2, "log_every": 5, "threads": 1})",
      R"(/evaluate={"every": 50, "samples": 1000})",
  };
  all.insert(all.end(), settings.begin(), settings.end());
  return read_experiment(document_of(all));
}

}  // namespace mta::check
