// SPDX-License-Identifier: BSD-3-Clause
//
// What a file is, by value: all that two files of two images can be compared by, apart from
// the bytes of a regular file.  diff, rebase and their reports share it.
#ifndef UNIONFS_OVERLAY_TREE_FILE_STATE_H
#define UNIONFS_OVERLAY_TREE_FILE_STATE_H

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fsparse/inode.h"
#include "fsparse/xattr.h"

namespace unionfs {

// Of i_flags what a user may set (chattr); all others speak of the inode's place in its image.
constexpr uint32_t kUserFlags = 0x000380FF;

// Seconds since 1970 and nanoseconds below a second.  With the extra fields of inodes of more
// than 128 bytes: from 1901 to 2446, as ext4 reads them; without: until 2038, in whole seconds.
struct FileTime {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;

  auto operator<=>(const FileTime&) const = default;
};

// Of i_mtime and its like, and of the extra word that belongs to it (0 where there is none).
FileTime file_time_of(uint32_t seconds, uint32_t extra);

struct FileState {
  InodeNumber inode;        // in its own image
  uint32_t generation = 0;  // i_generation: another one when the number is given out again
  uint16_t mode = 0;        // i_mode: file type and permission bits
  uint32_t user_id = 0;
  uint32_t group_id = 0;
  uint32_t user_flags = 0;    // of i_flags, by kUserFlags
  uint32_t links_count = 0;   // i_links_count
  uint64_t size_bytes = 0;    // i_size
  uint32_t device_major = 0;  // of devices
  uint32_t device_minor = 0;
  std::string target;  // of symlinks
  FileTime accessed;
  FileTime changed;
  FileTime modified;
  std::optional<FileTime> created;    // where the inode keeps it
  std::vector<Attribute> attributes;  // ascending by name_index and name

  uint16_t type() const { return mode & ext2::kModeTypeMask; }
  uint16_t permissions() const { return mode & ~ext2::kModeTypeMask; }
  bool is_directory() const { return type() == ext2::kModeDirectory; }
  bool is_regular() const { return type() == ext2::kModeRegular; }
};

// By name_index and name.
void sort_attributes(std::vector<Attribute>& attributes);

// Errors name the image and the inode, as those of the functions that it reads with.
Result<FileState> file_state_of(const Volume& volume, const InodeRecord& record);
Result<FileState> file_state_of(const Volume& volume, InodeNumber inode);

// Whether a record of this size keeps the time as it is.
bool can_keep_time(const FileTime& time, uint32_t inode_size_bytes);
// Whether its seconds can be kept at all.
bool can_keep_seconds(const FileTime& time, uint32_t inode_size_bytes);

// Puts mode, owner, group, user flags and times in place; times are cut to what the record
// can keep.  Links, size, blocks, target, device and attributes stay.
void put_metadata(const FileState& state, InodeRecord& record);

struct DeviceNumbers {
  uint32_t major = 0;
  uint32_t minor = 0;

  bool operator==(const DeviceNumbers&) const = default;
};

// Of a character or block device.
DeviceNumbers device_of(const InodeRecord& record);
// Puts the numbers of a device into i_block.  Numbers that a device cannot have (12 bits of
// major, 20 of minor) are cut.
void put_device(const DeviceNumbers& numbers, InodeRecord& record);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_TREE_FILE_STATE_H
