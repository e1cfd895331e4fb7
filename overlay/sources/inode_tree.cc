// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/inode_tree.h"

#include <unordered_map>

#include "fsparse/printable.h"

namespace unionfs {
namespace {

class InodeTreeReader {
 public:
  explicit InodeTreeReader(InodeSource& source) : source_(source) {}

  Result<FileTree> read(uint32_t root) {
    UNIONFS_ASSIGN(tree_.root(), source_.read_file(root));
    if (!tree_.root().state.is_directory()) {
      return corrupt("{}: inode {}: the root is no directory", source_.name(), root);
    }
    files_[root] = kTreeRoot;
    open_.push_back({root, kTreeRoot});
    while (!open_.empty()) {
      const OpenDirectory directory = open_.back();
      open_.pop_back();
      UNIONFS_ASSIGN(const std::vector<InodeName> names, source_.read_names(directory.inode));
      for (const InodeName& name : names) {
        UNIONFS_TRY(put_name(directory, name));
      }
    }
    return std::move(tree_);
  }

 private:
  struct OpenDirectory {
    uint32_t inode;
    TreeFileId id;
  };

  Result<void> put_name(const OpenDirectory& directory, const InodeName& name) {
    if (tree_.find(directory.id, name.name) != nullptr) {
      return corrupt("{}: inode {}: the name {} comes twice", source_.name(), directory.inode,
                     quoted_name(name.name));
    }
    if (name.mark != TreeMark::kFile) {
      tree_.set_mark(directory.id, name.name, name.mark);
      return {};
    }
    const auto [known, is_new] = files_.try_emplace(name.inode, TreeFileId{0});
    if (is_new) {
      UNIONFS_ASSIGN(TreeFile file, source_.read_file(name.inode));
      file.state.inode = InodeNumber(name.inode);
      const bool is_directory = file.state.is_directory();
      known->second = tree_.add(std::move(file));
      if (is_directory) {
        open_.push_back({name.inode, known->second});
      }
    } else if (tree_.file(known->second).state.is_directory()) {
      return corrupt("{}: inode {}: a directory with a second name, {} in inode {}", source_.name(),
                     name.inode, quoted_name(name.name), directory.inode);
    }
    tree_.set_name(directory.id, name.name, known->second);
    return {};
  }

  InodeSource& source_;
  FileTree tree_;
  std::unordered_map<uint32_t, TreeFileId> files_;  // by inode
  std::vector<OpenDirectory> open_;
};

}  // namespace

Result<FileTree> read_inode_tree(InodeSource& source, uint32_t root) {
  return InodeTreeReader(source).read(root);
}

void drop_empty_lost_and_found(FileTree& tree) {
  const auto found = tree.root().names.find("lost+found");
  if (found == tree.root().names.end() || found->second.mark != TreeMark::kFile) {
    return;
  }
  const TreeFile& file = tree.file(found->second.file);
  if (file.state.is_directory() && file.names.empty()) {
    tree.root().names.erase(found);
  }
}

}  // namespace unionfs
