# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What bad-input.sh expects of each field set to an extreme value. A line is
#
#   FIELD VALUE...
#
# with the values that MUST be refused, out of 0 1 max max-1 sign sign-1 +1 -1 (sign:
# the top bit alone; +1, -1: beside the right value); `all` are all of them but the
# right one, `-` is none. The values that are not listed MAY be taken: then the merged
# image can be read to its end. A field without a line fails the test.

# expectation_of TABLE FIELD
expectation_of() {
    local table=expect_$1 line
    line=$(grep -E "^$2( |\$)" <<<"${!table}") || return 1
    printf '%s' "${line#"$2" }"
}

# Bits of each feature word that may differ from what plain.img has.
# shellcheck disable=SC2034 # used by name
expect_features='
compat 0 1 3 4 5 6 7 8 9 10 11 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
incompat 1 4
ro_compat 0 1 2 6
'

# The fields from s_lastcheck's neighbours on that ext2 does not use, or that only the
# client looks at, are handed through as they are.
# shellcheck disable=SC2034
expect_superblock='
s_inodes_count all
s_blocks_count 0 1 max max-1 sign sign-1 +1
s_r_blocks_count max max-1 sign sign-1
s_free_blocks_count max max-1 sign sign-1
s_free_inodes_count max max-1 sign sign-1
s_first_data_block all
s_log_block_size all
s_log_cluster_size all
s_blocks_per_group all
s_clusters_per_group 0 1 max max-1 sign sign-1
s_inodes_per_group all
s_mtime -
s_wtime -
s_mnt_count -
s_max_mnt_count -
s_magic all
s_state all
s_errors -
s_minor_rev_level -
s_lastcheck -
s_checkinterval -
s_creator_os -
s_rev_level max max-1 sign sign-1 +1
s_def_resuid -
s_def_resgid -
s_first_ino 0 1 max max-1 sign sign-1 -1
s_inode_size all
s_block_group_nr -
s_feature_compat max max-1 sign-1
s_feature_incompat 1 max max-1 sign sign-1 +1 -1
s_feature_ro_compat max max-1 sign sign-1
s_uuid -
s_volume_name -
s_last_mounted -
s_algorithm_usage_bitmap -
s_prealloc_blocks -
s_prealloc_dir_blocks -
s_reserved_gdt_blocks max max-1 sign sign-1
s_journal_uuid -
s_journal_inum -
s_journal_dev -
s_last_orphan -
s_hash_seed -
s_def_hash_version -
s_jnl_backup_type -
s_desc_size -
s_default_mount_opts -
s_first_meta_bg -
s_mkfs_time -
s_jnl_blocks -
s_blocks_count_hi -
s_r_blocks_count_hi -
s_free_blocks_hi -
s_min_extra_isize -
s_want_extra_isize -
s_flags -
s_raid_stride -
s_mmp_update_interval -
s_mmp_block -
s_raid_stripe_width -
s_log_groups_per_flex -
s_checksum_type -
s_kbytes_written -
s_snapshot_inum -
s_snapshot_list -
s_error_count -
s_first_error_ino -
s_first_error_block -
s_last_error_ino -
s_last_error_block -
s_mount_opts -
s_usr_quota_inum -
s_grp_quota_inum -
s_overhead_clusters -
s_backup_bgs -
s_encrypt_algos -
s_lpf_ino -
s_prj_quota_inum -
s_checksum_seed -
s_wtime_hi -
s_mtime_hi -
s_lastcheck_hi -
s_encoding -
s_orphan_file_inum -
s_reserved -
s_checksum -
'

# The block bitmap one block lower is in the reserved descriptor blocks, the inode
# table one block higher in free or file blocks: whether that is seen on opening
# depends on what is read.
# shellcheck disable=SC2034
expect_group='
bg_block_bitmap 0 1 max max-1 sign sign-1 +1
bg_inode_bitmap all
bg_inode_table 0 1 max max-1 sign sign-1 -1
bg_free_blocks_count max max-1 sign sign-1
bg_free_inodes_count max max-1 sign sign-1
bg_used_dirs_count max max-1 sign sign-1
bg_flags -
bg_exclude_bitmap_lo -
bg_block_bitmap_csum_lo -
bg_inode_bitmap_csum_lo -
bg_itable_unused -
bg_checksum -
'

# ---- an upper ---------------------------------------------------------------

# shellcheck disable=SC2034
expect_mark='
magic all
state_offset all
version all
reserved 1 max max-1 sign sign-1
'

# With the checksum made right. For a slot whose magic or checksum is wrong, as after a
# torn write, the other slot steps in.
# shellcheck disable=SC2034
expect_header='
magic -
version all
flags max max-1 sign sign-1
generation -
checksum -
state_offset all
session_number -
merged_block_count all
block_size_bytes all
lower.uuid all
lower.block_size_bytes all
lower.s_blocks_count all
lower.s_inodes_count all
lower.s_mtime -
lower.s_wtime -
lower.s_lastcheck -
lower.hash all
durable_bitmap.offset all
durable_bitmap.length 0 1 max max-1 sign sign-1
live_bitmap.offset all
live_bitmap.length 0 1 max max-1 sign sign-1
fixed_blocks.offset all
fixed_blocks.length max max-1 sign sign-1
layer_tables.offset all
layer_tables.length 0 1 max max-1 sign sign-1
translated_blocks.offset 0 1 max max-1 sign sign-1
translated_blocks.length max max-1 sign sign-1
feature_compat -
feature_incompat 0 max max-1 sign sign-1
feature_ro_compat -
lower_records.offset all
lower_records.length 0 1 max max-1 sign sign-1
lower_free_blocks_count -
lower_free_inodes_count -
lower_used_dirs_count -
'

# shellcheck disable=SC2034
expect_tables='
magic all
checksum all
merged_rev_level max max-1 sign sign-1
merged_feature_compat max max-1
merged_feature_incompat max max-1 sign sign-1
merged_feature_ro_compat max max-1 sign sign-1
reserved_inodes_own -
boot_own -
translated_count max max-1 sign sign-1
kept_inode_count max max-1 sign sign-1
kept_xattr_count max max-1 sign sign-1
group_counters_count max max-1 sign sign-1
block_whiteout_count max max-1 sign sign-1
inode_whiteout_count max max-1 sign sign-1
'

# A wrong stamp only means that the live bitmap is not believed.
# shellcheck disable=SC2034
expect_stamp='
magic -
session_number -
boot_id -
'

# The layer's superblock: its geometry is the merged image's, its counters are its own.
# s_jnl_blocks holds the mark. `skip`: handed through as in the lower, and tried there.
# shellcheck disable=SC2034
expect_upper_superblock=$(
    sed -e '/^s_jnl_blocks /s/ .*/ all/' -e '/^s_state /s/ .*/ -/' \
        -e '/^s_blocks_count /s/ .*/ all/' -e '/^s_\(feature\|r_blocks\|free\)/s/ .*/ -/' \
        -e '/^s_\(rev_level\|first_ino\|clusters\|log_cluster\|reserved_gdt\)/s/ .*/ -/' \
        -e '/^s_\(first_meta_bg\|backup_bgs\|feature\|free\|state\|rev_level\|last_orphan\)/b' \
        -e '/^s_\(first_ino\|clusters\|log_cluster\|reserved_gdt\|desc_size\|uuid\)/b' \
        -e 's/ -$/ skip/' <<<"$expect_superblock"
)

# The layer's descriptors follow from the merged geometry and may never be read.
# shellcheck disable=SC2001,SC2034
expect_upper_group=$(sed 's/ .*/ -/' <<<"$expect_group")
