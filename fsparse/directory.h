// SPDX-License-Identifier: BSD-3-Clause
//
// Directories: the entries of one block, of a whole directory, and one name.
#ifndef UNIONFS_FSPARSE_DIRECTORY_H
#define UNIONFS_FSPARSE_DIRECTORY_H

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fsparse/block_map.h"
#include "fsparse/inode.h"
#include "fsparse/volume.h"

namespace unionfs {

// Every entry takes at least the room of a name of one byte, even a free one.
constexpr uint32_t kMinEntrySizeBytes = ext2::entry_size_bytes(1);

enum class EntryKind {
  kReal,      // names an inode
  kWhiteout,  // no such name, whatever is below
  kFallthru,  // the name comes from the lower directory with the same inode number
  kFree,      // free space
};

// What entries mean in this image.
struct DirectoryRules {
  uint64_t inode_count = 0;     // s_inodes_count
  bool has_file_types = false;  // INCOMPAT_FILETYPE; else all types are 0
  bool has_whiteouts = false;   // INCOMPAT_WHITEOUT; else whiteouts and fallthrus are free space

  static DirectoryRules of(const Volume& volume);

  // The inode of an entry; nothing if there is none of that number.
  std::optional<InodeNumber> inode(ClaimedInode claimed) const;
};

// Names a directory block in messages.
struct DirectoryPlace {
  std::string_view image_name;
  InodeNumber directory;
  BlockNumber block;
};

// One entry.  `name` points into the block; it is empty in free space.
struct EntryView {
  uint32_t offset = 0;      // of the entry in its block
  uint32_t size_bytes = 0;  // rec_len
  InodeNumber inode;        // 0 unless kReal
  uint8_t file_type = 0;    // ext2::kFileType..., 0 without file types
  EntryKind kind = EntryKind::kFree;
  std::string_view name;

  // Bytes at the end of the entry that another one could take.
  uint32_t spare_bytes() const {
    return kind == EntryKind::kFree
               ? size_bytes
               : size_bytes - ext2::entry_size_bytes(static_cast<uint32_t>(name.size()));
  }
};

// Goes over the entries of one block.  Each is checked as it is reached:
// rec_len, name_len, the name, the inode number.  Works on the bytes given,
// copies nothing; an entry's inode and type may be rewritten behind the cursor.
class DirectoryCursor {
 public:
  DirectoryCursor(ConstByteSpan block, const DirectoryRules& rules, const DirectoryPlace& place)
      : block_(block), rules_(rules), place_(place) {}

  // Nothing at the end of the block.  After an error the cursor stays where it is.
  Result<std::optional<EntryView>> next();

 private:
  Result<InodeNumber> inode_of(const EntryView& entry, ClaimedInode claimed) const;
  Result<void> check(const EntryView& entry) const;

  ConstByteSpan block_;
  DirectoryRules rules_;
  DirectoryPlace place_;
  uint32_t offset_ = 0;
};

enum class EntryStep { kContinue, kStop };

// Calls visitor(const EntryView&) -> Result<EntryStep> for every entry of a
// block, free ones too.
template <typename Visitor>
Result<void> for_each_entry(ConstByteSpan block, const DirectoryRules& rules,
                            const DirectoryPlace& place, Visitor&& visitor) {
  DirectoryCursor cursor(block, rules, place);
  while (true) {
    UNIONFS_ASSIGN(const std::optional<EntryView> entry, cursor.next());
    if (!entry) {
      return {};
    }
    UNIONFS_ASSIGN(const EntryStep step, Result<EntryStep>(visitor(*entry)));
    if (step == EntryStep::kStop) {
      return {};
    }
  }
}

// Puts inode and type of the entry at `offset` in place; the entry must have
// been seen there.
void rewrite_entry(ByteSpan block, uint32_t offset, InodeNumber inode, uint8_t file_type);
// Makes an entry at `offset` that reaches `size_bytes` far (rec_len, at most
// 65532); it and its name must lie inside the block.
void put_entry(ByteSpan block, size_t offset, size_t size_bytes, InodeNumber inode,
               uint8_t file_type, std::string_view name);

// ---- whole directories -----------------------------------------------------

// Blocks of a directory: i_size / block size.  Checks that the inode is a
// directory, that i_size is a multiple of the block size, not 0, and no more
// than the image holds.
Result<uint64_t> directory_block_count(const Volume& volume, const InodeRecord& directory);

using DirectoryBlockVisitor =
    std::function<Result<EntryStep>(FileBlock, BlockNumber, ConstByteSpan)>;

// Visits the blocks that i_size covers, in order, with their bytes; a hole is
// an error, as it is to e2fsck and the kernel, and so is a block used twice.
Result<void> walk_directory_blocks(const Volume& volume, const InodeRecord& directory,
                                   const DirectoryBlockVisitor& visitor);

// An entry and where it lies; the name is its own.
struct NamedEntry {
  std::string name;
  InodeNumber inode;  // 0 unless kReal
  uint8_t file_type = 0;
  EntryKind kind = EntryKind::kReal;
  FileBlock file_block;
  BlockNumber block;
  uint32_t offset = 0;

  bool operator==(const NamedEntry&) const = default;
};

// All entries but free space, "." and ".." among them, in the order they lie.
Result<std::vector<NamedEntry>> read_directory(const Volume& volume, const InodeRecord& directory);

// The entry of that name by the htree index alone.  kUnsupported where there is
// none or where it is of an unknown kind, kCorrupt where it is damaged; then
// reading the directory is what helps.  `name` is not "." or "..".
Result<std::optional<NamedEntry>> find_name_by_index(const Volume& volume,
                                                     const InodeRecord& directory,
                                                     std::string_view name);

// The entry of that name, of whatever kind but free space; nothing if there is
// none.  Goes through the htree index of a directory that has one, and over all
// blocks where there is none or where it is damaged or of an unknown kind: whoever
// looks for many names reads the directory once instead.
Result<std::optional<NamedEntry>> find_name(const Volume& volume, const InodeRecord& directory,
                                            std::string_view name);

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_DIRECTORY_H
