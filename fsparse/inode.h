// SPDX-License-Identifier: BSD-3-Clause
//
// One inode's record, as it lies in its table.
#ifndef UNIONFS_FSPARSE_INODE_H
#define UNIONFS_FSPARSE_INODE_H

#include <cstdint>
#include <optional>
#include <vector>

#include "fsparse/ext2_format.h"
#include "fsparse/volume.h"

namespace unionfs {

inline constexpr InodeNumber kRootDirectory(ext2::kRootInode);

// The ext2::kFileType... of a directory entry that names an inode of this i_mode.
uint8_t file_type_of(uint16_t mode);

// A copy of the record with the number it was read for.  Accessors interpret,
// they do not check: only what is read through a Volume is checked, where it is
// used.  A value; not shared between threads while it is changed.
class InodeRecord {
 public:
  // `bytes` is the whole record: s_inode_size bytes, at least 128.
  InodeRecord(InodeNumber number, ConstByteSpan bytes, uint32_t block_size_bytes);

  InodeNumber number() const { return number_; }
  ConstByteSpan bytes() const { return bytes_; }
  ByteSpan bytes() { return bytes_; }

  // The first 128 bytes.
  const ext2::Inode& raw() const { return *reinterpret_cast<const ext2::Inode*>(bytes_.data()); }
  ext2::Inode& raw() { return *reinterpret_cast<ext2::Inode*>(bytes_.data()); }

  // File type bits of i_mode; 0 in a slot that was never used.
  uint16_t type() const { return raw().i_mode & ext2::kModeTypeMask; }
  bool is_regular() const { return type() == ext2::kModeRegular; }
  bool is_directory() const { return type() == ext2::kModeDirectory; }
  bool is_symlink() const { return type() == ext2::kModeSymlink; }
  bool is_device() const {
    return type() == ext2::kModeCharDevice || type() == ext2::kModeBlockDevice;
  }
  bool is_fifo() const { return type() == ext2::kModeFifo; }
  bool is_socket() const { return type() == ext2::kModeSocket; }
  bool has_known_type() const;
  uint8_t file_type() const { return file_type_of(raw().i_mode); }

  // i_size; i_size_high counts for regular files only.
  uint64_t size_bytes() const;
  uint32_t user_id() const { return raw().i_uid | uint32_t{raw().i_uid_high} << 16; }
  uint32_t group_id() const { return raw().i_gid | uint32_t{raw().i_gid_high} << 16; }
  // The xattr block.
  ClaimedBlock file_acl() const { return ClaimedBlock(raw().i_file_acl); }
  ClaimedBlock pointer(uint32_t slot) const { return ClaimedBlock(raw().i_block[slot]); }
  bool has_index() const { return (raw().i_flags & ext2::kFlagIndex) != 0; }
  bool is_opaque() const { return (raw().i_flags & ext2::kFlagOpaque) != 0; }

  // A symlink whose target lies in i_block: i_blocks counts nothing but the
  // xattr block, as the kernel decides it.
  bool is_fast_symlink() const;
  // Whether i_block holds block pointers: regular files, directories, long
  // symlinks, and the special inodes without a mode (1, 7).  Not fast symlinks,
  // devices, fifos, sockets.
  bool has_block_map() const;

  // Bytes of the part behind the first 128 that hold fields; 0 in an inode of
  // 128 bytes.  As it stands in the record, even where it is out of range.
  uint32_t extra_size_bytes() const;
  // A copy of the extra fields: those that i_extra_isize covers, zero behind
  // that.  Nothing if the record has no such part or i_extra_isize is wrong.
  std::optional<ext2::InodeExtra> extra() const;

 private:
  InodeNumber number_;
  uint32_t block_size_bytes_;
  std::vector<std::byte> bytes_;
};

// Whether a slot of an inode table is as if it was never used.
bool is_empty_slot(ConstByteSpan slot);
// Makes i_atime and its extra bits zero in the bytes of a slot, s_inode_size of them: a
// mere read changes those.
void forget_access_time(ByteSpan slot);

// Checks that 1 <= number <= s_inodes_count.
Result<InodeRecord> read_inode(const Volume& volume, InodeNumber number);

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_INODE_H
