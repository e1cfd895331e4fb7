// SPDX-License-Identifier: BSD-3-Clause
//
// A file in the lower and now: its content, compared where the layer owns some of
// it, and its metadata.
#ifndef UNIONFS_OVERLAY_CHANGES_INODE_CHANGES_H
#define UNIONFS_OVERLAY_CHANGES_INODE_CHANGES_H

#include <map>
#include <string>
#include <vector>

#include "fsparse/inode.h"
#include "overlay/changes/change_sources.h"
#include "overlay/geometry/number_sets.h"

namespace unionfs {

// What is different between an inode of the lower and one of the merged image.
struct InodeDifference {
  bool is_content = false;
  bool has_blocks_of_lower = false;   // of one number: some of the content falls through
  uint64_t changed_bytes = 0;         // of the content, in whole blocks
  std::vector<std::string> metadata;  // "mode", "owner", "times", "flags", "xattrs"

  bool is_any() const { return is_content || !metadata.empty(); }
};

// Compares each inode once.  Not thread-safe.
class InodeChanges {
 public:
  explicit InodeChanges(const ChangeSources& sources)
      : from_(sources),
        block_whiteouts_(sources.merged.layout(), sources.layer.block_whiteouts()),
        inode_whiteouts_(sources.merged.layout(), sources.layer.inode_whiteouts()) {}

  // Of two inodes of one type: of one number and the same file, or `now` has replaced
  // `below`.  `are_names_changed`: of a directory, whose new time is no change of its own
  // then.  The difference stays where it is while this object lives.
  Result<const InodeDifference*> difference(InodeNumber below, InodeNumber now,
                                            bool are_names_changed);

 private:
  Result<void> compare_content(const InodeRecord& below, const InodeRecord& now,
                               InodeDifference& difference) const;
  Result<void> compare_blocks(const InodeRecord& below, const InodeRecord& now,
                              InodeDifference& difference) const;
  Result<void> compare_replaced(const InodeRecord& below, const InodeRecord& now,
                                InodeDifference& difference) const;
  Result<void> compare_metadata(const InodeRecord& below, const InodeRecord& now,
                                bool are_names_changed, InodeDifference& difference) const;

  const ChangeSources from_;
  const BlockSet block_whiteouts_;
  const InodeSet inode_whiteouts_;
  std::map<std::pair<InodeNumber, InodeNumber>, InodeDifference> differences_;  // below, now
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_INODE_CHANGES_H
