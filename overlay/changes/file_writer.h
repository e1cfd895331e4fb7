// SPDX-License-Identifier: BSD-3-Clause
//
// Copies one inode of a foreign upper into the merged image, whatever the block
// and inode sizes of the two are.
#ifndef UNIONFS_OVERLAY_CHANGES_FILE_WRITER_H
#define UNIONFS_OVERLAY_CHANGES_FILE_WRITER_H

#include "overlay/changes/merged_files.h"

namespace unionfs {

// Owner, mode, times, flags and generation; what belongs to the inode's place
// in the merged image - links, size, blocks - stays.
void copy_metadata(const InodeRecord& from, InodeRecord& to);

// Makes a new inode with one link, near `parent`, that is like `from` in all
// but names; `from` is not a directory.  Holes stay holes.
Result<InodeNumber> copy_file(MergedFiles& files, InodeNumber parent, const Volume& source,
                              const InodeRecord& from);

// Makes the attributes of `to` those of `from`.
Result<void> copy_attributes(MergedFiles& files, const Volume& source, const InodeRecord& from,
                             InodeNumber to);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_FILE_WRITER_H
