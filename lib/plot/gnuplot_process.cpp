// Runs gnuplot with a script in memory and collects the picture from a pipe.
#include "lib/core/error.h"
#include "lib/plot/gnuplot.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

namespace mta::plot {
namespace {

[[noreturn]] void fail(const std::string& what, int code) {
  throw std::runtime_error("gnuplot: " + what + ": " + std::strerror(code));
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return value_; }
  void close() {
    if (value_ >= 0) ::close(value_);
    value_ = -1;
  }

 private:
  int value_;
};

/// A file that lives in memory and goes with its descriptor.
int memory_file(std::string_view content) {
  const int file = memfd_create("mta-gnuplot", MFD_CLOEXEC);
  if (file < 0) fail("no memory file", errno);
  while (!content.empty()) {
    const ssize_t written = write(file, content.data(), content.size());
    if (written < 0) fail("writing the script", errno);
    content.remove_prefix(std::size_t(written));
  }
  lseek(file, 0, SEEK_SET);
  return file;
}

std::string read_all(int file) {
  std::string content;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t count = read(file, buffer, sizeof buffer);
    if (count == 0) return content;
    if (count < 0 && errno != EINTR) fail("reading the picture", errno);
    if (count > 0) content.append(buffer, std::size_t(count));
  }
}

pid_t start(int script, int picture, int complaints) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, script, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, picture, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, complaints, STDERR_FILENO);
  char name[] = "gnuplot";
  char defaults[] = "--default-settings";  // a user's ~/.gnuplot must not change the picture
  char* arguments[] = {name, defaults, nullptr};
  pid_t process = 0;
  const int code = posix_spawnp(&process, name, &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (code == ENOENT) {
    throw UserError("gnuplot", "not found in PATH; it draws SVG, PNG and PDF",
                    "install it (apt-get install gnuplot-nox), or write a page: --out FILE.html");
  }
  if (code != 0) fail("cannot start", code);
  return process;
}

/// gnuplot shows the offending input and a caret, then "line 0: what is wrong": from a pipe, all
/// lines have number 0.
std::string complaint_of(const std::string& said) {
  constexpr std::string_view kPlace = "line 0: ";
  std::size_t begin = said.find(kPlace);
  begin = begin == std::string::npos ? 0 : begin + kPlace.size();
  const std::string line = said.substr(begin, said.find('\n', begin) - begin);
  return line.empty() ? "no reason given" : line;
}

}  // namespace

std::string run_gnuplot(const std::string& script) {
  Descriptor input(memory_file(script));
  Descriptor complaints(memory_file(""));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail("no pipe", errno);
  Descriptor from(ends[0]), to(ends[1]);

  const pid_t process = start(input.get(), to.get(), complaints.get());
  to.close();
  std::string picture = read_all(from.get());
  int status = 0;
  while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }

  lseek(complaints.get(), 0, SEEK_SET);
  const std::string said = read_all(complaints.get());
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || picture.empty()) {
    throw std::runtime_error("gnuplot failed: " + complaint_of(said));
  }
  return picture;
}

}  // namespace mta::plot
