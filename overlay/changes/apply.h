// SPDX-License-Identifier: BSD-3-Clause
//
// The classic rules: lays a foreign upper's tree over the merged image, by
// names and paths.
//
//   an upper name wins over the lower one; the first that is no directory ends
//   the search below it; directories of one name merge, the upper one's owner,
//   mode, times and attributes showing;
//   a whiteout: no such name;
//   an opaque directory: nothing from below, but what a fallthru names.
#ifndef UNIONFS_OVERLAY_CHANGES_APPLY_H
#define UNIONFS_OVERLAY_CHANGES_APPLY_H

#include <functional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "overlay/changes/directory_editor.h"
#include "overlay/changes/foreign_tree.h"
#include "overlay/changes/merged_files.h"

namespace unionfs {

// One user, one thread.
class TreeApplier {
 public:
  // Called after each inode, with how many are done.
  using Progress = std::function<void(uint64_t inodes_done)>;

  // Both must outlive the applier.
  TreeApplier(const ForeignTree& tree, MergedFiles& files, Progress progress);

  // After an error the merged image is of no use.
  Result<void> apply();

 private:
  // An upper directory and its place in the merged image.
  struct Work {
    InodeNumber foreign;
    InodeNumber merged;
    InodeNumber merged_parent;
    bool is_new;  // nothing of the lower is in it
  };

  Result<void> apply_directory(const Work& work);
  Result<void> cover_lower(DirectoryEditor& editor, const std::vector<ForeignName>& names);
  Result<void> apply_name(const Work& work, bool looks_below, const ForeignName& name,
                          DirectoryEditor& editor);
  Result<void> apply_subdirectory(const Work& work, bool looks_below, const ForeignName& name,
                                  const InodeRecord& from, DirectoryEditor& editor);
  Result<InodeNumber> make_directory(InodeNumber parent, const InodeRecord& from);
  Result<InodeNumber> place_file(const Work& work, const InodeRecord& from);
  Result<void> remove_name(DirectoryEditor& editor, const std::string& name);
  Result<void> remove_target(DirectoryEditor& editor, InodeNumber inode);
  Result<void> remove_tree(InodeNumber directory);
  // Marks a foreign inode as met; an error at the second time.
  Result<void> meet(const InodeRecord& from);

  const ForeignTree& tree_;
  MergedFiles& files_;
  Progress progress_;
  std::vector<Work> work_;
  std::unordered_set<uint32_t> met_;                      // foreign inode numbers
  std::unordered_map<uint32_t, InodeNumber> hard_links_;  // foreign to merged
  uint64_t inodes_done_ = 0;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_APPLY_H
