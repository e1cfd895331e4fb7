// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/import/copied_inodes.h"

#include "overlay/tree/file_reader.h"

namespace unionfs {

CopiedInodes::CopiedInodes(const FileTree& copy, SideTree& lower)
    : copy_(copy), lower_(lower), used_below_(lower.volume()) {
  for (TreeFileId id = 0; id < copy.file_count(); ++id) {
    ids_.emplace(copy.file(id).state.inode, id);
  }
}

Result<std::optional<InodeNumber>> CopiedInodes::possible(TreeFileId id) {
  const FileState& state = copy_.file(id).state;
  const Layout& layout = lower_.volume().layout();
  if (state.inode.value() < layout.first_inode || state.inode.value() > layout.inode_count()) {
    return std::optional<InodeNumber>();
  }
  UNIONFS_ASSIGN(const bool is_used, used_below_.is_used(state.inode));
  if (!is_used) {
    return std::optional<InodeNumber>();
  }
  UNIONFS_ASSIGN(const SharedState present, lower_.state(state.inode));
  const bool has_other_birth =
      state.created && present->created && *state.created != *present->created;
  const bool is_same = present->type() == state.type() && present->links_count > 0 &&
                       present->generation == state.generation && !has_other_birth;
  return is_same ? std::optional(state.inode) : std::nullopt;
}

Result<std::optional<InodeNumber>> CopiedInodes::proven(TreeFileId id) {
  UNIONFS_ASSIGN(const std::optional<InodeNumber> inode, possible(id));
  if (!inode) {
    return inode;
  }
  const auto [known, is_new] = proven_.emplace(id, false);
  if (is_new) {
    UNIONFS_ASSIGN(known->second, prove(id, *inode));
  }
  return known->second ? inode : std::nullopt;
}

Result<bool> CopiedInodes::is_kept(InodeNumber inode) {
  const auto file = ids_.find(inode);
  if (file == ids_.end()) {
    return false;
  }
  UNIONFS_ASSIGN(const std::optional<InodeNumber> same, proven(file->second));
  return same.has_value();
}

Result<bool> CopiedInodes::prove(TreeFileId id, InodeNumber inode) {
  const TreeFile& file = copy_.file(id);
  if (file.state.generation != 0) {
    return true;
  }
  if (file.state.is_directory()) {
    return has_same_child(file, inode);
  }
  if (file.state.is_regular()) {
    return has_same_bytes(file, inode);
  }
  UNIONFS_ASSIGN(const SharedState present, lower_.state(inode));
  return file.state.target == present->target && file.state.device_major == present->device_major &&
         file.state.device_minor == present->device_minor;
}

Result<bool> CopiedInodes::has_same_child(const TreeFile& directory, InodeNumber inode) {
  for (const auto& [name, what] : directory.names) {
    if (what.mark != TreeMark::kFile) {
      continue;
    }
    UNIONFS_ASSIGN(const std::optional<InodeNumber> below, lower_.child(inode, name));
    UNIONFS_ASSIGN(const std::optional<InodeNumber> child, possible(what.file));
    if (child && child == below) {
      return true;
    }
  }
  return false;
}

Result<bool> CopiedInodes::has_same_bytes(const TreeFile& file, InodeNumber inode) {
  UNIONFS_ASSIGN(const SharedState present, lower_.state(inode));
  if (file.content == nullptr || present->size_bytes == 0) {
    return file.content == nullptr && present->size_bytes == 0;
  }
  UNIONFS_ASSIGN(InodeRecord record, read_inode(lower_.volume(), inode));
  FileReader below(lower_.volume(), std::move(record));
  UNIONFS_ASSIGN(const bool has_block,
                 share_block(*file.content, below, lower_.volume().layout().block_size_bytes,
                             bytes_compared_));
  return has_block ? Result<bool>(true) : have_same_bytes(*file.content, below, bytes_compared_);
}

}  // namespace unionfs
