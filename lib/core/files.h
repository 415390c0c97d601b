// Files that are either whole or not there.
#pragma once

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>

namespace mta {

/// The whole file. Throws UserError naming the path when it cannot be read.
std::string read_file(const std::filesystem::path& path);

/// Writes beside `path`, flushes to the disk, then renames: a reader sees the old file or the new
/// one, never a part. Throws std::runtime_error with the reason of the system (a full disk, a
/// missing folder); the old file stays.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

/// The same for content that is written piece by piece.
void write_file_atomically(const std::filesystem::path& path,
                           const std::function<void(std::ostream&)>& write);

/// Replaces folder `target` by folder `fresh` so that after a crash at any point `restore_folder`
/// finds a whole one.
void replace_folder(const std::filesystem::path& fresh, const std::filesystem::path& target);
/// Ends a `replace_folder` that a crash cut short.
void restore_folder(const std::filesystem::path& target);

}  // namespace mta
