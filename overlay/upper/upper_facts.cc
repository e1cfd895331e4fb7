// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/upper_facts.h"

#include "overlay/upper/layer.h"
#include "overlay/upper/layer_tree.h"
#include "overlay/upper/live_stamp.h"
#include "overlay/upper/session_bitmap.h"
#include "overlay/upper/upper_state.h"

namespace unionfs {
namespace {

// F-blocks of a group that its bitmap covers.
uint64_t fixed_blocks_of(const Layout& layout, GroupNumber group) {
  constexpr uint64_t kBitmaps = 2;
  return (layout.has_superblock(group) ? 1 : 0) + layout.descriptor_copy(group).count + kBitmaps +
         layout.inode_table_block_count();
}

Result<void> count_layer(const Volume& upper, const LayerTables& tables, UpperFacts& facts) {
  const Layout& layout = upper.layout();
  const uint32_t reserved = layout.first_inode - 1;
  uint64_t used_inodes = 0;
  for (uint32_t number = 0; number < layout.group_count(); ++number) {
    const GroupNumber group(number);
    const Group& counters = upper.group(group);
    facts.own_blocks += layout.blocks_of(group).count() - counters.free_blocks_count -
                        fixed_blocks_of(layout, group);
    used_inodes += layout.inodes_per_group - counters.free_inodes_count;
    facts.own_directories += counters.used_dirs_count;
  }
  facts.own_inodes =
      used_inodes - reserved + static_cast<uint64_t>(std::popcount(tables.reserved_inodes_own));
  facts.translated_blocks = tables.translated.size();
  for (const InodeRange& range : tables.inode_whiteouts) {
    facts.inode_whiteouts += range.count();
  }
  for (const BlockRange& range : tables.block_whiteouts) {
    facts.block_whiteouts += range.count();
  }
  return walk_layer(upper,
                    {[&facts](const LayerDirectory& directory) -> Result<void> {
                       facts.opaque_directories += directory.record.is_opaque() ? 1 : 0;
                       return {};
                     },
                     [&facts](const LayerDirectory&, const NamedEntry& entry) -> Result<void> {
                       facts.own_names += entry.kind == EntryKind::kReal ? 1 : 0;
                       facts.fallthrus += entry.kind == EntryKind::kFallthru ? 1 : 0;
                       facts.whiteouts += entry.kind == EntryKind::kWhiteout ? 1 : 0;
                       return {};
                     }});
}

Result<uint64_t> count_written(const ReadableFile& upper, const StateArea& area,
                               const Layout& layout) {
  UNIONFS_ASSIGN(const std::string boot_id, read_boot_id());
  UNIONFS_ASSIGN(const bool is_live, is_live_current(upper, area, boot_id));
  const FileRange& range = is_live ? area.live_bitmap : area.durable_bitmap;
  if (range.length < divide_round_up(layout.block_count, 8)) {
    return corrupt("{}: state area: a bitmap of {} bytes for {} blocks", upper.name(), range.length,
                   layout.block_count);
  }
  UNIONFS_ASSIGN(const auto bitmap, SessionBitmap::open_for_reading(upper, range));
  return bitmap->count_set(BlockNumber(layout.block_count));
}

}  // namespace

Result<UpperFacts> read_upper_facts(const ReadableFile& upper) {
  UpperFacts facts;
  UNIONFS_ASSIGN(const UpperState state, read_upper_state(upper));
  facts.has_journal = state.has_journal();
  facts.area = state.area;
  UNIONFS_ASSIGN(const Volume volume, Volume::open(*state.file, SuperblockUse::kUpper));
  const Layout& layout = volume.layout();
  facts.merged_size_bytes = layout.size_bytes();
  facts.block_size_bytes = layout.block_size_bytes;
  UNIONFS_ASSIGN(const LayerTables tables,
                 read_layer_tables(*state.file, facts.area.layer_tables, layout));
  UNIONFS_TRY(count_layer(volume, tables, facts));
  if (!facts.has_journal) {
    UNIONFS_ASSIGN(facts.written_blocks, count_written(upper, facts.area, layout));
  }
  return facts;
}

}  // namespace unionfs
