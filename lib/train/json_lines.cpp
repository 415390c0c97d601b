// Appending with write(2), and cutting a file back to a step.
#include "lib/train/json_lines.h"

#include "lib/core/error.h"
#include "lib/core/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace mta {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path) {
  throw std::runtime_error(path.string() + ": cannot be written: " + std::strerror(errno));
}

}  // namespace

JsonLines::JsonLines(std::filesystem::path path) : path_(std::move(path)) {
  constexpr int kReadableByAll = 0644;
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kReadableByAll);
  if (descriptor_ < 0) fail(path_);
}

JsonLines::~JsonLines() { ::close(descriptor_); }

void JsonLines::append(const Json& line) {
  const std::string text = line.dump() + '\n';
  for (std::size_t written = 0; written < text.size();) {
    const ssize_t count = ::write(descriptor_, text.data() + written, text.size() - written);
    if (count < 0 && errno != EINTR) fail(path_);
    if (count > 0) written += static_cast<std::size_t>(count);
  }
}

std::vector<Json> read_json_lines(const std::filesystem::path& path) {
  std::vector<Json> lines;
  if (!std::filesystem::exists(path)) return lines;
  const std::string text = read_file(path);
  for (std::size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // the writer was killed inside this line
    Json line = Json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                            text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (!line.is_object()) {
      throw UserError(path.string() + ":" + std::to_string(number), "is not a JSON object");
    }
    lines.push_back(std::move(line));
    begin = end + 1;
  }
  return lines;
}

void keep_json_lines(const std::filesystem::path& path, std::int64_t step) {
  if (!std::filesystem::exists(path)) return;
  std::string kept;
  for (const Json& line : read_json_lines(path)) {
    if (line.value("step", std::int64_t{0}) <= step) kept += line.dump() + '\n';
  }
  write_file_atomically(path, kept);
}

}  // namespace mta
