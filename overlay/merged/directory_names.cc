// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/directory_names.h"

namespace unionfs {

Result<DirectoryNames> DirectoryNames::open(const NameTables& tables, InodeNumber directory,
                                            BlockNumber block, FileBlock file_block) {
  const Volume& volume = tables.volume();
  if (directory.value() > volume.layout().inode_count()) {
    return corrupt("{}: inode {} is not there, but the layer takes names from it", volume.name(),
                   directory);
  }
  UNIONFS_ASSIGN(InodeRecord record, read_inode(volume, directory));
  if (!record.is_directory()) {
    return corrupt("{}: inode {} is not a directory, but the layer takes names from it",
                   volume.name(), directory);
  }
  DirectoryNames names(tables, std::move(record), block);
  const auto place = map_block(volume, names.record_, file_block);
  if (place && *place && **place == block) {
    names.bytes_.resize(volume.layout().block_size_bytes);
    UNIONFS_TRY(volume.read_block(block, names.bytes_));
  }
  return names;
}

std::optional<FoundName> DirectoryNames::find_at_place(const EntryView& wanted) {
  if (bytes_.empty()) {
    return std::nullopt;
  }
  if (!cursor_ || cursor_end_ > wanted.offset) {
    const DirectoryPlace place{volume().name(), record_.number(), block_};
    cursor_.emplace(bytes_, DirectoryRules::of(volume()), place);
    cursor_end_ = 0;
  }
  while (cursor_end_ <= wanted.offset) {
    const auto entry = cursor_->next();
    if (!entry || !*entry) {
      cursor_.reset();
      return std::nullopt;
    }
    const EntryView& view = **entry;
    cursor_end_ = view.offset + view.size_bytes;
    if (view.offset == wanted.offset && view.kind != EntryKind::kFree && view.name == wanted.name) {
      return FoundName{view.inode, view.file_type, view.kind};
    }
  }
  return std::nullopt;
}

Result<std::optional<FoundName>> DirectoryNames::find(const EntryView& wanted) {
  if (const std::optional<FoundName> found = find_at_place(wanted)) {
    return found;
  }
  if (table_ == nullptr) {
    const auto entry = find_name_by_index(volume(), record_, wanted.name);
    if (entry && !*entry) {
      return std::optional<FoundName>();
    }
    if (entry) {
      return std::optional<FoundName>({(*entry)->inode, (*entry)->file_type, (*entry)->kind});
    }
    if (entry.error().kind == ErrorKind::kSystem) {
      return Failure(entry.error());
    }
    UNIONFS_ASSIGN(table_, tables_->of(record_));
  }
  return table_->find(wanted.name);
}

}  // namespace unionfs
