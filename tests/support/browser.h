// Opens a page of ours in headless Chromium, where there is one.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace mta::check {

inline bool has_browser() { return std::system("command -v chromium >/dev/null") == 0; }

/// The document of the page after its scripts have run, as HTML. `query` follows the file's name
/// ("?test=1"). The browser has no network: a page that fetched something would differ.
inline std::string dom_of(const std::filesystem::path& page, const std::string& query = "") {
  const std::filesystem::path profile = page.parent_path() / "chromium-profile";
  const std::string command =
      "chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage "
      "--host-resolver-rules='MAP * ~NOTFOUND' --virtual-time-budget=20000 --dump-dom "
      "--user-data-dir='" +
      profile.string() + "' 'file://" + page.string() + query + "' 2>/dev/null";
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("cannot start chromium");
  std::string dom;
  std::array<char, 4096> buffer{};
  while (const std::size_t count = fread(buffer.data(), 1, buffer.size(), pipe)) {
    dom.append(buffer.data(), count);
  }
  if (pclose(pipe) != 0) throw std::runtime_error("chromium failed on " + page.string());
  return dom;
}

}  // namespace mta::check
