// SPDX-License-Identifier: BSD-3-Clause
//
// Names of the old lower that ours has no more.
#include "overlay/rebase/comparison.h"

namespace unionfs {

Result<void> RebaseComparison::settle_deletions() {
  // The directories that were decided as a whole; a path comes before what lies below it.
  std::set<std::string> tops;
  for (auto& [path, row] : deletions_) {
    bool is_covered = false;
    // What was moved out does not go with the directory above.
    for (std::string above = split_path(path).first;
         !above.empty() && !is_covered && !moved_.contains(above);
         above = split_path(above).first) {
      const auto found = deletions_.find(above);
      is_covered =
          found != deletions_.end() && found->second.change.file_type == ext2::kFileTypeDirectory;
    }
    if (is_covered || row.is_done) {
      continue;
    }
    UNIONFS_TRY(settle_deletion(path, row));
  }
  return {};
}

Result<void> RebaseComparison::settle_deletion(const std::string& path, RebaseRow& row) {
  row.is_done = true;
  UNIONFS_ASSIGN(const std::optional<InodeNumber> theirs, theirs_of(path));
  const auto [parent_path, name] = split_path(path);
  const std::optional<std::string> ours_parent = ours_path_of(parent_path);
  if (!theirs) {
    drop(row);  // theirs has it no more, either
    return visit_directory_of(path);
  }
  UNIONFS_ASSIGN(ResultDirectory * parent, directory_at(ours_parent.value_or(std::string())));
  if (!ours_parent || parent->is_dropped || !parent->theirs) {
    drop(row);
    return {};
  }
  // What was moved out and came to nothing must not go with the directory.
  bool is_kept_inside = false;
  for (auto moved = moved_.lower_bound(path + "/");
       moved != moved_.end() && moved->first.starts_with(path + "/"); ++moved) {
    const RebaseRow& row_inside = rows_.at(moved->second);
    const bool is_given_up = row_inside.is_dropped && !row_inside.is_open;
    UNIONFS_ASSIGN(const bool is_kept, is_given_up
                                           ? has_of_type(moved->first, row_inside.change.below)
                                           : Result<bool>(false));
    is_kept_inside = is_kept_inside || is_kept;
  }
  UNIONFS_ASSIGN(const bool is_as_base,
                 row.is_forced ? Result<bool>(true)
                               : files_.is_tree_as_base(path, row.change.below, *theirs, moved_));
  if ((!is_as_base || is_kept_inside) && !row.is_forced) {
    const Raised raised{
        ConflictClass::kDeleteEdit, path, "", {row.change.below, std::nullopt, *theirs}};
    UNIONFS_ASSIGN(const Resolution resolution, raise(raised));
    if (resolution != Resolution::kOurs) {
      drop(row);
      return {};
    }
  }
  UNIONFS_ASSIGN(const PlannedFileId id, id_of(*parent));
  if (builder_.name(id, name) == nullptr) {
    builder_.set_name(id, name, std::nullopt, parent->path + "/" + name);
    report_.applied.push_back(path);
  }
  return {};
}

}  // namespace unionfs
