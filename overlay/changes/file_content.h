// SPDX-License-Identifier: BSD-3-Clause
//
// Gives a file of the merged image a content that lies elsewhere.
#ifndef UNIONFS_OVERLAY_CHANGES_FILE_CONTENT_H
#define UNIONFS_OVERLAY_CHANGES_FILE_CONTENT_H

#include "overlay/changes/merged_files.h"
#include "overlay/changes/planned_content.h"

namespace unionfs {

// Makes bytes and size of a regular file, the target of a symlink or the numbers of a device
// those of `from`, which is of the same type; other types have none.  `to` is a new inode or
// one with other content; writing the record is the caller's.
//
// Of a regular file, blocks that are equal already are not written.  Where `from` stores bytes,
// `to` has a block afterwards.  Where `from` has a hole, `to` keeps a block only if it is zero
// already; any other is freed, because a hole costs the layer less than a block of zeros.
// Nothing is left behind the end.
//
// Adds to `bytes_written` what was written of the content.
// Memory: a MiB and a few indirect blocks.
Result<void> make_content(MergedFiles& files, const FileContent& from, InodeRecord& to,
                          uint64_t& bytes_written);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_FILE_CONTENT_H
