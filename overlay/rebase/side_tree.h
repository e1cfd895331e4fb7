// SPDX-License-Identifier: BSD-3-Clause
//
// One of the three images of a rebase, by paths.
#ifndef UNIONFS_OVERLAY_REBASE_SIDE_TREE_H
#define UNIONFS_OVERLAY_REBASE_SIDE_TREE_H

#include <map>
#include <memory>
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

// Stays as it is while somebody holds it.
using SharedState = std::shared_ptr<const FileState>;

// Reads each directory once, when it is first asked for, and keeps the states of the last files
// that were asked for.  Not thread-safe.  Refers to the image, which must outlive it.
class SideTree {
 public:
  explicit SideTree(const Volume& volume) : volume_(volume), names_(volume) {}

  const Volume& volume() const { return volume_; }

  // A path's inode.  No symlink is followed: what lies below one is not there.
  Result<std::optional<InodeNumber>> find(const std::string& path) {
    return find_below(kRootDirectory, path);
  }
  // The same of a path that begins in this directory; of "" it is the directory itself.
  Result<std::optional<InodeNumber>> find_below(InodeNumber top, const std::string& path);
  // A name of a directory; nothing also where the inode is no directory.
  Result<std::optional<InodeNumber>> child(InodeNumber directory, const std::string& name);
  Result<const LowerNames::Names*> names_of(InodeNumber directory) { return names_.of(directory); }
  // It is read again where others were asked for meanwhile.
  Result<SharedState> state(InodeNumber inode);
  Result<bool> is_directory(InodeNumber inode);
  // What state() says of an inode that it has not been asked for yet.
  void know_state(InodeNumber inode, SharedState state) {
    known_states_.emplace(inode, std::move(state));
  }

  // What owners and groups are called here, where another number is meant: see OwnerNames.
  void map_users(std::map<uint32_t, uint32_t> users);
  void map_groups(std::map<uint32_t, uint32_t> groups);

 private:
  static constexpr size_t kKeptStates = 1024;

  Result<SharedState> read_state(InodeNumber inode) const;
  void forget_read();

  const Volume& volume_;
  LowerNames names_;
  std::map<InodeNumber, SharedState> known_states_;
  // Those that were asked for last: at most kKeptStates in each.  What was asked for again moves
  // into the first, and when that is full, it becomes the second.
  std::map<InodeNumber, SharedState> new_states_;
  std::map<InodeNumber, SharedState> old_states_;
  std::map<InodeNumber, bool> directories_;  // whether it is one
  std::map<uint32_t, uint32_t> users_;
  std::map<uint32_t, uint32_t> groups_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_SIDE_TREE_H
