// SPDX-License-Identifier: BSD-3-Clause
//
// Makes what a plan says in the merged image of a new layer, as a client would: blocks and
// inodes that stay equal are not written, so that they go on falling through.
#ifndef UNIONFS_OVERLAY_CHANGES_MAKE_PLANNED_H
#define UNIONFS_OVERLAY_CHANGES_MAKE_PLANNED_H

#include <functional>
#include <vector>

#include "overlay/changes/merged_files.h"
#include "overlay/changes/plan.h"

namespace unionfs {

// What has become of a plan's files, and what the checkpoint need not search for.
struct MadeFiles {
  std::vector<InodeNumber> inodes;  // by their ids; 0: the file has no name any more
  CheckpointHints hints;            // the directories with planned names, and the changed files
  uint64_t bytes_written = 0;       // of contents
};

// Called now and then, with how many of the plan's files and names are done.
using PlanProgress = std::function<void(uint64_t done, uint64_t all)>;

// `files` is the merged image that the plan speaks of, without any session so far; no content
// of the plan is taken from it.  The plan is checked before anything is written (see
// plan_tree()).  After an error the image is of no use.  Does not close `files`.  Errors name
// image, path and reason; ENOSPC where blocks or inodes run out, EMLINK for too many links,
// EFBIG and ENAMETOOLONG for contents that this image cannot hold.
//
// Memory follows the plan and the largest directory that it changes, not the files' sizes.
Result<MadeFiles> make_planned(const Plan& plan, MergedFiles& files, const PlanProgress& progress);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_MAKE_PLANNED_H
