// SPDX-License-Identifier: BSD-3-Clause
//
// What changed between the lower and the merged image, by names.  Visits what
// the layer's own directories reach, and what lies below names that are gone.
#ifndef UNIONFS_OVERLAY_CHANGES_DIFF_TREE_H
#define UNIONFS_OVERLAY_CHANGES_DIFF_TREE_H

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "fsparse/inode.h"
#include "overlay/geometry/number_sets.h"
#include "overlay/merged/merged_image.h"
#include "overlay/upper/layer_tree.h"

namespace unionfs {

enum class ChangeKind { kAdded, kModified, kMetadata, kDeleted, kRenamed };

// One name that leads to something else than in the lower.
struct Change {
  ChangeKind kind = ChangeKind::kAdded;
  std::string path;  // in the merged image; of a deleted name: in the lower
  std::string from;  // kRenamed: in the lower
  InodeNumber inode;
  uint8_t file_type = 0;
  uint64_t old_size_bytes = 0;
  uint64_t new_size_bytes = 0;
  uint64_t changed_bytes = 0;         // of the content, in whole blocks
  bool is_content_changed = false;    // also of a renamed file
  std::vector<std::string> metadata;  // "mode", "owner", "times", ...
  bool is_link = false;               // added: another name of a file that was there before;
                                      // deleted: the file is still there under another name
};

class DiffTree {
 public:
  // Compares the layer's merged image, `merged`, with what is below the layer.  Both outlive it.
  DiffTree(const LayerOverLower& layer, const Volume& merged)
      : from_{layer.below().volume(), layer.upper(), merged},
        used_below_(from_.lower),
        inode_whiteouts_(merged.layout(), layer.layer().inode_whiteouts()),
        block_whiteouts_(merged.layout(), layer.layer().block_whiteouts()) {}

  // All changes by path.
  Result<std::vector<Change>> compare();

 private:
  struct Name {
    std::string path;
    InodeNumber inode;
    bool is_unchanged = false;  // the lower has the name for the same file
  };
  // What is different between the two inodes of one number.
  struct InodeDifference {
    bool is_content = false;
    uint64_t changed_bytes = 0;
    std::vector<std::string> metadata;
  };
  using Pointers = std::vector<BlockNumber>;

  Result<void> visit_directory(const LayerDirectory& directory);
  Result<void> visit_name(const LayerDirectory& directory, const NamedEntry& entry);
  Result<void> lower_name_gone(std::string path, InodeNumber inode);
  Result<void> settle_names();
  Result<void> add_deleted(const Name& name);
  Result<void> add_added(const Name& name);
  Result<void> add_renamed(const Name& old_name, const Name& new_name);

  // Whether the inode is still what it was in the lower.
  Result<bool> is_same(InodeNumber inode);
  Result<const InodeDifference*> difference(InodeNumber inode);
  Result<void> compare_content(const InodeRecord& below, const InodeRecord& now,
                               InodeDifference& difference);
  Result<uint64_t> whited_out_below(Level level, BlockNumber block, uint64_t& visits);
  Result<void> compare_blocks(Level level, BlockNumber own, BlockNumber below,
                              InodeDifference& difference);
  Result<void> compare_metadata(const InodeRecord& below, const InodeRecord& now,
                                InodeDifference& difference);
  Result<std::string> lower_path(InodeNumber directory);
  Result<const std::map<std::string, InodeNumber>*> lower_names(InodeNumber directory);

  struct Images {
    const Volume& lower;
    const Volume& upper;
    const Volume& merged;
  };

  const Images from_;
  UsedNumbers used_below_;
  const InodeSet inode_whiteouts_;
  const BlockSet block_whiteouts_;
  std::vector<Change> changes_;
  std::vector<Name> gone_;  // lower names, in the order they were met
  std::vector<Name> come_;  // real names of the layer
  std::map<InodeNumber, InodeDifference> differences_;
  std::map<InodeNumber, std::string> lower_paths_;
  std::map<InodeNumber, std::map<std::string, InodeNumber>> lower_names_;
  std::map<InodeNumber, bool> names_changed_;  // own directories whose names did
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_DIFF_TREE_H
