// SPDX-License-Identifier: BSD-3-Clause
//
// The layer's bitmaps, descriptors and superblock; and the order of all checks.
#include <algorithm>

#include "overlay/check/layer_check.h"
#include "overlay/upper/layer_groups.h"

namespace unionfs {

LayerCheck::LayerCheck(const CheckSources& sources)
    : from_(sources),
      layout_(sources.geometry.merged()),
      used_below_(sources.lower),
      own_blocks_(layout_),
      own_inodes_(layout_, GroupBits(layout_.group_count(), layout_.inodes_per_group)),
      block_whiteouts_(layout_),
      inode_whiteouts_(layout_, GroupBits(layout_.group_count(), layout_.inodes_per_group)),
      claimed_(layout_) {
  for (const BlockRange& range : sources.tables.block_whiteouts) {
    for (BlockNumber block = range.begin; block < range.end; ++block) {
      block_whiteouts_.set(block);
    }
  }
  for (const InodeNumber inode : sources.tables.inode_whiteouts) {
    inode_whiteouts_.set(inode);
  }
}

void LayerCheck::run() {
  check_area();
  check_features();
  for (uint32_t number = 0; number < layout_.group_count(); ++number) {
    take(check_group(GroupNumber(number)));
  }
  check_superblock();
  for (uint32_t number = 0; number < layout_.group_count(); ++number) {
    take(check_free_slots(GroupNumber(number)));
  }
  for (const InodeNumber inode : own_inode_list()) {
    const Result<void> walked = check_inode(inode);
    has_all_blocks_ = has_all_blocks_ && walked.has_value();
    take(walked);
  }
  check_claims();
  check_translated();
  take(check_xattr_counts());
  check_names();
  take(check_whiteouts());
  take(check_freed_below());
  if (violations_.empty()) {
    take(check_merged());
  }
}

std::vector<InodeNumber> LayerCheck::own_inode_list() const {
  std::vector<InodeNumber> list;
  for (uint32_t number = 0; number < layout_.group_count(); ++number) {
    const ConstByteSpan bits = own_inodes_.bits().of(GroupNumber(number));
    const uint64_t count = bits.empty() ? 0 : layout_.inodes_per_group;
    for (uint64_t bit = 0; (bit = find_set_bit(bits, bit, count)) < count; ++bit) {
      list.emplace_back(static_cast<uint32_t>(uint64_t{number} * count + bit + 1));
    }
  }
  return list;
}

Result<void> LayerCheck::check_group(GroupNumber group) {
  const Group& counters = from_.upper.group(group);
  const BlockRange blocks = layout_.blocks_of(group);
  std::vector<std::byte> bits(layout_.block_size_bytes);
  std::vector<std::byte> wanted(layout_.block_size_bytes);

  UNIONFS_TRY(from_.upper.read_block(counters.block_bitmap, bits));
  const uint64_t free_blocks = blocks.count() - count_bits(bits, 0, blocks.count());
  if (free_blocks != counters.free_blocks_count) {
    mendable("{}: group {}: bg_free_blocks_count is {}, but {} blocks are free", name(), group,
             counters.free_blocks_count, free_blocks);
  }
  wanted = bits;
  set_fixed_bits(from_.geometry, group, wanted);
  set_bits(wanted, blocks.count(), wanted.size() * 8);
  if (wanted != bits) {
    mendable("{}: group {}: the block bitmap marks blocks of the metadata free", name(), group);
  }
  clear_fixed_bits(from_.geometry, group, bits);
  for (uint64_t bit = 0; (bit = find_set_bit(bits, bit, blocks.count())) < blocks.count(); ++bit) {
    own_blocks_.set(blocks.begin + bit);
  }

  UNIONFS_TRY(from_.upper.read_block(counters.inode_bitmap, bits));
  const uint64_t inode_count = layout_.inodes_per_group;
  const uint64_t free_inodes = inode_count - count_bits(bits, 0, inode_count);
  if (free_inodes != counters.free_inodes_count) {
    mendable("{}: group {}: bg_free_inodes_count is {}, but {} inodes are free", name(), group,
             counters.free_inodes_count, free_inodes);
  }
  const uint32_t reserved = from_.geometry.reserved_inodes_in(group);
  wanted = bits;
  set_bits(wanted, 0, reserved);
  set_bits(wanted, inode_count, wanted.size() * 8);
  if (wanted != bits) {
    mendable("{}: group {}: the inode bitmap marks reserved inodes free", name(), group);
  }
  const auto first = static_cast<uint32_t>(group.value() * inode_count + 1);
  for (uint64_t bit = 0; (bit = find_set_bit(bits, bit, inode_count)) < inode_count; ++bit) {
    const uint64_t inode = first + bit;
    if (bit >= reserved || (inode < ext2::kGoodOldFirstInode &&
                            (from_.tables.reserved_inodes_own >> (inode - 1) & 1) != 0)) {
      own_inodes_.set(InodeNumber(static_cast<uint32_t>(inode)));
    }
  }
  return {};
}

void LayerCheck::check_superblock() {
  const ext2::Superblock& raw = from_.upper.superblock().raw();
  uint64_t free_blocks = 0;
  uint64_t free_inodes = 0;
  for (const Group& group : from_.upper.groups()) {
    free_blocks += group.free_blocks_count;
    free_inodes += group.free_inodes_count;
  }
  if (raw.s_free_blocks_count != free_blocks) {
    mendable("{}: superblock: s_free_blocks_count is {}, but the groups have {}", name(),
             raw.s_free_blocks_count, free_blocks);
  }
  if (raw.s_free_inodes_count != free_inodes) {
    mendable("{}: superblock: s_free_inodes_count is {}, but the groups have {}", name(),
             raw.s_free_inodes_count, free_inodes);
  }
  if (raw.s_state != ext2::kStateValid) {
    violation("{}: superblock: s_state is {:#x}, not \"cleanly unmounted\"", name(), raw.s_state);
  }
  if ((raw.s_feature_incompat & ext2::kIncompatWhiteout) == 0 ||
      (raw.s_feature_incompat & ext2::kIncompatFiletype) == 0) {
    violation("{}: superblock: s_feature_incompat {:#x} lacks WHITEOUT or FILETYPE", name(),
              raw.s_feature_incompat);
  }
}

// A slot in use that the bitmap calls free would be taken for an inode by
// those who go by slots.
Result<void> LayerCheck::check_free_slots(GroupNumber group) {
  const Group& places = from_.upper.group(group);
  const uint64_t begin = layout_.offset_of(places.inode_table);
  const uint64_t size = uint64_t{layout_.inodes_per_group} * layout_.inode_size_bytes;
  std::vector<std::byte> slots;
  for (uint64_t offset = begin; offset < begin + size;) {
    const FileExtent extent = from_.upper_file.extent_at(offset);
    const uint64_t end = std::min(std::max(extent.end, offset + 1), begin + size);
    if (extent.is_hole) {
      offset = end;
      continue;
    }
    const uint64_t first = (offset - begin) / layout_.inode_size_bytes;
    const uint64_t last = divide_round_up(end - begin, layout_.inode_size_bytes);
    slots.resize((last - first) * layout_.inode_size_bytes);
    UNIONFS_TRY(from_.upper_file.read(begin + first * layout_.inode_size_bytes, slots));
    for (uint64_t slot = first; slot < last; ++slot) {
      const InodeNumber inode(
          static_cast<uint32_t>(group.value() * layout_.inodes_per_group + slot + 1));
      const InodeRecord record(
          inode,
          ConstByteSpan(slots).subspan((slot - first) * layout_.inode_size_bytes,
                                       layout_.inode_size_bytes),
          layout_.block_size_bytes);
      if (!own_inodes_.test(inode) && record.raw().i_links_count != 0) {
        violation("{}: inode {} has {} links, but is not marked own", name(), inode,
                  record.raw().i_links_count);
      }
    }
    offset = end;
  }
  return {};
}

uint32_t LayerCheck::directories_in(GroupNumber group) const {
  uint32_t count = 0;
  for (const auto& [inode, counts] : counts_) {
    count += counts.is_directory && layout_.group_of(inode) == group ? 1 : 0;
  }
  return count;
}

}  // namespace unionfs
