// A folder with small experiments for tests of the program's own sweeps.
#pragma once

#include "lib/core/document.h"
#include "lib/core/files.h"
#include "tests/cli/program.h"

#include <string>

namespace mta::check {

class ProgramFolder : public WorkFolder {
 public:
  ProgramFolder() {
    write("standard.json", R"({
      "name": "standard",
      "task": {"kind": "block_finding", "block_length": 2, "query_length": 1, "alphabet": 10,
               "length": 16},
      "model": {"dim": 16, "layers": 1, "heads": 2, "ffn_hidden": 32},
      "attention": {"variant": "standard"},
      "train": {"steps": 20, "batch": 8, "lr": 8e-3, "threads": 1, "checkpoint_every": 5,
                "log_every": 5},
      "evaluate": {"every": 10, "samples": 32}
    })");
    write("multi_token.json", R"({
      "extends": "standard.json", "name": "multi_token",
      "attention": {"variant": "multi_token", "kq_before": {"query": 2, "key": 3},
                    "kq_after": {"query": 2, "key": 3}}})");
  }

  Outcome run(const std::string& command) const { return shell(command, path()); }

  Json report(const std::string& run) const {
    return parse_json(read_file(path() / run / "report.json"), run);
  }
  /// What a report says, but for times, the machine and the command.
  Json result(const std::string& run) const {
    Json result = report(run);
    result.erase("timing");
    result.erase("provenance");
    return result;
  }
};

}  // namespace mta::check
