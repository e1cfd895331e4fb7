// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/build_layer.h"

#include "overlay/checkpoint/inode_form.h"
#include "overlay/checkpoint/layer_rest.h"
#include "overlay/checkpoint/metadata_form.h"
#include "overlay/checkpoint/ownership_check.h"
#include "overlay/checkpoint/table_form.h"
#include "overlay/upper/lower_records_form.h"

namespace unionfs {
namespace {

CheckpointFigures figures_of(const SessionChanges& changes, const Ownership& own,
                             uint64_t inodes_checked, const StagedFile& stage) {
  CheckpointFigures figures;
  figures.written_blocks = changes.written.count;
  figures.own_inodes_added = own.inodes_added;
  figures.directories_searched = own.names.directories_searched;
  figures.inodes_searched = own.inodes_searched + inodes_checked;
  figures.staged_bytes = stage.pages().size() * StagedFile::kPageBytes;
  return figures;
}

LayerBits bits_of(const LayerSets& sets) {
  return {sets.own_blocks.bits(), sets.own_inodes.bits(), sets.block_whiteouts.bits(),
          sets.inode_whiteouts.bits()};
}

// What of the lower the new layer depends on.  Only what was formed is looked at.
Result<LowerRecords> record_lower(const LayerSources& from, const Ownership& own,
                                  const LayerTables& tables) {
  std::optional<FormerRecords> former;
  if (from.lower_records != nullptr) {
    former.emplace(FormerRecords{
        *from.lower_records, bits_of(from.layer),
        [&own](InodeNumber inode) { return own.inodes.find(inode) != own.inodes.end(); }});
  }
  return form_lower_records(from.lower, bits_of(own.sets), tables.translated,
                            former ? &*former : nullptr, from.upper.name(), from.is_cancelled);
}

}  // namespace

Result<BuiltLayer> build_layer(const LayerSources& from, StagedFile& stage) {
  // What the session changed, what becomes own for it, and whether that is sound.
  UNIONFS_ASSIGN(const SessionChanges changes, find_changes(from));
  UNIONFS_ASSIGN(Ownership own, settle_ownership(from, changes, stage));
  UNIONFS_ASSIGN(const uint64_t inodes_checked, check_ownership(from, changes, own));

  // Own things in the layer's form.
  UNIONFS_ASSIGN(const KeptInodes kept_inodes, form_inodes(from, changes, own, stage));
  UNIONFS_TRY(form_groups(from, own, stage));
  UNIONFS_ASSIGN(const bool is_boot_own, form_boot_area(from, stage));
  LayerTables tables = form_tables(from, changes, own, kept_inodes, is_boot_own);
  UNIONFS_TRY(form_superblock(from, tables.features, stage));
  UNIONFS_ASSIGN(LowerRecords lower_records, record_lower(from, own, tables));

  // What is left to do with it.
  return BuiltLayer{std::move(tables), std::move(lower_records), find_dead(from, changes, own),
                    find_blocks_to_prove(from, changes, own, stage),
                    figures_of(changes, own, inodes_checked, stage)};
}

}  // namespace unionfs
