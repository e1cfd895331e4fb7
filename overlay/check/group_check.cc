// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/check/group_check.h"

#include <algorithm>

#include "fsparse/group_checksum.h"
#include "fsparse/inode.h"
#include "overlay/upper/layer_groups.h"

namespace unionfs {

LayerNumbers::LayerNumbers(const Layout& layout, const LayerTables& tables)
    : own_blocks(layout),
      own_inodes(layout, GroupBits(layout.group_count(), layout.inodes_per_group)),
      block_whiteouts(layout),
      inode_whiteouts(layout, GroupBits(layout.group_count(), layout.inodes_per_group)) {
  for (const BlockRange& range : tables.block_whiteouts) {
    for (BlockNumber block = range.begin; block < range.end; ++block) {
      block_whiteouts.set(block);
    }
  }
  for (const InodeRange& range : tables.inode_whiteouts) {
    for (InodeNumber inode = range.begin; inode < range.end; ++inode) {
      inode_whiteouts.set(inode);
    }
  }
}

namespace {

class GroupCheck {
 public:
  GroupCheck(const CheckSources& sources, Violations& violations, LayerNumbers& numbers)
      : from_(sources),
        layout_(sources.layout()),
        violations_(violations),
        numbers_(numbers),
        has_checksums_(has_group_checksums(sources.upper.superblock().raw())),
        checksum_(sources.upper.superblock().raw().s_uuid) {}

  Result<void> run() {
    for (uint32_t number = 0; number < layout_.group_count(); ++number) {
      UNIONFS_TRY(violations_.take(check_bitmaps(GroupNumber(number))));
    }
    check_superblock();
    for (uint32_t number = 0; number < layout_.group_count(); ++number) {
      UNIONFS_TRY(violations_.take(check_free_slots(GroupNumber(number))));
    }
    return {};
  }

 private:
  Result<void> check_bitmaps(GroupNumber group) {
    UNIONFS_TRY(check_descriptor(group));
    UNIONFS_TRY(check_block_bitmap(group));
    return check_inode_bitmap(group);
  }

  // Its flags are believed only with a right checksum.
  Result<void> check_descriptor(GroupNumber group) {
    if (!has_checksums_) {
      return {};
    }
    const uint32_t per_block = layout_.descriptors_per_block();
    const uint64_t offset =
        layout_.offset_of(layout_.primary_descriptor_block(group.value() / per_block)) +
        uint64_t{group.value() % per_block} * sizeof(ext2::GroupDescriptor);
    UNIONFS_ASSIGN(const auto raw,
                   read_structure<ext2::GroupDescriptor>(from_.upper.image(), offset));
    if (const uint16_t checksum = checksum_.of(group, raw); raw.bg_checksum != checksum) {
      violations_.add_mendable("group {}: bg_checksum is {:#x}, not {:#x}", group, raw.bg_checksum,
                               checksum);
    }
    if ((raw.bg_flags & ext2::kGroupBlockUninit) != 0 &&
        ((raw.bg_flags & ext2::kGroupInodeUninit) == 0 ||
         group.value() + 1 == layout_.group_count())) {
      violations_.add_mendable("group {}: bg_flags {:#x} say that it has no block bitmap", group,
                               raw.bg_flags);
    }
    return {};
  }

  Result<void> check_block_bitmap(GroupNumber group) {
    const Group& counters = from_.upper.group(group);
    const BlockRange blocks = layout_.blocks_of(group);
    std::vector<std::byte> bits(layout_.block_size_bytes);
    if (counters.has_block_bitmap) {
      UNIONFS_TRY(from_.upper.read_block(counters.block_bitmap, bits));
    } else {
      set_fixed_bits(from_.geometry, group, bits);
      set_bits(bits, blocks.count(), bits.size() * 8);
    }
    const uint64_t free_blocks = blocks.count() - count_bits(bits, 0, blocks.count());
    if (free_blocks != counters.free_blocks_count) {
      violations_.add_mendable("group {}: bg_free_blocks_count is {}, but {} blocks are free",
                               group, counters.free_blocks_count, free_blocks);
    }
    std::vector<std::byte> wanted = bits;
    set_fixed_bits(from_.geometry, group, wanted);
    set_bits(wanted, blocks.count(), wanted.size() * 8);
    if (wanted != bits) {
      violations_.add_mendable("group {}: the block bitmap marks blocks of the metadata free",
                               group);
    }
    clear_fixed_bits(from_.geometry, group, bits);
    for (uint64_t bit = 0; (bit = find_set_bit(bits, bit, blocks.count())) < blocks.count();
         ++bit) {
      numbers_.own_blocks.set(blocks.begin + bit);
    }
    return {};
  }

  Result<void> check_inode_bitmap(GroupNumber group) {
    const Group& counters = from_.upper.group(group);
    const uint64_t inode_count = layout_.inodes_per_group;
    std::vector<std::byte> bits(layout_.block_size_bytes);
    if (counters.has_inode_bitmap) {
      UNIONFS_TRY(from_.upper.read_block(counters.inode_bitmap, bits));
    } else {
      set_bits(bits, inode_count, bits.size() * 8);
    }
    const uint64_t free_inodes = inode_count - count_bits(bits, 0, inode_count);
    if (free_inodes != counters.free_inodes_count) {
      violations_.add_mendable("group {}: bg_free_inodes_count is {}, but {} inodes are free",
                               group, counters.free_inodes_count, free_inodes);
    }
    const uint32_t reserved = from_.geometry.reserved_inodes_in(group);
    std::vector<std::byte> wanted = bits;
    set_bits(wanted, 0, reserved);
    set_bits(wanted, inode_count, wanted.size() * 8);
    if (wanted != bits) {
      violations_.add_mendable("group {}: the inode bitmap marks reserved inodes free", group);
    }
    const auto first = static_cast<uint32_t>(group.value() * inode_count + 1);
    for (uint64_t bit = 0; (bit = find_set_bit(bits, bit, inode_count)) < inode_count; ++bit) {
      const uint64_t inode = first + bit;
      if (bit >= reserved || (inode < ext2::kGoodOldFirstInode &&
                              (from_.tables.reserved_inodes_own >> (inode - 1) & 1) != 0)) {
        numbers_.own_inodes.set(InodeNumber(static_cast<uint32_t>(inode)));
      }
    }
    return {};
  }

  void check_superblock() {
    const ext2::Superblock& raw = from_.upper.superblock().raw();
    uint64_t free_blocks = 0;
    uint64_t free_inodes = 0;
    for (const Group& group : from_.upper.groups()) {
      free_blocks += group.free_blocks_count;
      free_inodes += group.free_inodes_count;
    }
    if (raw.s_free_blocks_count != free_blocks) {
      violations_.add_mendable("superblock: s_free_blocks_count is {}, but the groups have {}",
                               raw.s_free_blocks_count, free_blocks);
    }
    if (raw.s_free_inodes_count != free_inodes) {
      violations_.add_mendable("superblock: s_free_inodes_count is {}, but the groups have {}",
                               raw.s_free_inodes_count, free_inodes);
    }
    if (raw.s_state != ext2::kStateValid) {
      violations_.add("superblock: s_state is {:#x}, not \"cleanly unmounted\"", raw.s_state);
    }
    if ((raw.s_feature_incompat & ext2::kIncompatWhiteout) == 0 ||
        (raw.s_feature_incompat & ext2::kIncompatFiletype) == 0) {
      violations_.add("superblock: s_feature_incompat {:#x} lacks WHITEOUT or FILETYPE",
                      raw.s_feature_incompat);
    }
  }

  // Whoever goes by slots would take a slot in use for an inode, although the
  // bitmap calls it free.
  Result<void> check_free_slots(GroupNumber group) {
    const uint64_t begin = layout_.offset_of(from_.upper.group(group).inode_table);
    const uint64_t end = begin + uint64_t{layout_.inodes_per_group} * layout_.inode_size_bytes;
    for (uint64_t offset = begin; offset < end;) {
      const FileExtent extent = from_.upper_file.extent_at(offset);
      const uint64_t extent_end = std::min(std::max(extent.end, offset + 1), end);
      if (!extent.is_hole) {
        UNIONFS_TRY(check_slots(group, (offset - begin) / layout_.inode_size_bytes,
                                divide_round_up(extent_end - begin, layout_.inode_size_bytes)));
      }
      offset = extent_end;
    }
    return {};
  }

  // Slots [first, end) of the group.
  Result<void> check_slots(GroupNumber group, uint64_t first, uint64_t end) {
    const uint64_t slot_size = layout_.inode_size_bytes;
    const uint64_t table = layout_.offset_of(from_.upper.group(group).inode_table);
    std::vector<std::byte> slots((end - first) * slot_size);
    UNIONFS_TRY(from_.upper_file.read(table + first * slot_size, slots));
    for (uint64_t slot = first; slot < end; ++slot) {
      const InodeNumber inode(
          static_cast<uint32_t>(group.value() * layout_.inodes_per_group + slot + 1));
      const InodeRecord record(inode,
                               ConstByteSpan(slots).subspan((slot - first) * slot_size, slot_size),
                               layout_.block_size_bytes);
      if (!numbers_.own_inodes.test(inode) && record.raw().i_links_count != 0) {
        violations_.add("inode {} has {} links, but is not marked own", inode,
                        record.raw().i_links_count);
      }
    }
    return {};
  }

  const CheckSources& from_;
  const Layout& layout_;
  Violations& violations_;
  LayerNumbers& numbers_;
  const bool has_checksums_;
  const GroupChecksum checksum_;
};

}  // namespace

Result<LayerNumbers> check_groups(const CheckSources& sources, Violations& violations) {
  LayerNumbers numbers(sources.layout(), sources.tables);
  UNIONFS_TRY(GroupCheck(sources, violations, numbers).run());
  return numbers;
}

}  // namespace unionfs
