// SPDX-License-Identifier: BSD-3-Clause
//
// Changes the names of one directory of the merged image: many at once, then
// written in one go, so that a directory of a hundred thousand names costs no
// more than its blocks.
#ifndef UNIONFS_OVERLAY_CHANGES_DIRECTORY_EDITOR_H
#define UNIONFS_OVERLAY_CHANGES_DIRECTORY_EDITOR_H

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fsparse/directory.h"
#include "overlay/changes/merged_files.h"

namespace unionfs {

// One user, one thread.
class DirectoryEditor {
 public:
  // Reads the whole directory.
  static Result<DirectoryEditor> open(MergedFiles& files, InodeNumber directory);
  // A directory whose inode was allocated and written, without a block so far.
  static DirectoryEditor create(MergedFiles& files, InodeNumber directory, InodeNumber parent);

  // A name's inode; nothing if there is no such name.
  std::optional<InodeNumber> find(const std::string& name) const;
  // All but "." and "..", in the order of their bytes.
  std::vector<std::string> names() const;

  // `name` must be there.
  void remove(const std::string& name);
  void replace(const std::string& name, InodeNumber inode, uint8_t file_type);
  // `name` must not be there.
  void add(const std::string& name, InodeNumber inode, uint8_t file_type);
  // One directory more or less below this one: its ".." counts here.
  void count_subdirectory(int change) { subdirectory_change_ += change; }

  // Writes the blocks that changed, with a new index where one is due, and the
  // inode's size, links and index flag.
  Result<void> write();

 private:
  struct Place {
    size_t block;
    uint32_t offset;
    InodeNumber inode;
  };
  struct Block {
    std::vector<std::byte> bytes;
    uint32_t largest_spare = 0;
    bool is_changed = false;
  };

  DirectoryEditor(MergedFiles& files, InodeNumber directory)
      : files_(files), directory_(directory) {}

  Result<void> read();
  uint8_t type_on_disk(uint8_t file_type) const {
    return files_.layout().has_file_types ? file_type : ext2::kFileTypeUnknown;
  }
  std::vector<EntryView> entries_of(size_t block) const;
  void learn_spare(size_t block);
  void rewind_to(size_t block);
  size_t block_with_room(uint32_t size_bytes);
  bool wants_index() const;
  Result<void> build_index();
  Result<void> write_inode();

  // One for each size an entry can have, in words.
  static constexpr size_t kEntrySizes = ext2::entry_size_bytes(ext2::kMaxNameBytes) / 4 + 1;

  MergedFiles& files_;
  InodeNumber directory_;
  std::map<std::string, Place> places_;
  std::vector<Block> blocks_;
  std::vector<BlockNumber> numbers_;  // of the blocks on disk
  // No block before has room for an entry of this size.
  std::array<size_t, kEntrySizes> first_with_room_ = {};
  bool has_index_ = false;
  bool has_additions_ = false;
  int subdirectory_change_ = 0;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_DIRECTORY_EDITOR_H
