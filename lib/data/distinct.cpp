// Remembers hashes of contexts: two of 64 bits agree by chance once in 3e7 sets of a million.
#include "lib/data/distinct.h"

#include "lib/core/error.h"

#include <fmt/core.h>

namespace mta {

Sample DistinctSamples::next() {
  constexpr int kTries = 10000;
  for (int i = 0; i < kTries; ++i) {
    Sample sample = task_.sample(seed_, split_, next_index_++);
    if (seen_.insert(sample.context).second) return sample;
  }
  throw UserError("",
                  fmt::format("only {} different contexts found: {} more samples brought no new "
                              "one",
                              seen_.size(), kTries),
                  "ask for fewer samples, or make the task larger");
}

}  // namespace mta
