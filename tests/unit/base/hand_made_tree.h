// SPDX-License-Identifier: BSD-3-Clause
//
// Trees written by hand, images made of them, and what stands in such an image.
#ifndef UNIONFS_TESTS_UNIT_BASE_HAND_MADE_TREE_H
#define UNIONFS_TESTS_UNIT_BASE_HAND_MADE_TREE_H

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "overlay/base/make_base.h"
#include "overlay/host/posix_file.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/real_image.h"

namespace unionfs::testing {

// A tree whose files are named by their paths; directories must be made before what is in them.
class HandMadeTree {
 public:
  // Each gives the new file, to be changed.
  TreeFile& directory(std::string_view path, uint16_t permissions = 0755);
  TreeFile& regular(std::string_view path, std::string_view content = "");
  TreeFile& regular(std::string_view path, std::unique_ptr<FileBytes> content);
  TreeFile& symlink(std::string_view path, std::string_view target);
  // i_mode with the file's type.
  TreeFile& special(std::string_view path, uint16_t mode, uint32_t major = 0, uint32_t minor = 0);
  void hard_link(std::string_view path, std::string_view to);
  TreeFile& file(std::string_view path) { return tree.file(id_of(path)); }
  TreeFileId id_of(std::string_view path) const;

  FileTree tree;

 private:
  TreeFile& add(std::string_view path, TreeFile file);
};

// Bytes that look like nothing else: those of `seed`.
std::string noise(size_t size_bytes, uint32_t seed);
// A file of this size with these stored ranges, each filled with noise.
std::unique_ptr<FileBytes> sparse_bytes(std::vector<ByteRange> data, uint64_t size_bytes);
Attribute user_attribute(std::string_view name, std::string_view value);

// An image file in a directory of its own.  e2fsck -fn has found it clean.
class MadeBase {
 public:
  MadeBase(const FileTree& tree, const BaseOptions& options);

  const BaseFacts& facts() const { return facts_; }
  const std::filesystem::path& path() const { return path_; }
  std::string debugfs(const std::string& request) const;
  const Volume& volume() const { return *volume_; }
  InodeRecord inode(std::string_view path) const;
  std::vector<std::byte> bytes() const;
  // XXH3-128 of all of them.
  std::array<uint8_t, 16> digest() const;

  // Holds the whole image against the tree, as fsparse reads it: names, links, states, contents.
  void check_holds(const FileTree& tree) const;

 private:
  ScratchDirectory scratch_;
  std::filesystem::path path_;
  std::unique_ptr<PosixFile> file_;
  BaseFacts facts_;
  std::optional<Volume> volume_;
};

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_BASE_HAND_MADE_TREE_H
