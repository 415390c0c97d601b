// Locks, fork and exec.
#include "lib/sweep/child.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace mta {
namespace {

constexpr int kReadableByAll = 0644;
constexpr int kNotStarted = 127;  // as a shell says it

[[noreturn]] void fail(const std::filesystem::path& path, const char* what) {
  throw std::runtime_error(path.string() + ": " + what + ": " + std::strerror(errno));
}

std::vector<std::string> environment_with(
    const std::vector<std::pair<std::string, std::string>>& added) {
  std::vector<std::string> environment;
  for (char** entry = ::environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const bool replaced = std::any_of(added.begin(), added.end(), [&](const auto& pair) {
      return text.starts_with(pair.first + "=");
    });
    if (!replaced) environment.push_back(text);
  }
  for (const auto& [name, value] : added) environment.push_back(name + "=" + value);
  return environment;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// Between fork and exec: only calls that are safe there.
[[noreturn]] void become(const ChildCommand& command, pid_t parent, int log, char* const* arguments,
                         char* const* environment) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(kNotStarted);  // it died before the line above
  ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  if (command.lock >= 0) ::fcntl(command.lock, F_SETFD, 0);
  ::sigprocmask(SIG_SETMASK, &command.signals, nullptr);
  ::execve(command.file.empty() ? arguments[0] : command.file.c_str(), arguments, environment);
  const char* reason = std::strerror(errno);
  static_cast<void>(::write(STDERR_FILENO, reason, std::strlen(reason)) +
                    ::write(STDERR_FILENO, "\n", 1));
  ::_exit(kNotStarted);
}

}  // namespace

std::optional<PointLock> PointLock::take(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  const std::filesystem::path path = directory / ".sweep.lock";
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kReadableByAll);
  if (descriptor < 0) fail(path, "cannot be opened");
  PointLock lock(descriptor);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) fail(path, "cannot be locked");
  return std::nullopt;
}

PointLock& PointLock::operator=(PointLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

PointLock::~PointLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

pid_t start_child(const ChildCommand& command) {
  std::vector<std::string> arguments = command.arguments;
  std::vector<std::string> environment = environment_with(command.environment);
  const std::vector<char*> argument_pointers = pointers_to(arguments);
  const std::vector<char*> environment_pointers = pointers_to(environment);
  const int log =
      ::open(command.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kReadableByAll);
  if (log < 0) fail(command.log, "cannot be written");
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    become(command, parent, log, argument_pointers.data(), environment_pointers.data());
  }
  const int reason = errno;
  ::close(log);
  errno = reason;
  if (child < 0) fail(command.arguments.front(), "cannot be started");
  return child;
}

std::optional<ChildEnd> ended(pid_t child) {
  int status = 0;
  if (::waitpid(child, &status, WNOHANG) != child) return std::nullopt;
  ChildEnd end;
  if (WIFEXITED(status)) end.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  return end;
}

}  // namespace mta
