// SPDX-License-Identifier: BSD-3-Clause
//
// The fields of the structures in an image, by name: offset, bytes of one element
// and number of elements. Held against e2fsprogs' structures, so that a test that
// damages a field damages that field.

#pragma once

#include <cstddef>
#include <string_view>

#include <ext2fs/ext2_fs.h>

namespace imagetest {

struct Field {
  std::string_view name;
  std::size_t offset_bytes;
  std::size_t element_bytes;
  std::size_t element_count;

  [[nodiscard]] constexpr std::size_t size_bytes() const { return element_bytes * element_count; }
};

#define UNIONFS_TEST_HOLD(structure, member, offset, element, count) \
  static_assert(offsetof(structure, member) == (offset), #member);   \
  static_assert(sizeof(structure::member) == (element) * (count), #member)

// name, offset, bytes of an element, elements
#define UNIONFS_TEST_SUPERBLOCK_FIELDS(FIELD)  \
  FIELD(s_inodes_count, 0x000, 4, 1)           \
  FIELD(s_blocks_count, 0x004, 4, 1)           \
  FIELD(s_r_blocks_count, 0x008, 4, 1)         \
  FIELD(s_free_blocks_count, 0x00c, 4, 1)      \
  FIELD(s_free_inodes_count, 0x010, 4, 1)      \
  FIELD(s_first_data_block, 0x014, 4, 1)       \
  FIELD(s_log_block_size, 0x018, 4, 1)         \
  FIELD(s_log_cluster_size, 0x01c, 4, 1)       \
  FIELD(s_blocks_per_group, 0x020, 4, 1)       \
  FIELD(s_clusters_per_group, 0x024, 4, 1)     \
  FIELD(s_inodes_per_group, 0x028, 4, 1)       \
  FIELD(s_mtime, 0x02c, 4, 1)                  \
  FIELD(s_wtime, 0x030, 4, 1)                  \
  FIELD(s_mnt_count, 0x034, 2, 1)              \
  FIELD(s_max_mnt_count, 0x036, 2, 1)          \
  FIELD(s_magic, 0x038, 2, 1)                  \
  FIELD(s_state, 0x03a, 2, 1)                  \
  FIELD(s_errors, 0x03c, 2, 1)                 \
  FIELD(s_minor_rev_level, 0x03e, 2, 1)        \
  FIELD(s_lastcheck, 0x040, 4, 1)              \
  FIELD(s_checkinterval, 0x044, 4, 1)          \
  FIELD(s_creator_os, 0x048, 4, 1)             \
  FIELD(s_rev_level, 0x04c, 4, 1)              \
  FIELD(s_def_resuid, 0x050, 2, 1)             \
  FIELD(s_def_resgid, 0x052, 2, 1)             \
  FIELD(s_first_ino, 0x054, 4, 1)              \
  FIELD(s_inode_size, 0x058, 2, 1)             \
  FIELD(s_block_group_nr, 0x05a, 2, 1)         \
  FIELD(s_feature_compat, 0x05c, 4, 1)         \
  FIELD(s_feature_incompat, 0x060, 4, 1)       \
  FIELD(s_feature_ro_compat, 0x064, 4, 1)      \
  FIELD(s_uuid, 0x068, 1, 16)                  \
  FIELD(s_volume_name, 0x078, 1, 16)           \
  FIELD(s_last_mounted, 0x088, 1, 64)          \
  FIELD(s_algorithm_usage_bitmap, 0x0c8, 4, 1) \
  FIELD(s_prealloc_blocks, 0x0cc, 1, 1)        \
  FIELD(s_prealloc_dir_blocks, 0x0cd, 1, 1)    \
  FIELD(s_reserved_gdt_blocks, 0x0ce, 2, 1)    \
  FIELD(s_journal_uuid, 0x0d0, 1, 16)          \
  FIELD(s_journal_inum, 0x0e0, 4, 1)           \
  FIELD(s_journal_dev, 0x0e4, 4, 1)            \
  FIELD(s_last_orphan, 0x0e8, 4, 1)            \
  FIELD(s_hash_seed, 0x0ec, 4, 4)              \
  FIELD(s_def_hash_version, 0x0fc, 1, 1)       \
  FIELD(s_jnl_backup_type, 0x0fd, 1, 1)        \
  FIELD(s_desc_size, 0x0fe, 2, 1)              \
  FIELD(s_default_mount_opts, 0x100, 4, 1)     \
  FIELD(s_first_meta_bg, 0x104, 4, 1)          \
  FIELD(s_mkfs_time, 0x108, 4, 1)              \
  FIELD(s_jnl_blocks, 0x10c, 4, 17)            \
  FIELD(s_blocks_count_hi, 0x150, 4, 1)        \
  FIELD(s_r_blocks_count_hi, 0x154, 4, 1)      \
  FIELD(s_free_blocks_hi, 0x158, 4, 1)         \
  FIELD(s_min_extra_isize, 0x15c, 2, 1)        \
  FIELD(s_want_extra_isize, 0x15e, 2, 1)       \
  FIELD(s_flags, 0x160, 4, 1)                  \
  FIELD(s_raid_stride, 0x164, 2, 1)            \
  FIELD(s_mmp_update_interval, 0x166, 2, 1)    \
  FIELD(s_mmp_block, 0x168, 8, 1)              \
  FIELD(s_raid_stripe_width, 0x170, 4, 1)      \
  FIELD(s_log_groups_per_flex, 0x174, 1, 1)    \
  FIELD(s_checksum_type, 0x175, 1, 1)          \
  FIELD(s_kbytes_written, 0x178, 8, 1)         \
  FIELD(s_snapshot_inum, 0x180, 4, 1)          \
  FIELD(s_snapshot_list, 0x190, 4, 1)          \
  FIELD(s_error_count, 0x194, 4, 1)            \
  FIELD(s_first_error_ino, 0x19c, 4, 1)        \
  FIELD(s_first_error_block, 0x1a0, 8, 1)      \
  FIELD(s_last_error_ino, 0x1d0, 4, 1)         \
  FIELD(s_last_error_block, 0x1d8, 8, 1)       \
  FIELD(s_mount_opts, 0x200, 1, 64)            \
  FIELD(s_usr_quota_inum, 0x240, 4, 1)         \
  FIELD(s_grp_quota_inum, 0x244, 4, 1)         \
  FIELD(s_overhead_clusters, 0x248, 4, 1)      \
  FIELD(s_backup_bgs, 0x24c, 4, 2)             \
  FIELD(s_encrypt_algos, 0x254, 1, 4)          \
  FIELD(s_lpf_ino, 0x268, 4, 1)                \
  FIELD(s_prj_quota_inum, 0x26c, 4, 1)         \
  FIELD(s_checksum_seed, 0x270, 4, 1)          \
  FIELD(s_wtime_hi, 0x274, 1, 1)               \
  FIELD(s_mtime_hi, 0x275, 1, 1)               \
  FIELD(s_lastcheck_hi, 0x277, 1, 1)           \
  FIELD(s_encoding, 0x27c, 2, 1)               \
  FIELD(s_orphan_file_inum, 0x280, 4, 1)       \
  FIELD(s_reserved, 0x284, 4, 94)              \
  FIELD(s_checksum, 0x3fc, 4, 1)

#define UNIONFS_TEST_GROUP_FIELDS(FIELD)     \
  FIELD(bg_block_bitmap, 0x00, 4, 1)         \
  FIELD(bg_inode_bitmap, 0x04, 4, 1)         \
  FIELD(bg_inode_table, 0x08, 4, 1)          \
  FIELD(bg_free_blocks_count, 0x0c, 2, 1)    \
  FIELD(bg_free_inodes_count, 0x0e, 2, 1)    \
  FIELD(bg_used_dirs_count, 0x10, 2, 1)      \
  FIELD(bg_flags, 0x12, 2, 1)                \
  FIELD(bg_exclude_bitmap_lo, 0x14, 4, 1)    \
  FIELD(bg_block_bitmap_csum_lo, 0x18, 2, 1) \
  FIELD(bg_inode_bitmap_csum_lo, 0x1a, 2, 1) \
  FIELD(bg_itable_unused, 0x1c, 2, 1)        \
  FIELD(bg_checksum, 0x1e, 2, 1)

#define UNIONFS_TEST_INODE_FIELDS(FIELD) \
  FIELD(i_mode, 0x00, 2, 1)              \
  FIELD(i_uid, 0x02, 2, 1)               \
  FIELD(i_size, 0x04, 4, 1)              \
  FIELD(i_atime, 0x08, 4, 1)             \
  FIELD(i_ctime, 0x0c, 4, 1)             \
  FIELD(i_mtime, 0x10, 4, 1)             \
  FIELD(i_dtime, 0x14, 4, 1)             \
  FIELD(i_gid, 0x18, 2, 1)               \
  FIELD(i_links_count, 0x1a, 2, 1)       \
  FIELD(i_blocks, 0x1c, 4, 1)            \
  FIELD(i_flags, 0x20, 4, 1)             \
  FIELD(i_block, 0x28, 4, 15)            \
  FIELD(i_generation, 0x64, 4, 1)        \
  FIELD(i_file_acl, 0x68, 4, 1)          \
  FIELD(i_size_high, 0x6c, 4, 1)         \
  FIELD(i_faddr, 0x70, 4, 1)             \
  FIELD(i_extra_isize, 0x80, 2, 1)

#define UNIONFS_TEST_FIELD(member, offset, element, count) {#member, offset, element, count},

#define UNIONFS_TEST_HOLD_SUPERBLOCK(...) UNIONFS_TEST_HOLD(ext2_super_block, __VA_ARGS__);
#define UNIONFS_TEST_HOLD_GROUP(...) UNIONFS_TEST_HOLD(ext2_group_desc, __VA_ARGS__);
#define UNIONFS_TEST_HOLD_INODE(...) UNIONFS_TEST_HOLD(ext2_inode_large, __VA_ARGS__);
UNIONFS_TEST_SUPERBLOCK_FIELDS(UNIONFS_TEST_HOLD_SUPERBLOCK)
UNIONFS_TEST_GROUP_FIELDS(UNIONFS_TEST_HOLD_GROUP)
UNIONFS_TEST_INODE_FIELDS(UNIONFS_TEST_HOLD_INODE)

constexpr Field kSuperblockFields[] = {UNIONFS_TEST_SUPERBLOCK_FIELDS(UNIONFS_TEST_FIELD)};
constexpr Field kGroupFields[] = {UNIONFS_TEST_GROUP_FIELDS(UNIONFS_TEST_FIELD)};
constexpr Field kInodeFields[] = {UNIONFS_TEST_INODE_FIELDS(UNIONFS_TEST_FIELD)};

// Plain numbers, for what lies in a block or at an offset.
constexpr Field kRawFields[] = {
    {"u8", 0, 1, 65536}, {"u16", 0, 2, 32768}, {"u32", 0, 4, 16384}, {"u64", 0, 8, 8192}};

// ---- what an upper has besides, as docs/format.md gives it -----------------

constexpr Field kMarkFields[] = {{"magic", 0x00, 8, 1},
                                 {"state_offset", 0x08, 8, 1},
                                 {"version", 0x10, 4, 1},
                                 {"reserved", 0x14, 4, 1}};

constexpr Field kHeaderFields[] = {
    {"magic", 0x000, 8, 1},
    {"version", 0x008, 4, 1},
    {"flags", 0x00c, 4, 1},
    {"generation", 0x010, 8, 1},
    {"checksum", 0x018, 8, 1},
    {"state_offset", 0x020, 8, 1},
    {"session_number", 0x028, 8, 1},
    {"merged_block_count", 0x030, 4, 1},
    {"block_size_bytes", 0x034, 4, 1},
    {"lower.uuid", 0x038, 1, 16},
    {"lower.block_size_bytes", 0x048, 4, 1},
    {"lower.s_blocks_count", 0x04c, 4, 1},
    {"lower.s_inodes_count", 0x050, 4, 1},
    {"lower.s_mtime", 0x054, 4, 1},
    {"lower.s_wtime", 0x058, 4, 1},
    {"lower.s_lastcheck", 0x05c, 4, 1},
    {"lower.hash", 0x060, 1, 16},
    {"durable_bitmap.offset", 0x070, 8, 1},
    {"durable_bitmap.length", 0x078, 8, 1},
    {"live_bitmap.offset", 0x080, 8, 1},
    {"live_bitmap.length", 0x088, 8, 1},
    {"fixed_blocks.offset", 0x090, 8, 1},
    {"fixed_blocks.length", 0x098, 8, 1},
    {"layer_tables.offset", 0x0a0, 8, 1},
    {"layer_tables.length", 0x0a8, 8, 1},
    {"translated_blocks.offset", 0x0b0, 8, 1},
    {"translated_blocks.length", 0x0b8, 8, 1},
    {"feature_compat", 0x0d0, 4, 1},
    {"feature_incompat", 0x0d4, 4, 1},
    {"feature_ro_compat", 0x0d8, 4, 1},
    {"lower_records.offset", 0x0dc, 8, 1},
    {"lower_records.length", 0x0e4, 8, 1},
    {"lower_free_blocks_count", 0x0ec, 4, 1},
    {"lower_free_inodes_count", 0x0f0, 4, 1},
    {"lower_used_dirs_count", 0x0f4, 4, 1},
};

constexpr Field kTablesFields[] = {
    {"magic", 0x00, 8, 1},
    {"checksum", 0x08, 8, 1},
    {"merged_rev_level", 0x10, 4, 1},
    {"merged_feature_compat", 0x14, 4, 1},
    {"merged_feature_incompat", 0x18, 4, 1},
    {"merged_feature_ro_compat", 0x1c, 4, 1},
    {"reserved_inodes_own", 0x20, 4, 1},
    {"boot_own", 0x24, 4, 1},
    {"translated_count", 0x28, 4, 1},
    {"kept_inode_count", 0x2c, 4, 1},
    {"kept_xattr_count", 0x30, 4, 1},
    {"group_counters_count", 0x34, 4, 1},
    {"block_whiteout_count", 0x38, 4, 1},
    {"inode_whiteout_count", 0x3c, 4, 1},
};

constexpr Field kStampFields[] = {
    {"magic", 0x00, 8, 1}, {"session_number", 0x08, 8, 1}, {"boot_id", 0x10, 1, 40}};

}  // namespace imagetest
