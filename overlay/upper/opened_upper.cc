// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/opened_upper.h"

#include "overlay/upper/lower_identity.h"
#include "overlay/upper/upper_state.h"

namespace unionfs {
namespace {

// The upper's ext2 part must have the merged geometry, to the last descriptor:
// one numbering for lower, upper and merged.
Result<void> check_same_geometry(const Volume& upper, const Geometry& geometry) {
  const Layout& merged = geometry.merged();
  const Layout& found = upper.layout();
  if (found.block_size_bytes != merged.block_size_bytes ||
      found.block_count != merged.block_count ||
      found.blocks_per_group != merged.blocks_per_group ||
      found.inodes_per_group != merged.inodes_per_group ||
      found.inode_size_bytes != merged.inode_size_bytes ||
      found.has_meta_groups != merged.has_meta_groups ||
      found.first_meta_group != merged.first_meta_group) {
    return corrupt(
        "{}: superblock: its geometry ({} blocks of {} bytes, {} and {} a group) is not "
        "the merged image's ({} blocks of {} bytes, {} and {} a group)",
        upper.name(), found.block_count, found.block_size_bytes, found.blocks_per_group,
        found.inodes_per_group, merged.block_count, merged.block_size_bytes,
        merged.blocks_per_group, merged.inodes_per_group);
  }
  for (uint32_t number = 0; number < merged.group_count(); ++number) {
    const Group& wanted = geometry.groups()[number];
    const Group& group = upper.group(GroupNumber(number));
    if (group.block_bitmap != wanted.block_bitmap || group.inode_bitmap != wanted.inode_bitmap ||
        group.inode_table != wanted.inode_table) {
      return corrupt(
          "{}: group {}: its bitmaps and inode table are not where the merged image "
          "has them",
          upper.name(), number);
    }
  }
  return {};
}

}  // namespace

Result<OpenedUpper> open_upper(const Volume& below, const ReadableFile& upper) {
  const std::string& name = upper.name();
  UNIONFS_ASSIGN(UpperState state, read_upper_state(upper));
  const StateArea& area = state.area;
  UNIONFS_ASSIGN(const auto identity, identity_of(below));
  if (!is_same_lower(area.lower, identity)) {
    return invalid("{}: belongs to another lower ({}), not to {} ({})", name, describe(area.lower),
                   below.name(), describe(identity));
  }
  UNIONFS_ASSIGN(Geometry grown,
                 Geometry::grow(below, area.merged_block_count * area.block_size_bytes));
  auto geometry = std::make_shared<const Geometry>(std::move(grown));
  UNIONFS_TRY(check_sections(name, area, *geometry));
  UNIONFS_ASSIGN(Volume volume, Volume::open(*state.file, SuperblockUse::kUpper));
  UNIONFS_TRY(check_same_geometry(volume, *geometry));
  UNIONFS_ASSIGN(LayerTables tables,
                 read_layer_tables(*state.file, area.layer_tables, geometry->merged()));
  return OpenedUpper{state.file,          std::move(state.stage), state.journal_area, area,
                     std::move(geometry), std::move(volume),      std::move(tables)};
}

}  // namespace unionfs
