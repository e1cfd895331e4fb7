// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/check/checked_upper.h"

#include <algorithm>
#include <cstring>

#include "overlay/merged/merged_image.h"
#include "overlay/upper/journal.h"
#include "overlay/upper/layer_groups.h"

namespace unionfs {

CheckSources check_sources(const Below& below, const OpenedUpper& opened) {
  return {below,         below.volume(), opened.volume, *opened.file, *opened.geometry,
          opened.tables, opened.area};
}

// ---- repair --------------------------------------------------------------------

namespace {

class Repairer {
 public:
  Repairer(const Below& below, const OpenedUpper& opened, const LayerCheck& found,
           WritableFile& upper)
      : from_(check_sources(below, opened)),
        shared_geometry_(opened.geometry),
        found_(found),
        layout_(from_.geometry.merged()),
        upper_(upper),
        stage_(upper),
        tables_(opened.tables) {}

  Result<void> repair() {
    UNIONFS_TRY(stage_groups());
    UNIONFS_TRY(stage_inodes());
    UNIONFS_TRY(stage_xattr_counts());
    derive_tables();
    UNIONFS_TRY(derive_merged());
    return commit();
  }

 private:
  Result<void> stage_groups() {
    ext2::Superblock superblock = from_.upper.superblock().raw();
    renew_mark(superblock);
    return write_layer_groups(
        stage_, from_.geometry, found_.walked_blocks().bits(), found_.own_inodes().bits(),
        [this](GroupNumber group) { return found_.directories_in(group); }, superblock);
  }

  Result<void> stage_inodes() {
    for (const auto& [inode, counts] : found_.counts()) {
      if (inode.value() < layout_.first_inode && inode.value() != ext2::kRootInode) {
        continue;
      }
      UNIONFS_ASSIGN(InodeRecord record, read_inode(from_.upper, inode));
      record.raw().i_blocks = static_cast<uint32_t>(
          counts.block_count * (layout_.block_size_bytes / ext2::kSectorSizeBytes));
      if (counts.links != 0) {
        record.raw().i_links_count = static_cast<uint16_t>(counts.links);
      }
      UNIONFS_TRY(stage_.write(inode_offset(layout_, from_.upper.groups(), inode), record.bytes()));
    }
    return {};
  }

  Result<void> stage_xattr_counts() {
    for (const auto& [block, users] : found_.xattr_users()) {
      const Le32 count(users);
      UNIONFS_TRY(stage_.write(layout_.offset_of(block) + offsetof(ext2::XattrHeader, h_refcount),
                               std::as_bytes(std::span(&count, 1))));
    }
    return {};
  }

  void derive_tables() {
    std::map<BlockNumber, TranslatedBlock> translated = found_.translated();
    for (const TranslatedBlock& entry : tables_.translated) {
      if (entry.kind == TranslatedKind::kXattrCount) {
        translated.try_emplace(entry.block, entry);
      }
    }
    tables_.translated.clear();
    for (const auto& [block, entry] : translated) {
      tables_.translated.push_back(entry);
    }
    for (const BlockNumber block : found_.missing_whiteouts()) {
      tables_.block_whiteouts.push_back({block, block + 1});
    }
    auto& whiteouts = tables_.block_whiteouts;
    std::sort(whiteouts.begin(), whiteouts.end(),
              [](const BlockRange& a, const BlockRange& b) { return a.begin < b.begin; });
    tables_.kept_inodes.clear();
    tables_.kept_xattrs.clear();
    tables_.counters.clear();
  }

  // From the merged image that the mended layer gives.
  Result<void> derive_merged() {
    UNIONFS_ASSIGN(Volume mended, Volume::open(stage_, SuperblockUse::kUpper));
    OpenedUpper opened{&stage_,          nullptr,           {},     from_.area,
                       shared_geometry_, std::move(mended), tables_};
    opened.area.translated_blocks.length = tables_.translated.size() * layout_.block_size_bytes;
    UNIONFS_ASSIGN(const auto layer, LayerOverLower::make(from_.below, std::move(opened), {}));
    UNIONFS_ASSIGN(const auto image, MergedImage::open("merged image", layer->view()));
    const Volume& upper = layer->upper();
    const Volume& merged = image->volume();

    UNIONFS_ASSIGN(const auto inodes, found_.merged_inodes(merged));
    for (const KeptInode& kept : inodes) {
      UNIONFS_ASSIGN(const InodeRecord own, read_inode(upper, kept.inode));
      if (own.raw().i_blocks != kept.block_sectors || own.raw().i_links_count != kept.links_count) {
        tables_.kept_inodes.push_back(kept);
      }
    }
    UNIONFS_ASSIGN(tables_.kept_xattrs, found_.merged_xattrs());
    for (uint32_t number = 0; number < layout_.group_count(); ++number) {
      if (found_.is_group_touched(GroupNumber(number))) {
        UNIONFS_ASSIGN(const GroupCounters counters,
                       found_.merged_counters(merged, GroupNumber(number)));
        const Group& untouched = from_.geometry.groups()[number];
        if (counters.free_blocks_count != untouched.free_blocks_count ||
            counters.free_inodes_count != untouched.free_inodes_count ||
            counters.used_dirs_count != untouched.used_dirs_count) {
          tables_.counters.push_back(counters);
        }
      }
    }
    return {};
  }

  // As a checkpoint does it: all or nothing.
  Result<void> commit() {
    const std::vector<std::byte> bytes = encode_layer_tables(tables_);
    StateArea area = from_.area;
    StateArea next = area;
    next.version = upper_format::kVersion;
    ++next.session_number;
    next.layer_tables = {round_up(area.fixed_blocks.end(), upper_format::kPageBytes), bytes.size()};
    next.translated_blocks = {round_up(next.layer_tables.end(), upper_format::kPageBytes),
                              tables_.translated.size() * layout_.block_size_bytes};
    stage_.resize(std::max(next.end(), stage_.size_bytes()));
    UNIONFS_TRY(stage_.write(next.layer_tables.offset, bytes));
    const JournalPlan plan{stage_,
                           {area.live_bitmap, area.durable_bitmap, area.fixed_blocks,
                            area.layer_tables, area.translated_blocks},
                           next.end(),
                           encode_header(next)};
    UNIONFS_ASSIGN(const FileRange journal, write_journal(upper_, plan));
    UNIONFS_TRY(commit_journal(upper_, area, journal));
    return replay_journal(upper_, area);
  }

  const CheckSources from_;
  const std::shared_ptr<const Geometry> shared_geometry_;
  const LayerCheck& found_;
  const Layout& layout_;
  WritableFile& upper_;
  StagedFile stage_;
  LayerTables tables_;
};

}  // namespace

Result<void> repair_upper(const Below& below, const OpenedUpper& opened, const LayerCheck& found,
                          WritableFile& upper) {
  return Repairer(below, opened, found, upper).repair();
}

}  // namespace unionfs
