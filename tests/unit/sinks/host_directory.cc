// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sinks/host_directory.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fstream>

#include "overlay/host/posix_file.h"
#include "tests/unit/sinks/sinks_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

std::string text_at(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct stat status_at(const std::filesystem::path& path) {
  struct stat status = {};
  REQUIRE(::lstat(path.c_str(), &status) == 0);
  return status;
}

HostDirectoryReport write_to(const FileTree& tree, const std::filesystem::path& directory) {
  return value_of(write_host_directory(tree, directory, {.umask = 027}));
}

}  // namespace

TEST_CASE("Host directory: files are made as they are", "[sinks][host_directory]") {
  const ScratchDirectory scratch;
  TreeWriter writer;
  const TreeFileId a = writer.directory(kTreeRoot, "a", 0500);
  writer.state(a).modified = {1'000'000'000, 5};
  const TreeFileId file = writer.regular(a, "file", "content", 06751);
  writer.state(file).modified = {1'100'000'000, 7};
  writer.tree.set_name(kTreeRoot, "linked", file);
  writer.state(writer.add(a, "link", ext2::kModeSymlink | 0777)).target = "/no/where";
  writer.add(a, "pipe", ext2::kModeFifo | 0640);
  CHECK(write_to(writer.tree, scratch.path()).files == 5);

  CHECK(text_at(scratch.path() / "linked") == "content");
  const struct stat status = status_at(scratch.path() / "a/file");
  CHECK(status.st_ino == status_at(scratch.path() / "linked").st_ino);
  CHECK((status.st_mode & 07777) == 0750);
  CHECK(status.st_mtim.tv_sec == 1'100'000'000);
  CHECK(status.st_mtim.tv_nsec == 7);
  CHECK((status_at(scratch.path() / "a").st_mode & 07777) == 0500);
  CHECK(status_at(scratch.path() / "a").st_mtim.tv_sec == 1'000'000'000);
  CHECK(std::filesystem::read_symlink(scratch.path() / "a/link") == "/no/where");
  CHECK(S_ISFIFO(status_at(scratch.path() / "a/pipe").st_mode));
  ::chmod((scratch.path() / "a").c_str(), 0700);
}

TEST_CASE("Host directory: holes stay holes", "[sinks][host_directory]") {
  const ScratchDirectory scratch;
  TreeWriter writer;
  const TreeFileId id = writer.regular(kTreeRoot, "sparse", "");
  write_file(scratch.path() / "stored", "data");
  writer.tree.file(id).content =
      bytes_of_spool(std::shared_ptr<const ReadableFile>(
                         value_of(PosixFile::open(scratch.path() / "stored", FileLock::kNone))),
                     0, {{8'000'000, 8'000'004}}, 9'000'000);
  (void)write_to(writer.tree, scratch.path());
  const struct stat status = status_at(scratch.path() / "sparse");
  CHECK(status.st_size == 9'000'000);
  CHECK(status.st_blocks * 512 < 1'000'000);
  CHECK(text_at(scratch.path() / "sparse").substr(8'000'000, 5) == std::string("data\0", 5));
}

TEST_CASE("Host directory: no symlink is followed", "[sinks][host_directory]") {
  const ScratchDirectory scratch;
  const std::filesystem::path inside = scratch.path() / "inside";
  const std::filesystem::path outside = scratch.path() / "outside";
  std::filesystem::create_directory(inside);
  std::filesystem::create_directory(outside);
  write_file(outside / "file", "untouched");
  std::filesystem::create_symlink(outside, inside / "directory");
  std::filesystem::create_symlink(outside / "file", inside / "file");
  TreeWriter writer;
  writer.regular(writer.directory(kTreeRoot, "directory"), "file", "new");
  writer.regular(kTreeRoot, "file", "new");
  (void)write_to(writer.tree, inside);
  CHECK(text_at(outside / "file") == "untouched");
  CHECK(std::distance(std::filesystem::directory_iterator(outside), {}) == 1);
  CHECK(text_at(inside / "directory/file") == "new");
  CHECK(text_at(inside / "file") == "new");
}

TEST_CASE("Host directory: names that lead elsewhere are refused", "[sinks][host_directory]") {
  const ScratchDirectory scratch;
  const std::filesystem::path inside = scratch.path() / "inside";
  std::filesystem::create_directory(inside);
  const std::string name = GENERATE("..", ".", "../out", "/out", "");
  TreeWriter writer;
  writer.regular(kTreeRoot, name, "out");
  CHECK(expect_error(write_host_directory(writer.tree, inside, {}), {"no path below"}) ==
        ErrorKind::kInvalid);
  CHECK(std::distance(std::filesystem::directory_iterator(scratch.path()), {}) == 1);
}

TEST_CASE("Host directory: what is in the way goes, but for directories with names",
          "[sinks][host_directory]") {
  const ScratchDirectory scratch;
  std::filesystem::create_directories(scratch.path() / "kept/below");
  std::filesystem::create_directories(scratch.path() / "empty");
  write_file(scratch.path() / "file", "old");
  TreeWriter writer;
  writer.regular(writer.directory(kTreeRoot, "kept", 0711), "new", "new");
  writer.regular(kTreeRoot, "empty", "a file");
  writer.regular(writer.directory(kTreeRoot, "file"), "below", "a directory");
  (void)write_to(writer.tree, scratch.path());
  CHECK(std::filesystem::is_directory(scratch.path() / "kept/below"));
  CHECK((status_at(scratch.path() / "kept").st_mode & 07777) == 0710);
  CHECK(text_at(scratch.path() / "empty") == "a file");
  CHECK(text_at(scratch.path() / "file/below") == "a directory");

  TreeWriter other;
  other.regular(kTreeRoot, "kept", "");
  const auto refused = write_host_directory(other.tree, scratch.path(), {});
  CHECK(expect_error(refused, {"kept"}) == ErrorKind::kSystem);
  CHECK(refused.error().error_number == ENOTEMPTY);
  CHECK(text_at(scratch.path() / "kept/new") == "new");
}

TEST_CASE("Host directory: implied directories are left as they are", "[sinks][host_directory]") {
  const ScratchDirectory scratch;
  std::filesystem::create_directory(scratch.path() / "there");
  ::chmod((scratch.path() / "there").c_str(), 0701);
  TreeWriter writer;
  const TreeFileId there = writer.directory(kTreeRoot, "there", 0777);
  writer.tree.file(there).is_implied = true;
  writer.regular(there, "file", "new");
  CHECK(write_to(writer.tree, scratch.path()).files == 1);
  CHECK((status_at(scratch.path() / "there").st_mode & 07777) == 0701);
}

TEST_CASE("Host directory: marks are no files", "[sinks][host_directory]") {
  const ScratchDirectory scratch;
  TreeWriter writer;
  writer.tree.set_mark(kTreeRoot, "gone", TreeMark::kWhiteout);
  CHECK(expect_error(write_host_directory(writer.tree, scratch.path(), {}), {"gone", "a mark"}) ==
        ErrorKind::kInvalid);
}

TEST_CASE("Overlayfs: what would be a mark is refused", "[sinks][host_directory]") {
  const ScratchDirectory scratch;
  TreeWriter writer;
  std::string wanted;
  SECTION("a device") {
    writer.add(kTreeRoot, "device", ext2::kModeCharDevice | 0600);
    wanted = "\"device\": is a character device 0/0";
  }
  SECTION("a fallthru") {
    writer.tree.set_mark(kTreeRoot, "name", TreeMark::kFallthru);
    wanted = "\"name\": shows through";
  }
  CHECK(expect_error(write_overlayfs_directory(writer.tree, scratch.path(), {}), {wanted}) ==
        ErrorKind::kInvalid);
  CHECK(std::filesystem::is_empty(scratch.path()));
}
