// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/make_planned.h"

#include "overlay/changes/directory_editor.h"
#include "overlay/changes/file_content.h"
#include "overlay/changes/planned_tree.h"

namespace unionfs {
namespace {

constexpr const char* kImagePrefix = "merged image: ";

class PlanMaker {
 public:
  PlanMaker(const Plan& plan, MergedFiles& files, const PlanProgress& progress)
      : plan_(plan), files_(files), progress_(progress) {}

  Result<MadeFiles> run();

 private:
  const PlannedFile& file(PlannedFileId id) const { return plan_.files[id]; }
  bool is_directory(PlannedFileId id) const { return file(id).state.is_directory(); }
  bool is_gone(PlannedFileId id) const { return tree_.gone.contains(id); }
  // Calls action(id) for each file that is left; its errors get the file's path.
  template <typename Action>
  Result<void> for_each_left(Action&& action);
  Failure at_file(Error error, PlannedFileId id) const;
  void count_step();

  Result<void> remove_files();
  Result<void> make_inode(PlannedFileId id);
  Result<void> allocate(PlannedFileId id);
  Result<void> fill_file(PlannedFileId id);
  Result<void> put_attributes(PlannedFileId id);
  Result<void> edit_names(PlannedFileId id);
  Result<void> change_names(PlannedFileId id, DirectoryEditor& editor);
  void change_name(const PlannedNameKey& key, const PlannedName& name, DirectoryEditor& editor);
  Result<void> finish_file(PlannedFileId id);
  void list_hints();

  const Plan& plan_;
  MergedFiles& files_;
  const PlanProgress& progress_;
  PlannedTree tree_;
  MadeFiles made_;
  uint64_t done_ = 0;
};

Result<MadeFiles> PlanMaker::run() {
  UNIONFS_ASSIGN(tree_, plan_tree(plan_, files_.volume()));
  made_.inodes.resize(plan_.files.size());
  UNIONFS_TRY(files_.set_superblock(plan_.superblock));
  // What goes makes room for what comes.
  UNIONFS_TRY(remove_files());
  UNIONFS_TRY(for_each_left([this](PlannedFileId id) { return make_inode(id); }));
  UNIONFS_TRY(for_each_left([this](PlannedFileId id) { return fill_file(id); }));
  UNIONFS_TRY(for_each_left(
      [this](PlannedFileId id) { return is_directory(id) ? edit_names(id) : Result<void>(); }));
  // Last, because names and attributes that change may give an inode other times.
  UNIONFS_TRY(for_each_left([this](PlannedFileId id) { return finish_file(id); }));
  list_hints();
  return std::move(made_);
}

template <typename Action>
Result<void> PlanMaker::for_each_left(Action&& action) {
  for (PlannedFileId id = 0; id < plan_.files.size(); ++id) {
    if (is_gone(id)) {
      continue;
    }
    if (Result<void> done = action(id); !done) {
      return at_file(std::move(done).error(), id);
    }
  }
  return {};
}

// Puts the path behind the name of the image.
Failure PlanMaker::at_file(Error error, PlannedFileId id) const {
  const std::string_view prefix(kImagePrefix);
  if (error.message.starts_with(prefix)) {
    error.message.erase(0, prefix.size());
  }
  error.message = fmt::format("{}{}: {}", prefix, tree_.describe(plan_, id), error.message);
  return Failure(std::move(error));
}

void PlanMaker::count_step() {
  ++done_;
  if (progress_) {
    progress_(done_, plan_.files.size() + plan_.names.size());
  }
}

// ---- inodes -----------------------------------------------------------------------

// Frees whatever has no name afterwards.
Result<void> PlanMaker::remove_files() {
  for (const auto& [inode, links] : tree_.left_links) {
    UNIONFS_ASSIGN(InodeRecord record, files_.read_inode(inode));
    record.raw().i_links_count = static_cast<uint16_t>(links);
    UNIONFS_TRY(links == 0 ? files_.free_file(record) : files_.write_inode(record));
  }
  for (const InodeNumber directory : tree_.gone_directories) {
    UNIONFS_ASSIGN(const InodeRecord record, files_.read_inode(directory));
    UNIONFS_TRY(files_.free_file(record));
  }
  for (const PlannedFileId id : tree_.gone) {
    if (!is_directory(id)) {
      UNIONFS_ASSIGN(const InodeRecord record, files_.read_inode(*file(id).existing));
      UNIONFS_TRY(files_.free_file(record));
    }
    count_step();
  }
  return {};
}

// Makes the directories on the way first, so that what is in them lies near.
Result<void> PlanMaker::make_inode(PlannedFileId id) {
  if (file(id).existing) {
    made_.inodes[id] = *file(id).existing;
    return {};
  }
  std::vector<PlannedFileId> missing;
  PlannedFileId next = id;
  while (!file(next).existing && made_.inodes[next] == InodeNumber(0)) {
    missing.push_back(next);
    next = tree_.first_names[next]->first.directory;
  }
  for (auto step = missing.rbegin(); step != missing.rend(); ++step) {
    UNIONFS_TRY(allocate(*step));
  }
  return {};
}

Result<void> PlanMaker::allocate(PlannedFileId id) {
  const PlannedFileId home = tree_.first_names[id]->first.directory;
  const InodeNumber parent = file(home).existing.value_or(made_.inodes[home]);
  const uint16_t mode = file(id).state.mode;
  UNIONFS_ASSIGN(made_.inodes[id], files_.allocate_inode(parent, mode));
  UNIONFS_ASSIGN(InodeRecord record, files_.make_record(made_.inodes[id]));
  record.raw().i_mode = mode;
  // Of a directory: its name and "."; those in it are counted as they come.
  record.raw().i_links_count = static_cast<uint16_t>(is_directory(id) ? 2 : tree_.links[id]);
  return files_.write_inode(record);
}

// ---- contents and attributes ------------------------------------------------------

Result<void> PlanMaker::fill_file(PlannedFileId id) {
  if (file(id).content) {
    UNIONFS_ASSIGN(const FileContent wanted, content_of(file(id)));
    UNIONFS_ASSIGN(InodeRecord to, files_.read_inode(made_.inodes[id]));
    UNIONFS_TRY(make_content(files_, wanted, to, made_.bytes_written));
    UNIONFS_TRY(files_.write_inode(to));
  }
  return put_attributes(id);
}

Result<void> PlanMaker::put_attributes(PlannedFileId id) {
  const std::vector<Attribute>& wanted = file(id).state.attributes;
  UNIONFS_ASSIGN(const InodeRecord record, files_.read_inode(made_.inodes[id]));
  UNIONFS_ASSIGN(std::vector<Attribute> present, read_attributes(files_.volume(), record));
  sort_attributes(present);
  if (present == wanted) {
    return {};
  }
  for (const Attribute& attribute : wanted) {
    // libext2fs has no name for the other kinds.
    if (!xattr_prefix(attribute.name_index) || attribute.name_index == ext2::kXattrIndexLustre) {
      return unsupported("{}attribute {}: its kind cannot be carried over", kImagePrefix,
                         quoted_name(attribute.full_name()));
    }
  }
  return files_.set_attributes(made_.inodes[id], wanted);
}

// ---- names ------------------------------------------------------------------------

Result<void> PlanMaker::edit_names(PlannedFileId id) {
  const auto parent = tree_.new_parents.find(id);
  const bool is_moved = parent != tree_.new_parents.end();
  if (!file(id).existing) {
    DirectoryEditor editor =
        DirectoryEditor::create(files_, made_.inodes[id], made_.inodes[parent->second]);
    return change_names(id, editor);
  }
  const auto first = plan_.names.lower_bound({id, ""});
  const bool has_names = first != plan_.names.end() && first->first.directory == id;
  if (!has_names && !is_moved) {
    return {};
  }
  UNIONFS_ASSIGN(DirectoryEditor editor, DirectoryEditor::open(files_, made_.inodes[id]));
  if (is_moved) {
    editor.replace("..", made_.inodes[parent->second], ext2::kFileTypeDirectory);
  }
  return change_names(id, editor);
}

// All at once, so that a name may be taken in the same step in which another one leaves it.
Result<void> PlanMaker::change_names(PlannedFileId id, DirectoryEditor& editor) {
  const auto first = plan_.names.lower_bound({id, ""});
  for (const bool is_removal : {true, false}) {
    for (auto at = first; at != plan_.names.end() && at->first.directory == id; ++at) {
      const auto& [key, name] = *at;
      if (name.file.has_value() == is_removal) {
        continue;
      }
      count_step();
      if (tree_.is_changed(plan_, key, name)) {
        change_name(key, name, editor);
      }
    }
  }
  return editor.write();
}

void PlanMaker::change_name(const PlannedNameKey& key, const PlannedName& name,
                            DirectoryEditor& editor) {
  const auto former = tree_.former.find(&key);
  const bool is_there = former != tree_.former.end();
  if (is_there && former->second.is_directory) {
    editor.count_subdirectory(-1);
  }
  if (!name.file) {
    editor.remove(key.name);
    return;
  }
  if (is_directory(*name.file)) {
    editor.count_subdirectory(+1);
  }
  const InodeNumber inode = made_.inodes[*name.file];
  const uint8_t type = file_type_of(file(*name.file).state.mode);
  if (is_there) {
    editor.replace(key.name, inode, type);
  } else {
    editor.add(key.name, inode, type);
  }
}

// ---- the rest -----------------------------------------------------------------------

Result<void> PlanMaker::finish_file(PlannedFileId id) {
  UNIONFS_ASSIGN(const InodeRecord before, files_.read_inode(made_.inodes[id]));
  InodeRecord record = before;
  put_metadata(file(id).state, record);
  if (!is_directory(id)) {
    record.raw().i_links_count = static_cast<uint16_t>(tree_.links[id]);
  }
  count_step();
  return same_bytes(record.bytes(), before.bytes()) ? Result<void>() : files_.write_inode(record);
}

void PlanMaker::list_hints() {
  std::set<InodeNumber> directories;
  for (const auto& [key, name] : plan_.names) {
    if (!is_gone(key.directory)) {
      directories.insert(made_.inodes[key.directory]);
    }
  }
  made_.hints.directories.assign(directories.begin(), directories.end());
  for (PlannedFileId id = 0; id < plan_.files.size(); ++id) {
    if (file(id).existing && file(id).content && !is_gone(id)) {
      made_.hints.inodes.push_back(made_.inodes[id]);
    }
  }
}

}  // namespace

Result<MadeFiles> make_planned(const Plan& plan, MergedFiles& files, const PlanProgress& progress) {
  return PlanMaker(plan, files, progress).run();
}

}  // namespace unionfs
