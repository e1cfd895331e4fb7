// SPDX-License-Identifier: BSD-3-Clause
//
// The layer by its names: what is reached from the upper's root through real
// directories.  Visits what the layer owns and nothing else.
#ifndef UNIONFS_OVERLAY_UPPER_LAYER_TREE_H
#define UNIONFS_OVERLAY_UPPER_LAYER_TREE_H

#include <functional>
#include <string>
#include <vector>

#include "fsparse/directory.h"
#include "fsparse/inode.h"

namespace unionfs {

// A directory of the layer's own, on the way through the tree.  What it refers
// to is the walk's, and stays as it is only until the visitor returns.
struct LayerDirectory {
  const InodeRecord& record;
  const std::string& path;                 // without a slash at the end; empty: the root
  uint32_t depth = 0;                      // 0: the root
  const std::vector<NamedEntry>& entries;  // by name, without "." and ".."
};

struct LayerTreeVisitor {
  // Before the names of the directory.
  std::function<Result<void>(const LayerDirectory&)> on_directory;
  // In the order of the names; a directory of the layer's own is entered next.
  std::function<Result<void>(const LayerDirectory&, const NamedEntry&)> on_name;
};

// Fails at a directory that is named twice, which a tree cannot have.  An error
// that the visitor returns ends the walk and is returned.
//
// Memory: one path, the entries of the directories on it, and the numbers of all
// directories.
Result<void> walk_layer(const Volume& upper, const LayerTreeVisitor& visitor);

// Entries of a directory by name, without "." and "..".
Result<std::vector<NamedEntry>> sorted_entries(const Volume& volume, const InodeRecord& directory);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_LAYER_TREE_H
