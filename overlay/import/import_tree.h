// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img import, apart from its command line and its files: a tree from elsewhere becomes a
// layer.
#ifndef UNIONFS_OVERLAY_IMPORT_IMPORT_TREE_H
#define UNIONFS_OVERLAY_IMPORT_IMPORT_TREE_H

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "overlay/changes/planned_layer.h"
#include "overlay/import/tree_plan.h"

namespace unionfs {

struct TreeImportOptions {
  ImportRules rules;
  // Of the merged image.  Default: as large as a new upper's, or as much larger as the tree
  // needs.
  std::optional<uint64_t> size_bytes;
};

struct TreeImportOutcome {
  ImportFigures figures;
  PlannedLayer layer;
  uint64_t merged_bytes = 0;
};

// Makes `target`, which is new and empty, the layer over `below` that shows the tree laid over
// it, proven and synced.  After an error it is of no use.  An error of kUnsupported says what of
// the tree an image like the lower cannot hold.  ECANCELED when that was asked for.
Result<TreeImportOutcome> import_tree(const FileTree& tree, const Below& below,
                                      WritableFile& target, const TreeImportOptions& options,
                                      const std::string& boot_id, const LogSink& log,
                                      const LogSink& progress,
                                      const std::atomic<bool>& is_cancelled);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_IMPORT_IMPORT_TREE_H
