// `mta schema`: the JSON Schema of an experiment file.
#include "apps/mta/commands.h"
#include "lib/experiment/experiment.h"

#include <ostream>

namespace mta {

int run_schema(std::ostream& out) {
  out << experiment_schema().dump(2) << '\n';
  return kDone;
}

}  // namespace mta
