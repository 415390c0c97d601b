// Writes the samples of a task as a data set.
#include "lib/data/generate.h"

#include "lib/data/distinct.h"
#include "lib/data/jsonl.h"

#include <ostream>
#include <stdexcept>

namespace mta {

void generate(const Task& task, const GenerateRequest& request, std::ostream& stream) {
  DistinctSamples samples(task, request.split, request.seed);
  for (std::int64_t i = 0; i < request.count; ++i) {
    stream << to_jsonl(samples.next());
    if (!stream) throw std::runtime_error("samples cannot be written: is the disk full?");
  }
}

}  // namespace mta
