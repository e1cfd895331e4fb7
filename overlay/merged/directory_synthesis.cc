// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/directory_synthesis.h"

#include <optional>

#include "fsparse/directory.h"
#include "fsparse/inode.h"

namespace unionfs {
namespace {

struct LowerName {
  InodeNumber inode;
  uint8_t file_type = 0;
};

// Finds names in one lower directory.  A layer's block is made from the lower
// block of the same number, so a name mostly lies at the very same place; only
// what the client has moved since is looked up by name.
class LowerNames {
 public:
  LowerNames(const Volume& lower, const TranslatedBlock& entry)
      : lower_(lower), entry_(entry), directory_(entry.inode) {}

  Result<std::optional<LowerName>> find(const EntryView& wanted) {
    UNIONFS_TRY(open());
    if (const std::optional<LowerName> found = find_at_place(wanted)) {
      return found;
    }
    UNIONFS_ASSIGN(const auto entry, find_name(lower_, *record_, wanted.name));
    if (!entry || entry->kind != EntryKind::kReal) {
      return std::optional<LowerName>();
    }
    return std::optional<LowerName>(LowerName{entry->inode, entry->file_type});
  }

 private:
  Result<void> open() {
    if (record_) {
      return {};
    }
    if (directory_.value() > lower_.layout().inode_count()) {
      return corrupt("{}: inode {} is not there, but the layer takes names from it", lower_.name(),
                     directory_);
    }
    UNIONFS_ASSIGN(InodeRecord record, read_inode(lower_, directory_));
    if (!record.is_directory()) {
      return corrupt("{}: inode {} is not a directory, but the layer takes names from it",
                     lower_.name(), directory_);
    }
    record_ = std::move(record);
    const auto below = map_block(lower_, *record_, FileBlock(entry_.file_block));
    if (below && *below && **below == entry_.block) {
      bytes_.resize(lower_.layout().block_size_bytes);
      UNIONFS_TRY(lower_.read_block(entry_.block, bytes_));
      is_own_block_ = true;
    }
    return {};
  }

  std::optional<LowerName> find_at_place(const EntryView& wanted) {
    if (!is_own_block_) {
      return std::nullopt;
    }
    const DirectoryRules rules = DirectoryRules::of(lower_);
    const DirectoryPlace place{lower_.name(), directory_, entry_.block};
    if (!cursor_ || cursor_offset_ > wanted.offset) {
      cursor_.emplace(bytes_, rules, place);
      cursor_offset_ = 0;
    }
    while (cursor_offset_ <= wanted.offset) {
      const auto entry = cursor_->next();
      if (!entry || !*entry) {
        cursor_.reset();
        return std::nullopt;
      }
      const EntryView& view = **entry;
      cursor_offset_ = view.offset + view.size_bytes;
      if (view.offset == wanted.offset && view.kind == EntryKind::kReal &&
          view.name == wanted.name) {
        return LowerName{view.inode, view.file_type};
      }
    }
    return std::nullopt;
  }

  const Volume& lower_;
  const TranslatedBlock& entry_;
  InodeNumber directory_;
  std::optional<InodeRecord> record_;
  std::vector<std::byte> bytes_;  // of the lower's block of the same number
  std::optional<DirectoryCursor> cursor_;
  uint32_t cursor_offset_ = 0;
  bool is_own_block_ = false;  // and in the same place of the directory
};

Result<uint8_t> merged_type(const Volume& lower, const MergedFeatures& features,
                            const LowerName& name) {
  if (!features.has_file_types()) {
    return uint8_t{ext2::kFileTypeUnknown};
  }
  if (lower.layout().has_file_types) {
    return name.file_type;
  }
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(lower, name.inode));
  return record.file_type();
}

}  // namespace

Result<void> synthesize_directory_block(const Volume& lower, const Volume& upper,
                                        const MergedFeatures& features,
                                        const TranslatedBlock& entry, ByteSpan block) {
  const DirectoryPlace place{upper.name(), entry.inode, entry.block};
  DirectoryRules rules = DirectoryRules::of(upper);
  rules.has_whiteouts = true;
  LowerNames names(lower, entry);
  return for_each_entry(block, rules, place, [&](const EntryView& view) -> Result<EntryStep> {
    if (view.kind == EntryKind::kWhiteout) {
      rewrite_entry(block, view.offset, InodeNumber(0), ext2::kFileTypeUnknown);
    } else if (view.kind == EntryKind::kFallthru) {
      UNIONFS_ASSIGN(const auto found, names.find(view));
      if (!found) {
        return corrupt(
            "{}: directory inode {}: block {}: offset {}: the lower has no name "
            "\"{}\" to fall through to",
            upper.name(), entry.inode, entry.block, view.offset, view.name);
      }
      UNIONFS_ASSIGN(const uint8_t type, merged_type(lower, features, *found));
      rewrite_entry(block, view.offset, found->inode, type);
    } else if (view.kind == EntryKind::kReal && !features.has_file_types()) {
      rewrite_entry(block, view.offset, view.inode, ext2::kFileTypeUnknown);
    }
    return EntryStep::kContinue;
  });
}

}  // namespace unionfs
