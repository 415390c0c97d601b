// The program's entry: runs one command and turns every exception into one clear line and an exit
// code.
#include "apps/mta/cli.h"
#include "apps/mta/commands.h"
#include "lib/core/error.h"

#include <c10/util/Exception.h>

#include <cstdlib>
#include <exception>
#include <iostream>
#include <sstream>
#include <string>

namespace {

using mta::kBadNumbers;
using mta::kBadRequest;
using mta::kDone;
using mta::kFailed;

/// Each problem on a line of its own, so that a script can grep them.
void print_problems(const mta::UserError& error) {
  for (const mta::Problem& problem : error.problems()) {
    std::cerr << "mta: error: " << mta::to_string(problem) << '\n';
  }
}

/// LibTorch appends frame addresses to its messages; a person sees them only with MTA_BACKTRACE=1.
std::string torch_message(const c10::Error& error) {
  if (std::getenv("MTA_BACKTRACE") != nullptr) return error.what();
  const std::string text = error.what_without_backtrace();
  return text.substr(0, text.find('\n'));
}

int run_program(int argc, const char* const* argv) {
  try {
    return mta::run(argc, argv, std::cout, std::cerr);
  } catch (const mta::UserError& error) {
    print_problems(error);
    return kBadRequest;
  } catch (const mta::NumericError& error) {
    std::cerr << "mta: error: " << error.what() << '\n';
    return kBadNumbers;
  } catch (const c10::Error& error) {
    std::cerr << "mta: error: " << torch_message(error) << '\n';
    return kFailed;
  } catch (const std::exception& error) {
    std::cerr << "mta: error: " << error.what() << '\n';
    return kFailed;
  }
}

/// A result that could not be written (a full disk behind a redirection) is a failure, not a
/// success.
int flushed(int code) {
  std::cout.flush();
  if (code == kDone && !std::cout) {
    std::cerr << "mta: error: stdout: cannot be written\n";
    return kFailed;
  }
  return code;
}

}  // namespace

int main(int argc, char** argv) { return flushed(run_program(argc, argv)); }
