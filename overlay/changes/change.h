// SPDX-License-Identifier: BSD-3-Clause
//
// One change of a layer against its lower, by path.
#ifndef UNIONFS_OVERLAY_CHANGES_CHANGE_H
#define UNIONFS_OVERLAY_CHANGES_CHANGE_H

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fsparse/numbers.h"

namespace unionfs {

enum class ChangeKind { kAdded, kModified, kMetadata, kDeleted, kRenamed };

// One name that leads to something else than in the lower.  A name that was there is
// compared with what it was, whichever inode it leads to: a file that an editor or a package
// manager has put in the place of the old one is modified, not deleted and added.
struct Change {
  ChangeKind kind = ChangeKind::kAdded;
  uint8_t file_type = 0;            // ext2::kFileType...
  bool is_content_changed = false;  // also of a renamed file
  bool is_link = false;             // added: another name of a file that was there before;
                                    // deleted: the file is still there under another name
  InodeNumber inode;                // in the merged image; of a deleted name: in the lower
  // The lower's name that it is compared with, and its inode.  Empty and 0: nothing.
  InodeNumber below;
  std::string below_path;
  std::string path;  // in the merged image; of a deleted name: in the lower
  std::string from;  // kRenamed: in the lower
  // Of a name that has come to a file that was there before: a name of that file in the lower,
  // which it has still, and all of those that the layer is known to have left it.
  std::string link_of;
  std::shared_ptr<const std::vector<std::string>> links_of;
  uint64_t old_size_bytes = 0;
  uint64_t new_size_bytes = 0;
  uint64_t changed_bytes = 0;         // of the content, in whole blocks
  std::vector<std::string> metadata;  // "mode", "owner", "times", ...
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_CHANGE_H
