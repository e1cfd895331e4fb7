// SPDX-License-Identifier: BSD-3-Clause
//
// One of the three images of a rebase, by paths.
#ifndef UNIONFS_OVERLAY_REBASE_SIDE_TREE_H
#define UNIONFS_OVERLAY_REBASE_SIDE_TREE_H

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "overlay/changes/lower_names.h"
#include "overlay/tree/file_state.h"

namespace unionfs {

// The directory part of a path and its last name.  A path is "" for the root, or begins with a
// slash and ends without one.
std::pair<std::string, std::string> split_path(const std::string& path);
// Whether `path` is `top` or lies below it.
bool is_at_or_below(std::string_view path, std::string_view top);

// Reads each directory and inode once, when it is first asked for.  Not thread-safe.  Refers to
// the image, which must outlive it.
class SideTree {
 public:
  explicit SideTree(const Volume& volume) : volume_(volume), names_(volume) {}

  const Volume& volume() const { return volume_; }

  // A path's inode.  No symlink is followed: what lies below one is not there.
  Result<std::optional<InodeNumber>> find(const std::string& path);
  // A name of a directory; nothing also where the inode is no directory.
  Result<std::optional<InodeNumber>> child(InodeNumber directory, const std::string& name);
  Result<const LowerNames::Names*> names_of(InodeNumber directory) { return names_.of(directory); }
  // Stays where it is while this object lives.
  Result<const FileState*> state(InodeNumber inode);
  Result<bool> is_directory(InodeNumber inode);
  // What state() says of an inode that it has not been asked for yet.
  void know_state(InodeNumber inode, FileState state) { states_.emplace(inode, std::move(state)); }

  // What owners and groups are called here, where another number is meant: see OwnerNames.  Each
  // at most once; it holds for states that are known already, too.
  void map_users(std::map<uint32_t, uint32_t> users);
  void map_groups(std::map<uint32_t, uint32_t> groups);

 private:
  const Volume& volume_;
  LowerNames names_;
  std::map<InodeNumber, FileState> states_;
  std::map<InodeNumber, bool> directories_;  // whether it is one
  std::map<uint32_t, uint32_t> users_;
  std::map<uint32_t, uint32_t> groups_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_SIDE_TREE_H
