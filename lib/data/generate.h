// Writes the samples of a task as a data set.
#pragma once

#include "lib/core/task.h"

#include <cstdint>
#include <iosfwd>

namespace mta {

/// Mta: "src", "tgt" and the facts. Ruler: what RULER's evaluation reads, for the needle task only.
enum class SampleFormat { Mta, Ruler };

struct GenerateRequest {
  Split split = Split::Train;
  std::int64_t count = 1;
  std::uint64_t seed = 1;
  SampleFormat format = SampleFormat::Mta;
};

/// `count` samples with different contexts as JSONL, in order of index: the same request gives the
/// same bytes. Throws UserError when the task has not so many, std::runtime_error when the stream
/// fails.
void generate(const Task& task, const GenerateRequest& request, std::ostream& stream);

}  // namespace mta
