// The command line: the only place that knows flags.
#pragma once

#include <iosfwd>

namespace mta {

/// Parses the command line and runs the command it names. Returns the exit code; throws what
/// commands throw. A wrong command line throws UserError naming the flag.
int run(int argc, const char* const* argv, std::ostream& out, std::ostream& err);

}  // namespace mta
