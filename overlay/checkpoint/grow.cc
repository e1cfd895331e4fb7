// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/grow.h"

#include <algorithm>

#include "overlay/upper/journal.h"
#include "overlay/upper/layer_groups.h"
#include "overlay/upper/lower_identity.h"
#include "overlay/upper/lower_records_form.h"

namespace unionfs {
namespace {

// The same bits for an image with more groups.
GroupBits with_more_groups(const GroupBits& bits, uint32_t group_count,
                           uint32_t larger_group_count) {
  GroupBits larger(larger_group_count, bits.bits_per_group());
  for (uint32_t number = 0; number < group_count; ++number) {
    const GroupNumber group(number);
    if (bits.has_any(group)) {
      const ConstByteSpan from = bits.of(group);
      std::copy(from.begin(), from.end(), larger.mutable_of(group).begin());
    }
  }
  return larger;
}

LayerTables tables_for(const Layer& layer, const Geometry& geometry, const Geometry& larger) {
  LayerTables tables = layer.tables();
  if (larger.merged().has_meta_groups) {
    tables.features.rev_level = ext2::kDynamicRevision;
    tables.features.incompat |= ext2::kIncompatMetaBg;
  }
  if (larger.has_appended_groups() && !geometry.has_appended_groups()) {
    tables.features.compat &= ~ext2::kCompatResizeInode;
    const std::vector<BlockRange>& released = larger.released();
    tables.block_whiteouts.insert(tables.block_whiteouts.end(), released.begin(), released.end());
    std::sort(tables.block_whiteouts.begin(), tables.block_whiteouts.end(),
              [](const BlockRange& a, const BlockRange& b) { return a.begin < b.begin; });
    if (!released.empty()) {
      add_whiteout(tables.inode_whiteouts, InodeNumber(ext2::kResizeInode));
    }
  }
  // What an untouched group gains, a touched one gains too.
  for (GroupCounters& counters : tables.counters) {
    const size_t group = counters.group.value();
    counters.free_blocks_count +=
        larger.groups()[group].free_blocks_count - geometry.groups()[group].free_blocks_count;
  }
  return tables;
}

ext2::Superblock superblock_for(const LayerOverLower& layer, const Geometry& larger,
                                const MergedFeatures& features, uint64_t state_offset) {
  const Layout& merged = larger.merged();
  ext2::Superblock superblock = layer.layer().superblock();
  superblock.s_r_blocks_count =
      static_cast<uint32_t>(uint64_t{superblock.s_r_blocks_count} * merged.block_count /
                            layer.geometry().merged().block_count);
  superblock.s_blocks_count = static_cast<uint32_t>(merged.block_count);
  superblock.s_inodes_count = static_cast<uint32_t>(merged.inode_count());
  superblock.s_first_meta_bg = merged.first_meta_group;
  superblock.s_feature_incompat = superblock.s_feature_incompat | features.incompat;
  superblock.s_feature_compat = features.compat & ~ext2::kCompatResizeInode;
  superblock.s_feature_ro_compat = superblock.s_feature_ro_compat | ext2::kRoCompatGdtCsum;
  superblock.s_overhead_clusters = 0U;
  set_mark(superblock, state_offset);
  return superblock;
}

// Of a layer whose whiteouts may have become more.
Result<LowerRecords> records_for(const LayerOverLower& layer, const Geometry& larger,
                                 const LayerTables& tables) {
  static const std::atomic<bool> is_cancelled{false};
  const Layer& old = layer.layer();
  const Layout& merged = larger.merged();
  const uint32_t count = layer.geometry().merged().group_count();
  GroupBits block_whiteouts = with_more_groups(old.block_whiteouts(), count, merged.group_count());
  GroupBits inode_whiteouts = with_more_groups(old.inode_whiteouts(), count, merged.group_count());
  set_whiteouts(tables, merged, block_whiteouts, inode_whiteouts);
  const LayerBits bits{old.own_blocks(), old.own_inodes(), block_whiteouts, inode_whiteouts};
  const FormerRecords former{layer.lower_records(), bits_of(old),
                             [](InodeNumber) { return false; }};
  return form_lower_records(layer.below().volume(), bits, tables.translated,
                            layer.area().has_lower_records() ? &former : nullptr,
                            layer.upper().name(), is_cancelled);
}

}  // namespace

Result<void> grow_layer(const LayerOverLower& layer, WritableFile& upper, StateArea& area,
                        const Geometry& larger) {
  const Geometry& geometry = layer.geometry();
  const uint32_t group_count = geometry.merged().group_count();
  const uint32_t larger_count = larger.merged().group_count();
  const LayerTables tables = tables_for(layer.layer(), geometry, larger);
  const std::vector<std::byte> encoded = encode_layer_tables(tables);
  UNIONFS_ASSIGN(const LowerRecords lower_records, records_for(layer, larger, tables));
  const std::vector<std::byte> records = encode_lower_records(lower_records);

  // Behind the old state area, which counts until the mark has moved.
  StateArea next = plan_state_area(
      larger, {encoded.size(), tables.translated.size(), records.size()}, upper.size_bytes());
  next.session_number = area.session_number + 1;
  next.flags = area.flags;
  next.features.compat = area.features.compat;
  next.features.incompat |= area.features.incompat;
  next.features.ro_compat = area.features.ro_compat;
  next.features.bytes = area.features.bytes;
  next.lower = known_lower(layer.below().volume());
  next.parent = area.parent;

  StagedFile stage(upper);
  stage.resize(round_up(next.end(), StagedFile::kPageBytes));
  UNIONFS_TRY(write_layer_groups(
      stage, larger, with_more_groups(layer.layer().own_blocks(), group_count, larger_count),
      with_more_groups(layer.layer().own_inodes(), group_count, larger_count),
      [&](GroupNumber group) {
        return group.value() < group_count ? layer.upper().group(group).used_dirs_count : 0U;
      },
      superblock_for(layer, larger, tables.features, next.offset), layer.upper().groups()));
  UNIONFS_TRY(stage.write(next.layer_tables.offset, encoded));
  UNIONFS_TRY(stage.write(next.lower_records.offset, records));

  const JournalPlan plan{
      stage, {{area.offset, area.end() - area.offset}}, next.end(), encode_header(next)};
  UNIONFS_ASSIGN(const FileRange journal, write_journal(upper, plan));
  // The new place has a header that names the journal before anything leads to it.
  StateArea waiting = next;
  waiting.journal = journal;
  UNIONFS_TRY(write_header(upper, encode_header(waiting), area.generation + 1));
  UNIONFS_TRY(upper.sync());
  UNIONFS_TRY(commit_journal(upper, area, journal));
  return replay_journal(upper, area);
}

}  // namespace unionfs
