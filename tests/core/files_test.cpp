// Atomic writes: whole or not at all, also when the disk is full or a crash comes between two
// renames.
#include "lib/core/files.h"

#include "lib/core/error.h"
#include "tests/support/scratch_folder.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <stdexcept>

namespace mta {
namespace {

namespace fs = std::filesystem;

class FilesTest : public ::testing::Test {
 protected:
  fs::path make_folder(const std::string& name, const std::string& content) const {
    fs::create_directories(folder_ / name);
    std::ofstream(folder_ / name / "file") << content;
    return folder_ / name;
  }

  check::ScratchFolder scratch_;
  const fs::path& folder_ = scratch_.path();
};

TEST_F(FilesTest, WritesAndReplaces) {
  write_file_atomically(folder_ / "a", "one");
  write_file_atomically(folder_ / "a", "two");
  EXPECT_EQ(read_file(folder_ / "a"), "two");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1)
      << "a temporary file was left behind";
}

TEST_F(FilesTest, AFailedWriteLeavesTheOldFileAndNoRest) {
  write_file_atomically(folder_ / "a", "old");
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{1024, before.rlim_max};
  std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);  // as a full disk would
  EXPECT_THROW(write_file_atomically(folder_ / "a", std::string(100000, 'x')), std::runtime_error);
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(read_file(folder_ / "a"), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
}

TEST_F(FilesTest, AWriterThatThrowsLeavesTheOldFile) {
  write_file_atomically(folder_ / "a", "old");
  EXPECT_THROW(
      write_file_atomically(folder_ / "a", [](std::ostream&) { throw std::runtime_error("no"); }),
      std::runtime_error);
  EXPECT_EQ(read_file(folder_ / "a"), "old");
}

TEST_F(FilesTest, SaysWhyAFileCannotBeReadOrWritten) {
  EXPECT_THROW(read_file(folder_ / "none"), UserError);
  try {
    write_file_atomically(folder_ / "none" / "a", "x");
    FAIL() << "wrote into a folder that does not exist";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("No such file or directory"), std::string::npos);
  }
}

TEST_F(FilesTest, ReplacesAFolderAndRecoversFromACrashBetweenTheRenames) {
  const fs::path target = make_folder("target", "old");
  replace_folder(make_folder("fresh", "new"), target);
  EXPECT_EQ(read_file(target / "file"), "new");

  fs::rename(target, folder_ / "target.old");  // the crash came after the first rename
  restore_folder(target);
  EXPECT_EQ(read_file(target / "file"), "new");

  make_folder("target.old", "older");  // the crash came before the old one was removed
  restore_folder(target);
  EXPECT_EQ(read_file(target / "file"), "new");
  EXPECT_FALSE(fs::exists(folder_ / "target.old"));
}

}  // namespace
}  // namespace mta
