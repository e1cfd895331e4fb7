// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/apply.h"

#include <unordered_set>

#include "overlay/changes/file_writer.h"

namespace unionfs {

TreeApplier::TreeApplier(const ForeignTree& tree, MergedFiles& files, Progress progress)
    : tree_(tree), files_(files), progress_(std::move(progress)) {}

Result<void> TreeApplier::apply() {
  work_.push_back({kRootDirectory, kRootDirectory, kRootDirectory, false});
  while (!work_.empty()) {
    const Work work = work_.back();
    work_.pop_back();
    UNIONFS_TRY(apply_directory(work));
  }
  return {};
}

Result<void> TreeApplier::meet(const InodeRecord& from) {
  if (!met_.insert(from.number().value()).second) {
    return corrupt("{}: inode {}: has more names than its link count allows", tree_.name(),
                   from.number());
  }
  progress_(++inodes_done_);
  return {};
}

Result<void> TreeApplier::apply_directory(const Work& work) {
  UNIONFS_ASSIGN(const InodeRecord from, read_inode(tree_.volume(), work.foreign));
  UNIONFS_TRY(meet(from));
  UNIONFS_ASSIGN(const std::vector<ForeignName> names, tree_.read_names(from));
  const bool looks_below = !work.is_new && !from.is_opaque();
  {
    UNIONFS_ASSIGN(DirectoryEditor editor, work.is_new
                                               ? Result<DirectoryEditor>(DirectoryEditor::create(
                                                     files_, work.merged, work.merged_parent))
                                               : DirectoryEditor::open(files_, work.merged));
    if (!work.is_new && from.is_opaque()) {
      UNIONFS_TRY(cover_lower(editor, names));
    }
    for (const ForeignName& name : names) {
      UNIONFS_TRY(apply_name(work, looks_below, name, editor));
    }
    UNIONFS_TRY(editor.write());
  }
  UNIONFS_ASSIGN(InodeRecord to, files_.read_inode(work.merged));
  copy_metadata(from, to);
  UNIONFS_TRY(files_.write_inode(to));
  return copy_attributes(files_, tree_.volume(), from, work.merged);
}

// In an opaque directory only what a fallthru names is left of the lower's.
Result<void> TreeApplier::cover_lower(DirectoryEditor& editor,
                                      const std::vector<ForeignName>& names) {
  std::unordered_set<std::string> kept;
  for (const ForeignName& name : names) {
    if (name.kind == EntryKind::kFallthru) {
      kept.insert(name.name);
    }
  }
  for (const std::string& name : editor.names()) {
    if (kept.count(name) == 0) {
      UNIONFS_TRY(remove_name(editor, name));
    }
  }
  return {};
}

Result<void> TreeApplier::apply_name(const Work& work, bool looks_below, const ForeignName& name,
                                     DirectoryEditor& editor) {
  switch (name.kind) {
    case EntryKind::kFallthru:  // the lower's name, if there is one, is there already
    case EntryKind::kFree:
      return {};
    case EntryKind::kWhiteout:
      return editor.find(name.name) ? remove_name(editor, name.name) : Result<void>();
    case EntryKind::kReal:
      break;
  }
  UNIONFS_ASSIGN(const InodeRecord from, read_inode(tree_.volume(), name.inode));
  if (from.raw().i_links_count == 0 || !from.has_known_type()) {
    return corrupt("{}: inode {}: is not in use, but the name {} leads to it", tree_.name(),
                   name.inode, quoted_name(name.name));
  }
  if (from.is_directory()) {
    return apply_subdirectory(work, looks_below, name, from, editor);
  }
  const std::optional<InodeNumber> below = editor.find(name.name);
  UNIONFS_ASSIGN(const InodeNumber inode, place_file(work, from));
  if (below) {
    UNIONFS_TRY(remove_target(editor, *below));
    editor.replace(name.name, inode, from.file_type());
  } else {
    editor.add(name.name, inode, from.file_type());
  }
  return {};
}

Result<void> TreeApplier::apply_subdirectory(const Work& work, bool looks_below,
                                             const ForeignName& name, const InodeRecord& from,
                                             DirectoryEditor& editor) {
  const std::optional<InodeNumber> below = editor.find(name.name);
  if (below) {
    UNIONFS_ASSIGN(const InodeRecord record, files_.read_inode(*below));
    if (looks_below && record.is_directory()) {
      work_.push_back({name.inode, *below, work.merged, false});
      return {};
    }
    UNIONFS_TRY(remove_target(editor, *below));
  }
  UNIONFS_ASSIGN(const InodeNumber inode, make_directory(work.merged, from));
  editor.count_subdirectory(+1);
  if (below) {
    editor.replace(name.name, inode, ext2::kFileTypeDirectory);
  } else {
    editor.add(name.name, inode, ext2::kFileTypeDirectory);
  }
  work_.push_back({name.inode, inode, work.merged, true});
  return {};
}

// Its names, owner and times come when it is applied.
Result<InodeNumber> TreeApplier::make_directory(InodeNumber parent, const InodeRecord& from) {
  UNIONFS_ASSIGN(const InodeNumber inode, files_.allocate_inode(parent, from.raw().i_mode));
  UNIONFS_ASSIGN(InodeRecord record, files_.make_record(inode));
  record.raw().i_mode = from.raw().i_mode;
  record.raw().i_links_count = uint16_t{2};  // its name and "."
  UNIONFS_TRY(files_.write_inode(record));
  return inode;
}

// Copies an inode at its first name; the others become links to the copy.
Result<InodeNumber> TreeApplier::place_file(const Work& work, const InodeRecord& from) {
  const auto known = hard_links_.find(from.number().value());
  if (known != hard_links_.end()) {
    UNIONFS_ASSIGN(InodeRecord record, files_.read_inode(known->second));
    if (record.raw().i_links_count >= ext2::kMaxLinks) {
      return corrupt("{}: inode {}: has more than {} names", tree_.name(), from.number(),
                     ext2::kMaxLinks);
    }
    record.raw().i_links_count = static_cast<uint16_t>(record.raw().i_links_count + 1);
    UNIONFS_TRY(files_.write_inode(record));
    return known->second;
  }
  UNIONFS_TRY(meet(from));
  UNIONFS_ASSIGN(const InodeNumber inode, copy_file(files_, work.merged, tree_.volume(), from));
  if (from.raw().i_links_count > 1) {
    hard_links_.emplace(from.number().value(), inode);
  }
  return inode;
}

// ---- removing what the lower has -------------------------------------------------

Result<void> TreeApplier::remove_name(DirectoryEditor& editor, const std::string& name) {
  UNIONFS_TRY(remove_target(editor, *editor.find(name)));
  editor.remove(name);
  return {};
}

Result<void> TreeApplier::remove_target(DirectoryEditor& editor, InodeNumber inode) {
  UNIONFS_ASSIGN(const InodeRecord record, files_.read_inode(inode));
  if (!record.is_directory()) {
    return files_.drop_link(inode);
  }
  editor.count_subdirectory(-1);
  return remove_tree(inode);
}

Result<void> TreeApplier::remove_tree(InodeNumber directory) {
  std::vector<InodeNumber> left{directory};
  while (!left.empty()) {
    UNIONFS_ASSIGN(const InodeRecord record, files_.read_inode(left.back()));
    left.pop_back();
    UNIONFS_ASSIGN(const std::vector<NamedEntry> entries, read_directory(files_.volume(), record));
    // Freed before what is in it: a loop of directories ends here, with an error.
    UNIONFS_TRY(files_.free_file(record));
    for (const NamedEntry& entry : entries) {
      if (entry.kind != EntryKind::kReal || entry.name == "." || entry.name == "..") {
        continue;
      }
      UNIONFS_ASSIGN(const InodeRecord target, files_.read_inode(entry.inode));
      if (target.is_directory()) {
        left.push_back(entry.inode);
      } else {
        UNIONFS_TRY(files_.drop_link(entry.inode));
      }
    }
  }
  return {};
}

}  // namespace unionfs
