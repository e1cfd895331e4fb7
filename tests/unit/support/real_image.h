// SPDX-License-Identifier: BSD-3-Clause
//
// Images made at test time by the real tools, and what those tools say of them.
// Each helper throws, and so fails its test, when a tool fails.
#ifndef UNIONFS_TESTS_UNIT_SUPPORT_REAL_IMAGE_H
#define UNIONFS_TESTS_UNIT_SUPPORT_REAL_IMAGE_H

#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "tests/unit/support/memory_image.h"

namespace unionfs::testing {

// Runs a program, found through PATH; gives what it printed on stdout and
// stderr.  Any exit code but those allowed throws, with the output.
std::string run(const std::vector<std::string>& arguments, std::string_view input = "",
                std::initializer_list<int> allowed_exit_codes = {0});

// A directory of its own under $TMPDIR or /var/tmp; removed with all in it.
class ScratchDirectory {
 public:
  ScratchDirectory();
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void write_file(const std::filesystem::path& path, std::string_view content);

struct MakeOptions {
  std::string features = {};           // mke2fs -O
  uint32_t block_size_bytes = 1024;    // -b
  uint32_t inode_size_bytes = 128;     // -I
  std::string extended = {};           // more of -E
  std::vector<std::string> more = {};  // other options
  std::filesystem::path content = {};  // -d: the tree to put in
};

// An image file called "lower.img" in a scratch directory of its own.
class RealImage {
 public:
  // Plain ext2; same options, same bytes (fixed UUID, hash seed and times).
  RealImage(uint64_t block_count, const MakeOptions& options);

  const std::filesystem::path& path() const { return path_; }
  const std::filesystem::path& directory() const { return scratch_.path(); }

  // What debugfs prints for one request, without its banner.
  std::string debugfs(const std::string& request) const;
  // Runs requests that write; debugfs itself never fails, so errors it prints throw.
  void change(const std::vector<std::string>& requests) const;
  std::string dumpe2fs() const;
  // e2fsck -fy with more options; throws if anything is left uncorrected.
  void repair(const std::vector<std::string>& options) const;
  void check_clean() const;  // e2fsck -fn must be content

  // A copy of the bytes under the name "lower.img".
  MemoryImage load() const;

 private:
  ScratchDirectory scratch_;
  std::filesystem::path path_;
};

// The number behind the first occurrence of `label` in a tool's output.
uint64_t number_after(std::string_view output, std::string_view label);
// All the numbers in a text, in order.
std::vector<uint64_t> numbers_in(std::string_view text);

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SUPPORT_REAL_IMAGE_H
