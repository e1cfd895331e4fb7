// SPDX-License-Identifier: BSD-3-Clause
//
// The bytes of an ext2 image: the one place that knows offsets and constants.
// Field names are ext2's own.  Sources: the kernel's Documentation/filesystems/
// ext2.rst and ext4/ (super, group descriptors, inodes, directories,
// attributes); the union-mount values are those of the 2009-2013 union mount
// patches by Valerie Aurora and Jan Blunck.
#ifndef UNIONFS_FSPARSE_EXT2_FORMAT_H
#define UNIONFS_FSPARSE_EXT2_FORMAT_H

#include <array>
#include <cstddef>
#include <cstdint>

#include "fsparse/little_endian.h"

namespace unionfs::ext2 {

// ---- sizes ---------------------------------------------------------------

constexpr uint32_t kMinBlockSizeBytes = 1024;
constexpr uint32_t kMaxBlockSizeBytes = 4096;
constexpr uint32_t kSuperblockOffsetBytes = 1024;  // from the start of the image
constexpr uint32_t kSuperblockSizeBytes = 1024;
constexpr uint32_t kGroupDescriptorSizeBytes = 32;
constexpr uint32_t kGoodOldInodeSizeBytes = 128;
constexpr uint32_t kBitsPerByte = 8;
constexpr uint32_t kSectorSizeBytes = 512;  // unit of i_blocks

// ---- superblock ----------------------------------------------------------

constexpr uint16_t kMagic = 0xEF53;

constexpr uint16_t kStateValid = 0x0001;  // cleanly unmounted
constexpr uint16_t kStateError = 0x0002;  // errors were detected

// s_flags: whether the characters of names are signed where they are hashed.
constexpr uint32_t kFlagSignedHash = 0x0001;
constexpr uint32_t kFlagUnsignedHash = 0x0002;

constexpr uint32_t kGoodOldRevision = 0;
constexpr uint32_t kDynamicRevision = 1;

constexpr uint32_t kCompatDirPrealloc = 0x0001;
constexpr uint32_t kCompatImagicInodes = 0x0002;
constexpr uint32_t kCompatHasJournal = 0x0004;
constexpr uint32_t kCompatExtAttr = 0x0008;
constexpr uint32_t kCompatResizeInode = 0x0010;
constexpr uint32_t kCompatDirIndex = 0x0020;
constexpr uint32_t kCompatSparseSuper2 = 0x0200;
constexpr uint32_t kCompatOrphanFile = 0x1000;

constexpr uint32_t kIncompatFiletype = 0x0002;
constexpr uint32_t kIncompatMetaBg = 0x0010;
constexpr uint32_t kIncompatWhiteout = 0x0020;  // union mounts

constexpr uint32_t kRoCompatSparseSuper = 0x0001;
constexpr uint32_t kRoCompatLargeFile = 0x0002;
constexpr uint32_t kRoCompatBtreeDir = 0x0004;
constexpr uint32_t kRoCompatGdtCsum = 0x0010;  // uninit_bg: descriptors have flags and checksums

struct Superblock {
  Le32 s_inodes_count;       // 0x000
  Le32 s_blocks_count;       // 0x004
  Le32 s_r_blocks_count;     // 0x008
  Le32 s_free_blocks_count;  // 0x00c
  Le32 s_free_inodes_count;  // 0x010
  Le32 s_first_data_block;   // 0x014
  Le32 s_log_block_size;     // 0x018: block size = 1024 << this
  Le32 s_log_frag_size;      // 0x01c
  Le32 s_blocks_per_group;   // 0x020
  Le32 s_frags_per_group;    // 0x024
  Le32 s_inodes_per_group;   // 0x028
  Le32 s_mtime;              // 0x02c
  Le32 s_wtime;              // 0x030
  Le16 s_mnt_count;          // 0x034
  Le16 s_max_mnt_count;      // 0x036
  Le16 s_magic;              // 0x038
  Le16 s_state;              // 0x03a
  Le16 s_errors;             // 0x03c
  Le16 s_minor_rev_level;    // 0x03e
  Le32 s_lastcheck;          // 0x040
  Le32 s_checkinterval;      // 0x044
  Le32 s_creator_os;         // 0x048
  Le32 s_rev_level;          // 0x04c
  Le16 s_def_resuid;         // 0x050
  Le16 s_def_resgid;         // 0x052
  // From here on only in revision 1.
  Le32 s_first_ino;                        // 0x054
  Le16 s_inode_size;                       // 0x058
  Le16 s_block_group_nr;                   // 0x05a: the group this copy lies in
  Le32 s_feature_compat;                   // 0x05c
  Le32 s_feature_incompat;                 // 0x060
  Le32 s_feature_ro_compat;                // 0x064
  std::array<uint8_t, 16> s_uuid;          // 0x068
  std::array<char, 16> s_volume_name;      // 0x078
  std::array<char, 64> s_last_mounted;     // 0x088
  Le32 s_algorithm_usage_bitmap;           // 0x0c8
  uint8_t s_prealloc_blocks;               // 0x0cc
  uint8_t s_prealloc_dir_blocks;           // 0x0cd
  Le16 s_reserved_gdt_blocks;              // 0x0ce: per group that has descriptors
  std::array<uint8_t, 16> s_journal_uuid;  // 0x0d0
  Le32 s_journal_inum;                     // 0x0e0
  Le32 s_journal_dev;                      // 0x0e4
  Le32 s_last_orphan;                      // 0x0e8
  std::array<Le32, 4> s_hash_seed;         // 0x0ec
  uint8_t s_def_hash_version;              // 0x0fc
  uint8_t s_jnl_backup_type;               // 0x0fd
  Le16 s_desc_size;                        // 0x0fe
  Le32 s_default_mount_opts;               // 0x100
  Le32 s_first_meta_bg;                    // 0x104: in descriptor blocks
  Le32 s_mkfs_time;                        // 0x108
  std::array<Le32, 17> s_jnl_blocks;       // 0x10c: unused without a journal
  std::array<uint8_t, 12> ignored_150;     // 0x150: high halves of counts
  Le16 s_min_extra_isize;                  // 0x15c: bytes that every i_extra_isize has
  Le16 s_want_extra_isize;                 // 0x15e: bytes that that of a new inode has
  Le32 s_flags;                            // 0x160: kFlagSignedHash or kFlagUnsignedHash
  std::array<uint8_t, 0xe4> ignored_164;   // 0x164: ext4's, error records
  Le32 s_overhead_clusters;                // 0x248
  std::array<Le32, 2> s_backup_bgs;        // 0x24c: with sparse_super2
  std::array<uint8_t, 0x1ac> ignored_254;  // 0x254
};
static_assert(sizeof(Superblock) == kSuperblockSizeBytes && alignof(Superblock) == 1);
static_assert(offsetof(Superblock, s_first_ino) == 0x054);
static_assert(offsetof(Superblock, s_uuid) == 0x068);
static_assert(offsetof(Superblock, s_reserved_gdt_blocks) == 0x0ce);
static_assert(offsetof(Superblock, s_jnl_blocks) == 0x10c);
static_assert(offsetof(Superblock, s_flags) == 0x160);
static_assert(offsetof(Superblock, s_overhead_clusters) == 0x248);
static_assert(offsetof(Superblock, s_backup_bgs) == 0x24c);

// ---- group descriptors ---------------------------------------------------

struct GroupDescriptor {
  Le32 bg_block_bitmap;             // 0x00
  Le32 bg_inode_bitmap;             // 0x04
  Le32 bg_inode_table;              // 0x08
  Le16 bg_free_blocks_count;        // 0x0c
  Le16 bg_free_inodes_count;        // 0x0e
  Le16 bg_used_dirs_count;          // 0x10
  Le16 bg_flags;                    // 0x12: this and the last two only with RO_COMPAT_GDT_CSUM
  std::array<Le32, 2> bg_reserved;  // 0x14
  Le16 bg_itable_unused;            // 0x1c: inodes at the table's end that were never used
  Le16 bg_checksum;                 // 0x1e
};
static_assert(sizeof(GroupDescriptor) == kGroupDescriptorSizeBytes);

constexpr uint16_t kGroupInodeUninit = 0x0001;  // no inode is used, and the bitmap means nothing
constexpr uint16_t kGroupBlockUninit = 0x0002;  // only metadata is used; the bitmap means nothing
constexpr uint16_t kGroupInodeZeroed = 0x0004;  // unused parts of the inode table are zeros

// ---- inodes --------------------------------------------------------------

constexpr uint16_t kUsualExtraSizeBytes = 32;  // i_extra_isize as the kernel and mke2fs set it

constexpr uint32_t kBadBlocksInode = 1;
constexpr uint32_t kRootInode = 2;
constexpr uint32_t kResizeInode = 7;
constexpr uint32_t kGoodOldFirstInode = 11;  // first non-reserved in revision 0

constexpr uint16_t kModeTypeMask = 0xF000;
constexpr uint16_t kModeFifo = 0x1000;
constexpr uint16_t kModeCharDevice = 0x2000;
constexpr uint16_t kModeDirectory = 0x4000;
constexpr uint16_t kModeBlockDevice = 0x6000;
constexpr uint16_t kModeRegular = 0x8000;
constexpr uint16_t kModeSymlink = 0xA000;
constexpr uint16_t kModeSocket = 0xC000;

// More than this e2fsck does not count, and the kernel (EXT4_LINK_MAX) does not make.
constexpr uint16_t kMaxLinks = 65000;

constexpr uint32_t kFlagIndex = 0x00001000;   // htree directory (EXT2_INDEX_FL)
constexpr uint32_t kFlagOpaque = 0x04000000;  // union mounts: opaque directory

constexpr uint32_t kDirectBlocks = 12;
constexpr uint32_t kIndirectSlot = 12;
constexpr uint32_t kDoubleIndirectSlot = 13;
constexpr uint32_t kTripleIndirectSlot = 14;
constexpr uint32_t kBlockSlots = 15;
constexpr uint32_t kFastSymlinkBytes = kBlockSlots * 4;  // target kept in i_block, less its NUL

struct Inode {
  Le16 i_mode;                            // 0x00
  Le16 i_uid;                             // 0x02: low half
  Le32 i_size;                            // 0x04: low half
  Le32 i_atime;                           // 0x08
  Le32 i_ctime;                           // 0x0c
  Le32 i_mtime;                           // 0x10
  Le32 i_dtime;                           // 0x14
  Le16 i_gid;                             // 0x18: low half
  Le16 i_links_count;                     // 0x1a
  Le32 i_blocks;                          // 0x1c: in sectors of 512 bytes
  Le32 i_flags;                           // 0x20
  Le32 i_osd1;                            // 0x24
  std::array<Le32, kBlockSlots> i_block;  // 0x28
  Le32 i_generation;                      // 0x64
  Le32 i_file_acl;                        // 0x68: the xattr block
  Le32 i_size_high;                       // 0x6c: high half in regular files (i_dir_acl elsewhere)
  Le32 i_faddr;                           // 0x70
  uint8_t i_frag;                         // 0x74
  uint8_t i_fsize;                        // 0x75
  Le16 i_pad1;                            // 0x76
  Le16 i_uid_high;                        // 0x78
  Le16 i_gid_high;                        // 0x7a
  Le32 i_reserved2;                       // 0x7c
};
static_assert(sizeof(Inode) == kGoodOldInodeSizeBytes);

// Behind the first 128 bytes of a larger inode.
struct InodeExtra {
  Le16 i_extra_isize;   // 0x80: bytes of this part in use
  Le16 i_checksum_hi;   // 0x82
  Le32 i_ctime_extra;   // 0x84
  Le32 i_mtime_extra;   // 0x88
  Le32 i_atime_extra;   // 0x8c
  Le32 i_crtime;        // 0x90
  Le32 i_crtime_extra;  // 0x94
};
static_assert(sizeof(InodeExtra) == 24);

// ---- directories ---------------------------------------------------------

constexpr uint32_t kMaxNameBytes = 255;

constexpr uint8_t kFileTypeUnknown = 0;
constexpr uint8_t kFileTypeRegular = 1;
constexpr uint8_t kFileTypeDirectory = 2;
constexpr uint8_t kFileTypeCharDevice = 3;
constexpr uint8_t kFileTypeBlockDevice = 4;
constexpr uint8_t kFileTypeFifo = 5;
constexpr uint8_t kFileTypeSocket = 6;
constexpr uint8_t kFileTypeSymlink = 7;
constexpr uint8_t kFileTypeWhiteout = 8;  // union mounts: inode 0, no such name
constexpr uint8_t kFileTypeFallthru = 9;  // union mounts: inode 0, the name comes from below
                                          // (value inferred: the patches name no other)

struct DirectoryEntry {
  Le32 inode;    // 0: free space, unless file_type is a whiteout or a fallthru
  Le16 rec_len;  // to the next entry; multiple of 4
  uint8_t name_len;
  uint8_t file_type;  // means nothing without INCOMPAT_FILETYPE
  // name_len bytes of name follow
};
static_assert(sizeof(DirectoryEntry) == 8);

// Bytes an entry with a name of this length takes at least.
constexpr uint32_t entry_size_bytes(uint32_t name_length) {
  return (sizeof(DirectoryEntry) + name_length + 3) / 4 * 4;
}

// ---- extended attributes -------------------------------------------------

constexpr uint32_t kXattrMagic = 0xEA020000;

struct XattrHeader {
  Le32 h_magic;
  Le32 h_refcount;
  Le32 h_blocks;
  Le32 h_hash;
  std::array<Le32, 4> h_reserved;
};
static_assert(sizeof(XattrHeader) == 32);

struct XattrEntry {
  uint8_t e_name_len;
  uint8_t e_name_index;
  Le16 e_value_offs;   // from the block's start, or from the first entry in an inode
  Le32 e_value_block;  // always 0
  Le32 e_value_size;
  Le32 e_hash;
  // e_name_len bytes of name follow, padded to 4
};
static_assert(sizeof(XattrEntry) == 16);

}  // namespace unionfs::ext2

#endif  // UNIONFS_FSPARSE_EXT2_FORMAT_H
