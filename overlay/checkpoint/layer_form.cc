// SPDX-License-Identifier: BSD-3-Clause
//
// The new layer as an ext2 image: inodes with holes where blocks fall through,
// bitmaps and counters of what is own, and the tables of what ext2 cannot say.
#include <algorithm>
#include <array>
#include <cstring>

#include "overlay/checkpoint/layer_builder.h"
#include "overlay/upper/layer_groups.h"

namespace unionfs {
namespace {

bool same_bits(ConstByteSpan a, ConstByteSpan b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

// Whether a group's bits say the same; absent bits are all clear.
bool same_group(const GroupBits& a, const GroupBits& b, GroupNumber group) {
  const ConstByteSpan left = a.of(group);
  const ConstByteSpan right = b.of(group);
  if (left.empty() || right.empty()) {
    const ConstByteSpan there = left.empty() ? right : left;
    return std::all_of(there.begin(), there.end(), [](std::byte b8) { return b8 == std::byte{0}; });
  }
  return same_bits(left, right);
}

}  // namespace

LayerBuilder::LayerBuilder(const Sources& sources, StagedFile& stage)
    : from_(sources),
      stage_(stage),
      merged_layout_(sources.geometry.merged()),
      used_below_(sources.lower),
      used_before_(sources.before),
      used_(sources.merged),
      old_own_inodes_(merged_layout_, sources.layer.own_inodes()),
      old_own_blocks_(merged_layout_, sources.layer.own_blocks()),
      own_inodes_(old_own_inodes_),
      own_blocks_(old_own_blocks_),
      inode_whiteouts_(merged_layout_, sources.layer.inode_whiteouts()),
      block_whiteouts_(merged_layout_, sources.layer.block_whiteouts()),
      claimed_(merged_layout_),
      former_(merged_layout_) {
  const LayerTables& old = sources.layer.tables();
  for (const TranslatedBlock& entry : old.translated) {
    translated_[entry.block] = entry;
  }
  for (const KeptInode& entry : old.kept_inodes) {
    kept_inodes_[entry.inode] = entry;
  }
  for (const KeptXattr& entry : old.kept_xattrs) {
    kept_xattrs_[entry.block] = entry;
  }
}

Result<void> LayerBuilder::build() {
  UNIONFS_TRY(check_superblock());
  UNIONFS_TRY(collect_written());
  UNIONFS_TRY(find_freed_and_new_inodes());
  UNIONFS_TRY(find_changed_inodes());
  UNIONFS_TRY(find_freed_blocks());
  UNIONFS_TRY(settle_names());
  UNIONFS_TRY(own_unclaimed());
  UNIONFS_TRY(settle_names());
  UNIONFS_TRY(check_reachable());
  UNIONFS_TRY(check_claims());
  UNIONFS_TRY(check_freed());
  UNIONFS_TRY(settle_xattrs());
  UNIONFS_TRY(form_inodes());
  UNIONFS_TRY(form_groups());
  UNIONFS_TRY(form_boot());
  UNIONFS_TRY(form_tables());
  UNIONFS_TRY(form_superblock());
  UNIONFS_TRY(find_dead());
  UNIONFS_TRY(find_to_prove());
  return {};
}

Result<void> LayerBuilder::form_inodes() {
  for (auto& [inode, form] : forms_) {
    const ext2::Inode merged = form.record.raw();
    if (form.record.is_directory()) {
      UNIONFS_TRY(form_directory(inode, form));
    }
    ext2::Inode& raw = form.record.raw();
    for (uint32_t slot = 0; slot < ext2::kBlockSlots; ++slot) {
      raw.i_block[slot] = form.pointers[slot];
    }
    raw.i_blocks = static_cast<uint32_t>(
        form.own_blocks * (merged_layout_.block_size_bytes / ext2::kSectorSizeBytes));
    kept_inodes_.erase(inode);
    if (raw.i_blocks != merged.i_blocks || raw.i_links_count != merged.i_links_count) {
      kept_inodes_[inode] = {inode, merged.i_blocks, merged.i_links_count};
    }
    UNIONFS_TRY(stage_.write(inode_offset(merged_layout_, from_.upper.groups(), inode),
                             form.record.bytes()));
  }
  return {};
}

// The layer's bitmaps and descriptors of the groups where they change.
Result<void> LayerBuilder::form_groups() {
  for (uint32_t number = 0; number < merged_layout_.group_count(); ++number) {
    const GroupNumber group(number);
    const auto directories = directory_changes_.find(number);
    const bool same_directories =
        directories == directory_changes_.end() || directories->second == 0;
    if (!same_directories || !same_group(own_blocks_.bits(), old_own_blocks_.bits(), group) ||
        !same_group(own_inodes_.bits(), old_own_inodes_.bits(), group)) {
      UNIONFS_TRY(form_group(group));
    }
  }
  return {};
}

Result<void> LayerBuilder::form_group(GroupNumber group) {
  const Group& places = from_.geometry.groups()[group.value()];
  const LayerBitmaps made =
      make_layer_bitmaps(from_.geometry, group, own_blocks_.bits(), own_inodes_.bits());
  UNIONFS_TRY(stage_block(places.block_bitmap, made.blocks));
  UNIONFS_TRY(stage_block(places.inode_bitmap, made.inodes));

  const uint32_t per_block = merged_layout_.descriptors_per_block();
  const uint64_t offset =
      offset_of(merged_layout_.primary_descriptor_block(group.value() / per_block)) +
      uint64_t{group.value() % per_block} * sizeof(ext2::GroupDescriptor);
  UNIONFS_ASSIGN(auto raw, read_structure<ext2::GroupDescriptor>(stage_, offset));
  raw.bg_free_blocks_count = made.descriptor.bg_free_blocks_count;
  raw.bg_free_inodes_count = made.descriptor.bg_free_inodes_count;
  raw.bg_used_dirs_count =
      static_cast<uint16_t>(raw.bg_used_dirs_count + directory_changes_[group.value()]);
  return stage_.write(offset, std::as_bytes(std::span(&raw, 1)));
}

// The boot area is the lower's until somebody writes something else to it.
Result<void> LayerBuilder::form_boot() {
  tables_.boot_own = from_.layer.tables().boot_own;
  std::array<std::byte, ext2::kSuperblockOffsetBytes> now;
  std::array<std::byte, ext2::kSuperblockOffsetBytes> before;
  UNIONFS_TRY(from_.merged.image().read(0, now));
  UNIONFS_TRY(from_.before.image().read(0, before));
  if (now != before) {
    tables_.boot_own = true;
    UNIONFS_TRY(stage_.write(0, now));
  }
  return {};
}

Result<void> LayerBuilder::form_tables() {
  const LayerTables& old = from_.layer.tables();
  const ext2::Superblock& merged = from_.merged.superblock().raw();
  tables_.features.rev_level = merged.s_rev_level;
  if (merged.s_rev_level != ext2::kGoodOldRevision) {
    tables_.features.compat = merged.s_feature_compat;
    tables_.features.incompat = merged.s_feature_incompat;
    tables_.features.ro_compat = merged.s_feature_ro_compat;
  }
  for (uint32_t inode = 1; inode < ext2::kGoodOldFirstInode; ++inode) {
    if (own_inodes_.test(InodeNumber(inode))) {
      tables_.reserved_inodes_own |= 1U << (inode - 1);
    }
  }
  for (const auto& [block, entry] : translated_) {
    tables_.translated.push_back(entry);
  }
  for (const auto& [inode, entry] : kept_inodes_) {
    tables_.kept_inodes.push_back(entry);
  }
  for (const auto& [block, entry] : kept_xattrs_) {
    if (translated_.contains(block)) {
      tables_.kept_xattrs.push_back(entry);
    }
  }
  std::map<GroupNumber, GroupCounters> counters;
  for (const GroupCounters& entry : old.counters) {
    counters[entry.group] = entry;
  }
  for (const GroupNumber number : written_groups_) {
    const Group& group = from_.merged.group(number);
    counters[number] = {number, group.free_blocks_count, group.free_inodes_count,
                        group.used_dirs_count};
  }
  for (const auto& [number, entry] : counters) {
    const Group& untouched = from_.geometry.groups()[number.value()];
    if (entry.free_blocks_count != untouched.free_blocks_count ||
        entry.free_inodes_count != untouched.free_inodes_count ||
        entry.used_dirs_count != untouched.used_dirs_count) {
      tables_.counters.push_back(entry);
    }
  }
  for (uint32_t number = 0; number < merged_layout_.group_count(); ++number) {
    const GroupNumber group(number);
    const BlockNumber first = merged_layout_.blocks_of(group).begin;
    const ConstByteSpan blocks = block_whiteouts_.bits().of(group);
    const uint64_t block_count = merged_layout_.blocks_of(group).count();
    for (uint64_t bit = 0; !blocks.empty() && bit < block_count;) {
      const uint64_t begin = find_set_bit(blocks, bit, block_count);
      const uint64_t end = find_clear_bit(blocks, begin, block_count);
      if (begin < end) {
        tables_.block_whiteouts.push_back({first + begin, first + end});
      }
      bit = end;
    }
    const ConstByteSpan inodes = inode_whiteouts_.bits().of(group);
    for (uint32_t bit = 0; !inodes.empty() && bit < merged_layout_.inodes_per_group; ++bit) {
      if (test_bit(inodes, bit)) {
        tables_.inode_whiteouts.push_back(
            InodeNumber(number * merged_layout_.inodes_per_group + bit + 1));
      }
    }
  }
  return {};
}

// Every field the user may set is the merged superblock's; geometry, features
// and counters are the layer's.
Result<void> LayerBuilder::form_superblock() {
  const ext2::Superblock& old = from_.upper.superblock().raw();
  superblock_ = from_.merged.superblock().raw();
  superblock_.s_rev_level = old.s_rev_level;
  superblock_.s_first_ino = old.s_first_ino;
  superblock_.s_inode_size = old.s_inode_size;
  superblock_.s_block_group_nr = old.s_block_group_nr;
  superblock_.s_feature_compat = tables_.features.compat & ~ext2::kCompatResizeInode;
  superblock_.s_feature_incompat =
      tables_.features.incompat | ext2::kIncompatFiletype | ext2::kIncompatWhiteout;
  superblock_.s_feature_ro_compat = tables_.features.ro_compat;
  superblock_.s_reserved_gdt_blocks = old.s_reserved_gdt_blocks;
  superblock_.s_first_meta_bg = old.s_first_meta_bg;
  superblock_.s_overhead_clusters = old.s_overhead_clusters;
  superblock_.s_jnl_blocks = old.s_jnl_blocks;  // the mark
  uint64_t free_blocks = 0;
  uint64_t free_inodes = 0;
  const uint32_t per_block = merged_layout_.descriptors_per_block();
  for (uint32_t number = 0; number < merged_layout_.group_count(); ++number) {
    const uint64_t offset = offset_of(merged_layout_.primary_descriptor_block(number / per_block)) +
                            uint64_t{number % per_block} * sizeof(ext2::GroupDescriptor);
    UNIONFS_ASSIGN(const auto raw, read_structure<ext2::GroupDescriptor>(stage_, offset));
    free_blocks += raw.bg_free_blocks_count;
    free_inodes += raw.bg_free_inodes_count;
  }
  superblock_.s_free_blocks_count = static_cast<uint32_t>(free_blocks);
  superblock_.s_free_inodes_count = static_cast<uint32_t>(free_inodes);
  return stage_.write(ext2::kSuperblockOffsetBytes, std::as_bytes(std::span(&superblock_, 1)));
}

// What the session wrote, or the old layer owned, and the new one does not own.
Result<void> LayerBuilder::find_dead() {
  const auto add = [this](BlockNumber block) {
    if (!dead_.empty() && dead_.back().end == block) {
      dead_.back().end = block + 1;
    } else {
      dead_.push_back({block, block + 1});
    }
  };
  for (const BlockRange& range : written_data_) {
    for (BlockNumber block = range.begin; block < range.end; ++block) {
      if (!own_blocks_.test(block)) {
        add(block);
      }
    }
  }
  for (uint32_t number = 0; number < merged_layout_.group_count(); ++number) {
    const GroupNumber group(number);
    const ConstByteSpan old = old_own_blocks_.bits().of(group);
    const BlockRange blocks = merged_layout_.blocks_of(group);
    if (old.empty() || same_group(own_blocks_.bits(), old_own_blocks_.bits(), group)) {
      continue;
    }
    for (uint64_t bit = find_set_bit(old, 0, blocks.count()); bit < blocks.count();
         bit = find_set_bit(old, bit + 1, blocks.count())) {
      const BlockNumber block = blocks.begin + bit;
      if (!own_blocks_.test(block) && !from_.bitmap.test(block)) {
        add(block);
      }
    }
  }
  return {};
}

// Every block whose bytes come another way than before.
Result<void> LayerBuilder::find_to_prove() {
  for (const BlockRange& range : written_data_) {
    for (BlockNumber block = range.begin; block < range.end; ++block) {
      to_prove_.insert(block);
    }
  }
  for (const auto& [range, block] : written_tables_) {
    to_prove_.insert(block);
  }
  for (uint32_t number = 0; number < merged_layout_.group_count(); ++number) {
    const GroupNumber group(number);
    const Group& places = from_.geometry.groups()[number];
    const bool same_blocks =
        same_group(own_blocks_.bits(), old_own_blocks_.bits(), group) &&
        same_group(block_whiteouts_.bits(), from_.layer.block_whiteouts(), group);
    const bool same_inodes =
        same_group(own_inodes_.bits(), old_own_inodes_.bits(), group) &&
        same_group(inode_whiteouts_.bits(), from_.layer.inode_whiteouts(), group);
    if (!same_blocks || written_block_bitmaps_.contains(group)) {
      to_prove_.insert(places.block_bitmap);
    }
    if (!same_inodes || written_inode_bitmaps_.contains(group)) {
      to_prove_.insert(places.inode_bitmap);
    }
    const BlockRange blocks = merged_layout_.blocks_of(group);
    for (uint64_t bit = 0; !same_blocks && bit < blocks.count(); ++bit) {
      const BlockNumber block = blocks.begin + bit;
      const auto index = static_cast<uint32_t>(bit);
      if (own_blocks_.test(block) != old_own_blocks_.test(block) ||
          block_whiteouts_.test(block) != from_.layer.block_whiteouts().test(group, index)) {
        to_prove_.insert(block);
      }
    }
  }
  for (const auto& [inode, form] : forms_) {
    const uint64_t offset = inode_offset(merged_layout_, from_.upper.groups(), inode);
    to_prove_.insert(BlockNumber(offset / merged_layout_.block_size_bytes));
  }
  for (const auto& [block, entry] : translated_) {
    if (from_.layer.translated(block) == nullptr || stage_.pages().contains(offset_of(block))) {
      to_prove_.insert(block);
    }
  }
  figures_.staged_bytes = stage_.pages().size() * StagedFile::kPageBytes;
  return {};
}

}  // namespace unionfs
