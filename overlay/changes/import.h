// SPDX-License-Identifier: BSD-3-Clause
//
// From a foreign upper to one of ours.
#ifndef UNIONFS_OVERLAY_CHANGES_IMPORT_H
#define UNIONFS_OVERLAY_CHANGES_IMPORT_H

#include <string>

#include "overlay/changes/foreign_tree.h"
#include "overlay/disk.h"
#include "overlay/host/clock.h"
#include "overlay/host/log.h"

namespace unionfs {

struct ImportParts {
  const Below& below;
  const ForeignTree& tree;
  const Geometry& geometry;  // of the merged image
  std::string boot_id;
  LogSink log;
  LogSink progress;  // a line every few seconds; may be empty
  Clock& clock = steady_clock();
};

// Makes `upper`, which is new and empty, the layer over the lower that the
// foreign upper means.  After an error it is of no use.
Result<void> import_upper(WritableFile& upper, const ImportParts& parts);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_IMPORT_H
