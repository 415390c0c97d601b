// Child processes for tests of the program.
#include "tests/cli/program.h"

#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace mta::check {
namespace {

std::string content(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

}  // namespace

Outcome shell(const std::string& command, const std::filesystem::path& folder) {
  const char* program = std::getenv("MTA_PROGRAM");
  if (program == nullptr)
    throw std::runtime_error("MTA_PROGRAM is not set: run the tests through ctest");
  const ScratchFolder streams;
  const std::string script = "cd " + quoted(folder.string()) + " || exit 99\nmta() { " +
                             quoted(program) + " \"$@\"; }\n" + command + "\n";
  const std::string whole = "bash -c " + quoted(script) + " > " +
                            quoted((streams.path() / "out").string()) + " 2> " +
                            quoted((streams.path() / "err").string()) + " < /dev/null";
  const int status = std::system(whole.c_str());
  Outcome outcome;
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = content(streams.path() / "out");
  outcome.err = content(streams.path() / "err");
  return outcome;
}

std::filesystem::path WorkFolder::write(const std::string& name, const std::string& text) const {
  std::filesystem::create_directories((path() / name).parent_path());
  std::ofstream(path() / name, std::ios::binary) << text;
  return path() / name;
}

std::string WorkFolder::read(const std::string& name) const { return content(path() / name); }

}  // namespace mta::check
