// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/check/lower_side.h"

#include "fsparse/directory.h"

namespace unionfs {

Result<const LowerSide::Names*> LowerSide::names(InodeNumber directory) {
  const Names* none = nullptr;
  if (const auto known = names_.find(directory); known != names_.end()) {
    return &known->second;
  }
  UNIONFS_ASSIGN(const bool is_directory_used, is_used(directory));
  if (!is_directory_used) {
    return none;
  }
  UNIONFS_ASSIGN(const InodeRecord record, inode(directory));
  if (!record.is_directory()) {
    return none;
  }
  UNIONFS_ASSIGN(const std::vector<NamedEntry> entries, read_directory(volume_, record));
  Names& names = names_[directory];
  for (const NamedEntry& entry : entries) {
    names[entry.name] = entry.inode;
  }
  return &names;
}

}  // namespace unionfs
