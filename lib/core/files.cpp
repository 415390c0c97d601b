// Reading files, and writing them by way of a temporary file and a rename.
#include "lib/core/files.h"

#include "lib/core/error.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace mta {
namespace {

[[noreturn]] void fail(const std::string& what, const std::filesystem::path& path, int reason) {
  throw std::runtime_error(path.string() + ": " + what + ": " + std::strerror(reason));
}

/// Makes what was written to a file or folder survive a power cut.
void flush_to_disk(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail("cannot be opened", path, errno);
  const int result = ::fsync(descriptor);
  const int reason = errno;
  ::close(descriptor);
  // Some file systems cannot sync a folder; that is their choice, not a failure.
  if (result != 0 && reason != EINVAL) fail("cannot be flushed to the disk", path, reason);
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) throw UserError(path.string(), std::string("cannot be read: ") + std::strerror(errno));
  if (std::filesystem::is_directory(path))
    throw UserError(path.string(), "is a folder, not a file");
  std::ostringstream content;
  content << in.rdbuf();
  return std::move(content).str();
}

void write_file_atomically(const std::filesystem::path& path,
                           const std::function<void(std::ostream&)>& write) {
  std::filesystem::path temporary = path;
  temporary += ".tmp" + std::to_string(::getpid());
  try {
    errno = 0;
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    if (!out) fail("cannot be written", path, errno);
    write(out);
    out.flush();
    if (!out) fail("cannot be written", path, errno);
    out.close();
    flush_to_disk(temporary);
    std::filesystem::rename(temporary, path);
    flush_to_disk(folder_of(path));
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw;
  }
}

void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  write_file_atomically(path, [&](std::ostream& out) {
    out.write(content.data(), static_cast<std::streamsize>(content.size()));
  });
}

// A folder cannot be renamed over one that is not empty, so the old one steps aside first. At every
// moment either `target` or `target`.old is whole.
void replace_folder(const std::filesystem::path& fresh, const std::filesystem::path& target) {
  for (const auto& entry : std::filesystem::directory_iterator(fresh)) flush_to_disk(entry.path());
  flush_to_disk(fresh);
  std::filesystem::path old = target;
  old += ".old";
  if (std::filesystem::exists(target)) {
    std::filesystem::remove_all(old);
    std::filesystem::rename(target, old);
  }
  std::filesystem::rename(fresh, target);
  flush_to_disk(folder_of(target));
  std::filesystem::remove_all(old);
}

void restore_folder(const std::filesystem::path& target) {
  std::filesystem::path old = target;
  old += ".old";
  if (!std::filesystem::exists(old)) return;
  if (std::filesystem::exists(target)) {
    std::filesystem::remove_all(old);
  } else {
    std::filesystem::rename(old, target);
  }
}

}  // namespace mta
