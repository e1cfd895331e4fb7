// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/check/repair.h"

#include <algorithm>
#include <cstddef>
#include <memory>

#include "fsparse/xattr.h"
#include "overlay/check/merged_check.h"
#include "overlay/merged/merged_image.h"
#include "overlay/upper/journal.h"
#include "overlay/upper/layer_groups.h"
#include "overlay/upper/lower_identity.h"
#include "overlay/upper/lower_records_form.h"

namespace unionfs {
namespace {

class Repairer {
 public:
  Repairer(const Below& below, const OpenedUpper& opened, const LayerFacts& facts,
           WritableFile& upper)
      : from_(check_sources(below, opened)),
        geometry_(opened.geometry),
        layout_(from_.layout()),
        facts_(facts),
        upper_(upper),
        stage_(upper),
        tables_(opened.tables),
        former_records_(opened.lower_records) {}

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
        stage_, from_.geometry, facts_.files.blocks.bits(), facts_.numbers.own_inodes.bits(),
        [this](GroupNumber group) { return facts_.files.directory_counts[group.value()]; },
        superblock, from_.upper.groups());
  }

  Result<void> stage_inodes() {
    for (const auto& [inode, own] : facts_.files.inodes) {
      if (inode.value() < layout_.first_inode && inode.value() != ext2::kRootInode) {
        continue;
      }
      UNIONFS_ASSIGN(InodeRecord record, read_inode(from_.upper, inode));
      record.raw().i_blocks = static_cast<uint32_t>(
          own.block_count * (layout_.block_size_bytes / ext2::kSectorSizeBytes));
      const auto links = facts_.links.find(inode);
      if (links != facts_.links.end() && links->second.in_layer != 0) {
        record.raw().i_links_count = static_cast<uint16_t>(links->second.in_layer);
      }
      UNIONFS_TRY(stage_.write(inode_offset(layout_, from_.upper.groups(), inode), record.bytes()));
    }
    return {};
  }

  Result<void> stage_xattr_counts() {
    for (const auto& [block, users] : facts_.files.xattr_users) {
      const Le32 count(users);
      UNIONFS_TRY(stage_.write(layout_.offset_of(block) + offsetof(ext2::XattrHeader, h_refcount),
                               std::as_bytes(std::span(&count, 1))));
    }
    return {};
  }

  // All but the counts of the merged image.
  void derive_tables() {
    std::map<BlockNumber, TranslatedBlock> translated = facts_.files.translated;
    for (const TranslatedBlock& entry : tables_.translated) {
      if (entry.kind == TranslatedKind::kXattrCount) {
        translated.try_emplace(entry.block, entry);
      }
    }
    tables_.translated.clear();
    for (const auto& [block, entry] : translated) {
      tables_.translated.push_back(entry);
    }
    auto& whiteouts = tables_.block_whiteouts;
    for (const BlockNumber block : facts_.missing_whiteouts) {
      whiteouts.push_back({block, block + 1});
    }
    std::sort(whiteouts.begin(), whiteouts.end(),
              [](const BlockRange& a, const BlockRange& b) { return a.begin < b.begin; });
    // Nobody counts what the reserved inodes say of themselves.
    std::erase_if(tables_.kept_inodes, [this](const KeptInode& kept) {
      return kept.inode.value() >= layout_.first_inode || kept.inode == kRootDirectory ||
             !facts_.numbers.own_inodes.test(kept.inode);
    });
    tables_.kept_xattrs.clear();
    tables_.counters.clear();
  }

  // From the merged image that the mended layer gives.
  Result<void> derive_merged() {
    static const std::atomic<bool> is_cancelled{false};
    UNIONFS_ASSIGN(Volume volume, Volume::open(stage_, SuperblockUse::kUpper));
    OpenedUpper mended{&stage_, nullptr, {}, from_.area, geometry_, std::move(volume), tables_, {}};
    mended.area.translated_blocks.length = tables_.translated.size() * layout_.block_size_bytes;
    UNIONFS_ASSIGN(const auto layer, LayerOverLower::make(from_.below, std::move(mended), {}));
    UNIONFS_ASSIGN(const auto merged, MergedImage::open("merged image", layer->view()));
    LowerSide lower(from_.lower);
    UNIONFS_ASSIGN(MergedCounts counts, count_merged(from_, facts_, lower, merged->volume()));
    for (const KeptInode& counted : counts.inodes) {
      UNIONFS_ASSIGN(const InodeRecord own, read_inode(layer->upper(), counted.inode));
      if (own.raw().i_blocks != counted.block_sectors ||
          own.raw().i_links_count != counted.links_count) {
        tables_.kept_inodes.push_back(counted);
      }
    }
    std::sort(tables_.kept_inodes.begin(), tables_.kept_inodes.end(),
              [](const KeptInode& a, const KeptInode& b) { return a.inode < b.inode; });
    UNIONFS_ASSIGN(lower_records_,
                   form_lower_records(from_.lower, bits_of(layer->layer()), tables_.translated,
                                      nullptr, upper_.name(), is_cancelled));
    UNIONFS_TRY(check_same_lower());
    tables_.kept_xattrs = std::move(counts.xattrs);
    for (const GroupCounters& counted : counts.counters) {
      const Group& untouched = from_.geometry.groups()[counted.group.value()];
      if (counted.free_blocks_count != untouched.free_blocks_count ||
          counted.free_inodes_count != untouched.free_inodes_count ||
          counted.used_dirs_count != untouched.used_dirs_count) {
        tables_.counters.push_back(counted);
      }
    }
    return {};
  }

  // New records must not make another lower the right one.  What a record says of metadata
  // and bitmaps does not depend on the bits that are mended.
  Result<void> check_same_lower() const {
    for (const LowerInode& former : former_records_.inodes) {
      const LowerInode* now = find_record(lower_records_, former.inode);
      if (now != nullptr && now->metadata != former.metadata) {
        return differs(fmt::format("inode {} is another file", former.inode));
      }
    }
    for (const LowerGroup& former : former_records_.groups) {
      const LowerGroup* now = find_record(lower_records_, former.group);
      if (now != nullptr && now->bitmaps != former.bitmaps) {
        return differs(fmt::format("other blocks or inodes of group {} are in use", former.group));
      }
    }
    return {};
  }

  Failure differs(const std::string& difference) const {
    return invalid("{}", not_the_lower(from_.lower.name(), upper_.name(), difference));
  }

  // As a checkpoint does it: all or nothing.
  Result<void> commit() {
    const std::vector<std::byte> bytes = encode_layer_tables(tables_);
    StateArea area = from_.area;
    const std::vector<std::byte> records = encode_lower_records(lower_records_);
    StateArea next = area;
    ++next.session_number;
    next.lower = known_lower(from_.lower);
    place_layer_sections(next, {bytes.size(), tables_.translated.size(), records.size()});
    stage_.resize(std::max(round_up(next.end(), StagedFile::kPageBytes), stage_.size_bytes()));
    UNIONFS_TRY(stage_.write(next.layer_tables.offset, bytes));
    UNIONFS_TRY(stage_.write(next.lower_records.offset, records));
    const JournalPlan plan{stage_, area.replaced_sections(), next.end(), encode_header(next)};
    UNIONFS_ASSIGN(const FileRange journal, write_journal(upper_, plan));
    UNIONFS_TRY(commit_journal(upper_, area, journal));
    return replay_journal(upper_, area);
  }

  const CheckSources from_;
  const std::shared_ptr<const Geometry> geometry_;
  const Layout& layout_;
  const LayerFacts& facts_;
  WritableFile& upper_;
  StagedFile stage_;
  LayerTables tables_;
  const LowerRecords& former_records_;
  LowerRecords lower_records_;
};

}  // namespace

Result<void> repair_upper(const Below& below, const OpenedUpper& opened, const LayerFacts& facts,
                          WritableFile& upper) {
  return Repairer(below, opened, facts, upper).repair();
}

}  // namespace unionfs
