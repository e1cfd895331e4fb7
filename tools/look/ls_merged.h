// SPDX-License-Identifier: BSD-3-Clause
//
// The merged image by its names, for unionfs-img ls -R.
#ifndef UNIONFS_TOOLS_LOOK_LS_MERGED_H
#define UNIONFS_TOOLS_LOOK_LS_MERGED_H

#include <string>
#include <vector>

#include "fsparse/volume.h"
#include "tools/command_line/spool.h"

namespace unionfs::img {

struct MergedListing {
  bool is_long = false;
  bool as_json = false;
  std::vector<std::string> paths;  // none: all
};

// A name a line, at and below the paths, symlinks not followed.
Result<void> list_merged(const Volume& merged, const MergedListing& listing, Spool& out);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_LOOK_LS_MERGED_H
