// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/directory_synthesis.h"

#include <cstring>

#include "fsparse/directory.h"

namespace unionfs {
namespace {

Result<uint8_t> merged_type(const Below& below, const MergedFeatures& features,
                            const NameBelow& name) {
  if (!features.has_file_types()) {
    return uint8_t{ext2::kFileTypeUnknown};
  }
  if (below.layout().has_file_types) {
    return name.file_type;
  }
  UNIONFS_ASSIGN(const InodeRecord record, below.inode_at(name.inode));
  return record.file_type();
}

// Free space without a name: rec_len stays, so a client that writes only a sector of a
// block that it read in another form still has a chain of entries.
void free_entry(ByteSpan block, const EntryView& entry) {
  std::memset(block.data() + entry.offset + sizeof(ext2::DirectoryEntry), 0, entry.name.size());
  put_entry(block, entry.offset, entry.size_bytes, InodeNumber(0), ext2::kFileTypeUnknown, {});
}

}  // namespace

Result<void> synthesize_directory_block(const Below& below, const Volume& upper,
                                        const MergedFeatures& features,
                                        const TranslatedBlock& entry, ByteSpan block) {
  const DirectoryPlace place{upper.name(), entry.inode, entry.block};
  DirectoryRules rules = DirectoryRules::of(upper);
  rules.has_whiteouts = true;
  std::unique_ptr<NamesBelow> names;
  return for_each_entry(block, rules, place, [&](const EntryView& view) -> Result<EntryStep> {
    if (view.kind == EntryKind::kWhiteout) {
      free_entry(block, view);
    } else if (view.kind == EntryKind::kFallthru) {
      if (names == nullptr) {
        UNIONFS_ASSIGN(names,
                       below.names_of(entry.inode, entry.block, FileBlock(entry.file_block)));
      }
      UNIONFS_ASSIGN(const auto found, names->find(view));
      if (!found) {
        return corrupt(
            "{}: directory inode {}: block {}: offset {}: the lower has no name "
            "{} to fall through to",
            upper.name(), entry.inode, entry.block, view.offset, quoted_name(view.name));
      }
      UNIONFS_ASSIGN(const uint8_t type, merged_type(below, features, *found));
      rewrite_entry(block, view.offset, found->inode, type);
    } else if (view.kind == EntryKind::kReal && !features.has_file_types()) {
      rewrite_entry(block, view.offset, view.inode, ext2::kFileTypeUnknown);
    }
    return EntryStep::kContinue;
  });
}

}  // namespace unionfs
