// `mta schema`: the JSON Schemas of an experiment file and of a sweep file.
#include "apps/mta/commands.h"
#include "lib/core/description.h"
#include "lib/core/error.h"
#include "lib/experiment/experiment.h"
#include "lib/sweep/sweep_file.h"

#include <ostream>

namespace mta {

int run_schema(const SchemaOptions& options, std::ostream& out) {
  if (options.what != "experiment" && options.what != "sweep") {
    throw UserError("", unknown_name_message("schema", options.what, {"experiment", "sweep"}));
  }
  const Json schema = options.what == "sweep" ? sweep_schema() : experiment_schema();
  out << schema.dump(2) << '\n';
  return kDone;
}

}  // namespace mta
