// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/image_tree.h"

#include <set>
#include <utility>

#include "overlay/tree/file_reader.h"

namespace unionfs {

// The file of the image that is being read: one at a time, because a reader keeps a block of
// pointers, and there may be many files.
class ImageTree::OpenFile {
 public:
  explicit OpenFile(const Volume& image) : image_(image) {}

  Result<FileReader*> of(InodeNumber inode) {
    if (!reader_ || reader_->record().number() != inode) {
      UNIONFS_ASSIGN(InodeRecord record, read_inode(image_, inode));
      reader_.emplace(image_, std::move(record));
    }
    return &*reader_;
  }

 private:
  const Volume& image_;
  std::optional<FileReader> reader_;
};

class ImageTree::Content final : public FileBytes {
 public:
  Content(std::shared_ptr<OpenFile> open, const FileState& state)
      : open_(std::move(open)), inode_(state.inode), size_bytes_(state.size_bytes) {}

  uint64_t size_bytes() const override { return size_bytes_; }
  Result<std::optional<ByteRange>> next_data(uint64_t offset) override {
    UNIONFS_ASSIGN(FileReader * reader, open_->of(inode_));
    return reader->next_data(offset);
  }
  Result<void> read(uint64_t offset, ByteSpan buffer) override {
    UNIONFS_ASSIGN(FileReader * reader, open_->of(inode_));
    return reader->read(offset, buffer);
  }

 private:
  const std::shared_ptr<OpenFile> open_;
  const InodeNumber inode_;
  const uint64_t size_bytes_;
};

ImageTree::ImageTree(const Volume& image, FileTree& tree)
    : image_(image),
      tree_(tree),
      open_(std::make_shared<OpenFile>(image)),
      inodes_{kRootDirectory},
      files_{{kRootDirectory, kTreeRoot}} {}

Result<void> ImageTree::describe_root() {
  UNIONFS_ASSIGN(tree_.root().state, file_state_of(image_, kRootDirectory));
  tree_.root().is_implied = false;
  return {};
}

Result<const ImageNames*> ImageTree::names_of(InodeNumber directory) {
  const auto known = names_.find(directory);
  if (known != names_.end()) {
    return &known->second;
  }
  UNIONFS_ASSIGN(ImageNames names, read_names(image_, directory));
  return &names_.emplace(directory, std::move(names)).first->second;
}

Result<std::optional<InodeNumber>> ImageTree::find(InodeNumber directory, std::string_view name) {
  UNIONFS_ASSIGN(const ImageNames* names, names_of(directory));
  const auto found = names->find(name);
  return found == names->end() ? std::nullopt : std::optional(found->second);
}

Result<TreeFile> ImageTree::read(InodeNumber inode) {
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(image_, inode));
  TreeFile file;
  UNIONFS_ASSIGN(file.state, file_state_of(image_, record));
  if (record.is_regular()) {
    file.content = std::make_shared<Content>(open_, file.state);
  } else if (!record.has_known_type()) {
    return corrupt("{}: inode {}: has a name, but no type", image_.name(), inode);
  }
  return file;
}

Result<TreeFileId> ImageTree::add(InodeNumber inode) {
  if (const auto known = files_.find(inode); known != files_.end()) {
    return known->second;
  }
  UNIONFS_ASSIGN(TreeFile file, read(inode));
  const TreeFileId id = tree_.add(std::move(file));
  inodes_.push_back(inode);
  files_.emplace(inode, id);
  return id;
}

Result<TreeFileId> ImageTree::add_name(TreeFileId directory, std::string_view name,
                                       InodeNumber inode) {
  const TreeName* present = tree_.find(directory, name);
  if (present != nullptr && present->mark == TreeMark::kFile) {
    return present->file;
  }
  const bool is_known = files_.contains(inode);
  UNIONFS_ASSIGN(const TreeFileId file, add(inode));
  if (!tree_.file(file).state.is_directory()) {
    ++name_counts_[inode];
  } else if (is_known) {
    return corrupt("{}: directory inode {} has two names", image_.name(), inode);
  }
  tree_.set_name(directory, name, file);
  return file;
}

Result<void> ImageTree::add_all_below(TreeFileId directory) {
  std::vector<TreeFileId> open = {directory};
  while (!open.empty()) {
    const TreeFileId at = open.back();
    open.pop_back();
    UNIONFS_ASSIGN(const ImageNames names, read_names(image_, inode_of(at)));
    for (const auto& [name, inode] : names) {
      UNIONFS_ASSIGN(const TreeFileId file, add_name(at, name, inode));
      if (tree_.file(file).state.is_directory()) {
        open.push_back(file);
      }
    }
  }
  return {};
}

std::map<InodeNumber, uint32_t> ImageTree::missing_links() const {
  std::map<InodeNumber, uint32_t> missing;
  for (const auto& [inode, count] : name_counts_) {
    const uint32_t links = tree_.file(files_.at(inode)).state.links_count;
    if (links > count) {
      missing.emplace(inode, links - count);
    }
  }
  return missing;
}

// ---- chosen paths -------------------------------------------------------------------

namespace {

// Adds the file of one path.  Directories on the way that are new are implied.
Result<TreeFileId> add_chosen(const std::string& path, FileTree& tree, ImageTree& image) {
  TreeFileId at = kTreeRoot;
  std::string_view rest = path;
  for (std::string_view name = take_name(rest); !name.empty(); name = take_name(rest)) {
    UNIONFS_ASSIGN(const auto inode, image.find(image.inode_of(at), name));
    if (!inode) {
      return invalid("{}: there is no such file", quoted_name(path));
    }
    const size_t count = tree.file_count();
    UNIONFS_ASSIGN(at, image.add_name(at, name, *inode));
    TreeFile& file = tree.file(at);
    if (!file.state.is_directory() && rest.find_first_not_of('/') != std::string::npos) {
      return invalid("{}: leads through {}, which is no directory{}", quoted_name(path),
                     quoted_name(name),
                     file.state.target.empty()
                         ? ""
                         : fmt::format(", but a link to {}", quoted_name(file.state.target)));
    }
    file.is_implied = file.is_implied || tree.file_count() > count;
  }
  return at;
}

}  // namespace

Result<FileTree> tree_of_paths(const Volume& image, const std::vector<std::string>& paths) {
  FileTree tree;
  ImageTree files(image, tree);
  std::set<TreeFileId> chosen;
  for (const std::string& path : paths) {
    UNIONFS_ASSIGN(const TreeFileId file, add_chosen(path, tree, files));
    chosen.insert(file);
  }
  if (paths.empty() || chosen.contains(kTreeRoot)) {
    UNIONFS_TRY(files.describe_root());
    chosen = {kTreeRoot};
  }
  for (const TreeFileId file : chosen) {
    tree.file(file).is_implied = false;
    if (tree.file(file).state.is_directory()) {
      UNIONFS_TRY(files.add_all_below(file));
    }
  }
  return tree;
}

}  // namespace unionfs
