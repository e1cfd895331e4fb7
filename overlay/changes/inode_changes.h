// SPDX-License-Identifier: BSD-3-Clause
//
// One inode in the lower and now: its content, compared where the layer owns
// some of it, and its metadata.
#ifndef UNIONFS_OVERLAY_CHANGES_INODE_CHANGES_H
#define UNIONFS_OVERLAY_CHANGES_INODE_CHANGES_H

#include <map>
#include <string>
#include <vector>

#include "fsparse/inode.h"
#include "overlay/changes/change_sources.h"
#include "overlay/geometry/number_sets.h"

namespace unionfs {

// What is different between the two inodes of one number.
struct InodeDifference {
  bool is_content = false;
  uint64_t changed_bytes = 0;         // of the content, in whole blocks
  std::vector<std::string> metadata;  // "mode", "owner", "times", "flags", "xattrs"

  bool is_any() const { return is_content || !metadata.empty(); }
};

// Compares each inode once.  Not thread-safe.
class InodeChanges {
 public:
  explicit InodeChanges(const ChangeSources& sources)
      : from_(sources),
        block_whiteouts_(sources.merged.layout(), sources.layer.block_whiteouts()) {}

  // Of an inode that both images have for the same file.  `are_names_changed`: of
  // a directory, whose new time is no change of its own then.  The difference
  // stays where it is while this object lives.
  Result<const InodeDifference*> difference(InodeNumber inode, bool are_names_changed);

 private:
  Result<void> compare_content(const InodeRecord& below, const InodeRecord& now,
                               InodeDifference& difference) const;
  Result<void> compare_blocks(const InodeRecord& below, const InodeRecord& now,
                              InodeDifference& difference) const;
  Result<void> compare_metadata(const InodeRecord& below, const InodeRecord& now,
                                bool are_names_changed, InodeDifference& difference) const;

  const ChangeSources from_;
  const BlockSet block_whiteouts_;
  std::map<InodeNumber, InodeDifference> differences_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_INODE_CHANGES_H
