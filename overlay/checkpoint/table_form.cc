// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/table_form.h"

#include <map>

namespace unionfs {
namespace {

MergedFeatures features_of(const ext2::Superblock& merged) {
  MergedFeatures features;
  features.rev_level = merged.s_rev_level;
  if (merged.s_rev_level != ext2::kGoodOldRevision) {
    features.compat = merged.s_feature_compat;
    features.incompat = merged.s_feature_incompat;
    features.ro_compat = merged.s_feature_ro_compat;
  }
  return features;
}

uint32_t reserved_inodes_own(const LayerSets& sets) {
  uint32_t bits = 0;
  for (uint32_t inode = 1; inode < ext2::kGoodOldFirstInode; ++inode) {
    if (sets.own_inodes.test(InodeNumber(inode))) {
      bits |= 1U << (inode - 1);
    }
  }
  return bits;
}

// The merged counters of groups where they are not what the geometry gives.
std::vector<GroupCounters> form_counters(const LayerSources& from, const WrittenBlocks& written) {
  std::map<GroupNumber, GroupCounters> counters;
  for (const GroupCounters& entry : from.layer.tables().counters) {
    counters[entry.group] = entry;
  }
  for (const GroupNumber number : written.groups) {
    const Group& group = from.merged.group(number);
    counters[number] = {number, group.free_blocks_count, group.free_inodes_count,
                        group.used_dirs_count};
  }
  std::vector<GroupCounters> formed;
  for (const auto& [number, entry] : counters) {
    const Group& untouched = from.geometry.groups()[number.value()];
    if (entry.free_blocks_count != untouched.free_blocks_count ||
        entry.free_inodes_count != untouched.free_inodes_count ||
        entry.used_dirs_count != untouched.used_dirs_count) {
      formed.push_back(entry);
    }
  }
  return formed;
}

void add_whiteouts(const Layout& layout, const LayerSets& sets, GroupNumber group,
                   LayerTables& tables) {
  const BlockNumber first = layout.blocks_of(group).begin;
  const ConstByteSpan blocks = sets.block_whiteouts.bits().of(group);
  const uint64_t block_count = layout.blocks_of(group).count();
  for (uint64_t bit = 0; !blocks.empty() && bit < block_count;) {
    const uint64_t begin = find_set_bit(blocks, bit, block_count);
    const uint64_t end = find_clear_bit(blocks, begin, block_count);
    if (begin < end) {
      tables.block_whiteouts.push_back({first + begin, first + end});
    }
    bit = end;
  }
  const ConstByteSpan inodes = sets.inode_whiteouts.bits().of(group);
  for (uint32_t bit = 0; !inodes.empty() && bit < layout.inodes_per_group; ++bit) {
    if (test_bit(inodes, bit)) {
      add_whiteout(tables.inode_whiteouts,
                   InodeNumber(group.value() * layout.inodes_per_group + bit + 1));
    }
  }
}

}  // namespace

LayerTables form_tables(const LayerSources& from, const SessionChanges& changes,
                        const Ownership& own, const KeptInodes& kept_inodes, bool is_boot_own) {
  const LayerSets& sets = own.sets;
  LayerTables tables;
  tables.features = features_of(from.merged.superblock().raw());
  tables.reserved_inodes_own = reserved_inodes_own(sets);
  tables.boot_own = is_boot_own;
  for (const auto& [block, entry] : sets.translated) {
    tables.translated.push_back(entry);
  }
  for (const auto& [inode, entry] : kept_inodes) {
    tables.kept_inodes.push_back(entry);
  }
  for (const auto& [block, entry] : sets.kept_xattrs) {
    if (sets.translated.contains(block)) {
      tables.kept_xattrs.push_back(entry);
    }
  }
  tables.counters = form_counters(from, changes.written);
  for (uint32_t number = 0; number < from.layout().group_count(); ++number) {
    add_whiteouts(from.layout(), sets, GroupNumber(number), tables);
  }
  return tables;
}

}  // namespace unionfs
