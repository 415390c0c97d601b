// Writes the samples of a task as a data set.
#include "lib/data/generate.h"

#include "lib/data/distinct.h"
#include "lib/data/jsonl.h"
#include "lib/data/ruler_format.h"

#include <ostream>
#include <stdexcept>

namespace mta {

void generate(const Task& task, const GenerateRequest& request, std::ostream& stream) {
  DistinctSamples samples(task, request.split, request.seed);
  for (std::int64_t i = 0; i < request.count; ++i) {
    const Sample sample = samples.next();
    stream << (request.format == SampleFormat::Mta ? to_jsonl(sample)
                                                   : ruler_record(sample).dump() + '\n');
    if (!stream) throw std::runtime_error("samples cannot be written: is the disk full?");
  }
}

}  // namespace mta
