// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/check/lower_side.h"

#include "fsparse/directory.h"

namespace unionfs {

Error damaged_lower(Error error) {
  error.kind = ErrorKind::kInvalid;
  error.message += "; the lower is damaged";
  return error;
}

Result<bool> LowerSide::has_remains(InodeNumber number) {
  UNIONFS_ASSIGN(const bool is_inode_used, is_used(number));
  if (is_inode_used || number.value() > layout().inode_count()) {
    return false;
  }
  UNIONFS_ASSIGN(const InodeRecord record, inode(number));
  return !is_empty_slot(record.bytes());
}

Result<void> LowerSide::check_blocks(InodeNumber number) {
  UNIONFS_ASSIGN(const bool is_inode_used, is_used(number));
  if (!is_inode_used) {
    return {};
  }
  UNIONFS_ASSIGN(const InodeRecord record, inode(number));
  return of_lower(
      walk_block_map(volume_, record, [&](BlockRole, BlockNumber block) -> Result<WalkStep> {
        UNIONFS_ASSIGN(const bool is_block_used, is_used(block));
        if (!is_block_used) {
          return corrupt("{}: inode {}: block {} is free in the block bitmap", volume_.name(),
                         number, block);
        }
        return WalkStep::kContinue;
      }));
}

Result<const LowerNames::Names*> LowerSide::names(InodeNumber directory) {
  const LowerNames::Names* none = nullptr;
  UNIONFS_ASSIGN(const bool is_directory_used, is_used(directory));
  if (!is_directory_used) {
    return none;
  }
  UNIONFS_ASSIGN(const InodeRecord record, inode(directory));
  return record.is_directory() ? of_lower(names_.of(directory)) : none;
}

Result<void> LowerSide::check_index(InodeNumber directory, std::string_view name) const {
  UNIONFS_ASSIGN(const InodeRecord record, inode(directory));
  const auto found = find_name_by_index(volume_, record, name);
  if (!found && found.error().kind == ErrorKind::kSystem) {
    return Failure(found.error());
  }
  if (found && !*found) {
    return of_lower<void>(corrupt("{}: directory inode {}: its index does not lead to the name {}",
                                  volume_.name(), directory, quoted_name(name)));
  }
  return {};
}

}  // namespace unionfs
