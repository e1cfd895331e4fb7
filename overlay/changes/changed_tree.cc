// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/changed_tree.h"

#include <optional>
#include <string_view>

#include "overlay/changes/image_tree.h"
#include "overlay/changes/lower_names.h"
#include "overlay/upper/layer_tree.h"

namespace unionfs {
namespace {

class ChangedTree {
 public:
  explicit ChangedTree(const ComparedTrees& trees)
      : trees_(trees),
        image_(trees.merged, tree_),
        lower_names_(trees.lower),
        below_{{kTreeRoot, kRootDirectory}} {}

  Result<FileTree> run();

 private:
  static bool is_whole(const Change& change) {
    return change.kind == ChangeKind::kAdded || change.kind == ChangeKind::kRenamed;
  }

  Result<void> add_present(const Change& change);
  Result<void> add_gone(std::string_view path);
  Result<TreeFileId> add_path(std::string_view path);
  Result<TreeFileId> enter(TreeFileId directory, std::string_view name, InodeNumber inode);
  Result<void> make_whole(TreeFileId directory);
  Result<std::optional<InodeNumber>> below_name(TreeFileId directory, std::string_view name);
  Result<void> add_missing_links();
  Result<std::vector<std::string>> find_in_layer(const std::map<InodeNumber, uint32_t>& wanted);
  Result<std::vector<std::string>> search(const std::map<InodeNumber, uint32_t>& wanted);

  const ComparedTrees& trees_;
  FileTree tree_;
  ImageTree image_;
  LowerNames lower_names_;
  // Of directories of the tree, the lower's directory of the same path, if it shows through.
  // All others are whole.
  std::map<TreeFileId, InodeNumber> below_;
};

Result<FileTree> ChangedTree::run() {
  if (!trees_.changes.empty()) {
    UNIONFS_TRY(image_.describe_root());
  }
  // A directory comes before what is in it, because the changes are sorted.
  for (const Change& change : trees_.changes) {
    if (change.kind != ChangeKind::kDeleted) {
      UNIONFS_TRY(add_present(change));
    }
  }
  for (const Change& change : trees_.changes) {
    if (change.kind == ChangeKind::kDeleted) {
      UNIONFS_TRY(add_gone(change.path));
    } else if (change.kind == ChangeKind::kRenamed) {
      UNIONFS_TRY(add_gone(change.from));
    }
  }
  UNIONFS_TRY(add_missing_links());
  return std::move(tree_);
}

Result<void> ChangedTree::add_present(const Change& change) {
  const std::string_view path = change.path;
  UNIONFS_ASSIGN(const TreeFileId parent, add_path(path.substr(0, path.rfind('/'))));
  if (!below_.contains(parent)) {
    return {};  // the parent is whole
  }
  UNIONFS_ASSIGN(const TreeFileId file, add_path(path));
  return tree_.file(file).state.is_directory() && is_whole(change) ? make_whole(file)
                                                                   : Result<void>();
}

// The file of a path of the merged image, added with the directories on the way.
Result<TreeFileId> ChangedTree::add_path(std::string_view path) {
  const std::string_view whole = path;
  TreeFileId at = kTreeRoot;
  for (std::string_view name = take_name(path); !name.empty(); name = take_name(path)) {
    UNIONFS_ASSIGN(const auto inode, image_.find(image_.inode_of(at), name));
    if (!inode) {
      return corrupt("{}: {} is a change, but not there", trees_.merged.name(), quoted_name(whole));
    }
    UNIONFS_ASSIGN(at, enter(at, name, *inode));
  }
  return at;
}

Result<TreeFileId> ChangedTree::enter(TreeFileId directory, std::string_view name,
                                      InodeNumber inode) {
  if (const TreeName* known = tree_.find(directory, name);
      known != nullptr && known->mark == TreeMark::kFile) {
    return known->file;
  }
  UNIONFS_ASSIGN(const TreeFileId file, image_.add_name(directory, name, inode));
  if (tree_.file(file).state.is_directory()) {
    UNIONFS_ASSIGN(const auto below, below_name(directory, name));
    if (below) {
      UNIONFS_ASSIGN(const InodeRecord record, read_inode(trees_.lower, *below));
      if (record.is_directory()) {
        below_.emplace(file, *below);
      }
    }
  }
  return file;
}

Result<std::optional<InodeNumber>> ChangedTree::below_name(TreeFileId directory,
                                                           std::string_view name) {
  const auto below = below_.find(directory);
  if (below == below_.end()) {
    return std::optional<InodeNumber>();
  }
  UNIONFS_ASSIGN(const LowerNames::Names* names, lower_names_.of(below->second));
  return names->find(name);
}

// All of it is in the tree, and nothing of the lower's shows.
Result<void> ChangedTree::make_whole(TreeFileId directory) {
  tree_.file(directory).is_opaque = below_.erase(directory) > 0;
  return image_.add_all_below(directory);
}

// A name of the lower: a whiteout stands for the topmost one that is gone.
Result<void> ChangedTree::add_gone(std::string_view path) {
  TreeFileId at = kTreeRoot;
  for (std::string_view name = take_name(path); !name.empty(); name = take_name(path)) {
    if (!below_.contains(at)) {
      return {};  // not seen any more
    }
    UNIONFS_ASSIGN(const auto inode, image_.find(image_.inode_of(at), name));
    if (!inode) {
      tree_.set_mark(at, name, TreeMark::kWhiteout);
      return {};
    }
    if (path.empty()) {
      return {};  // another one has the name
    }
    UNIONFS_ASSIGN(at, enter(at, name, *inode));
  }
  return {};
}

// Where one name of a file is in the tree, its other names must be, because a link to a file
// below the layer cannot be said.
Result<void> ChangedTree::add_missing_links() {
  const auto add_all = [this](const std::vector<std::string>& paths) -> Result<void> {
    for (const std::string& path : paths) {
      UNIONFS_TRY(add_path(path));
    }
    return {};
  };
  if (const auto wanted = image_.missing_links(); !wanted.empty()) {
    UNIONFS_ASSIGN(const auto paths, find_in_layer(wanted));
    UNIONFS_TRY(add_all(paths));
  }
  if (const auto wanted = image_.missing_links(); !wanted.empty()) {
    UNIONFS_ASSIGN(const auto paths, search(wanted));
    UNIONFS_TRY(add_all(paths));
  }
  return {};
}

// The layer has all names of its own inodes.
Result<std::vector<std::string>> ChangedTree::find_in_layer(
    const std::map<InodeNumber, uint32_t>& wanted) {
  std::vector<std::string> paths;
  UNIONFS_TRY(walk_layer(
      trees_.upper, {[](const LayerDirectory&) -> Result<void> { return {}; },
                     [&](const LayerDirectory& directory, const NamedEntry& entry) -> Result<void> {
                       if (entry.kind == EntryKind::kReal && wanted.contains(entry.inode)) {
                         paths.push_back(directory.path + "/" + entry.name);
                       }
                       return {};
                     }}));
  return paths;
}

Result<std::vector<std::string>> ChangedTree::search(
    const std::map<InodeNumber, uint32_t>& wanted) {
  std::vector<std::string> paths;
  UNIONFS_TRY(
      walk_image(trees_.merged, "/", kRootDirectory, [&](const ImageVisit& visit) -> Result<void> {
        if (wanted.contains(visit.record.number())) {
          paths.push_back(visit.path);
        }
        return {};
      }));
  return paths;
}

}  // namespace

Result<FileTree> changed_tree(const ComparedTrees& trees) {
  return ChangedTree(trees).run();
}

}  // namespace unionfs
