// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/upper_source.h"

#include "fsparse/superblock.h"
#include "overlay/changes/foreign_tree.h"
#include "overlay/host/posix_file.h"
#include "overlay/sources/directory_source.h"
#include "overlay/sources/ext4_source.h"
#include "overlay/sources/inode_tree.h"

namespace unionfs {
namespace {

// What the files of the tree own together.
struct OpenForeignUpper {
  std::shared_ptr<const Image> image;
  ForeignTree tree;
};

// The bytes of one file with what they refer to.
struct OwningBytes {
  std::shared_ptr<const OpenForeignUpper> upper;
  std::unique_ptr<FileBytes> bytes;
};

class ForeignUpperSource final : public InodeSource {
 public:
  explicit ForeignUpperSource(std::shared_ptr<const OpenForeignUpper> upper)
      : upper_(std::move(upper)) {}

  const std::string& name() const override { return upper_->tree.name(); }

  Result<TreeFile> read_file(uint32_t inode) override {
    const Volume& volume = upper_->tree.volume();
    UNIONFS_ASSIGN(InodeRecord record, unionfs::read_inode(volume, InodeNumber(inode)));
    if (!record.has_known_type() || record.raw().i_links_count == 0U) {
      return corrupt("{}: inode {}: has a name, but is no file (mode {:#o}, {} links)", name(),
                     inode, record.raw().i_mode, record.raw().i_links_count);
    }
    TreeFile file;
    UNIONFS_ASSIGN(file.state, file_state_of(volume, record));
    file.is_opaque = record.is_directory() && record.is_opaque();
    if (record.is_regular() && record.size_bytes() != 0) {
      const auto owning = std::make_shared<OwningBytes>();
      owning->upper = upper_;
      owning->bytes = bytes_of_inode(volume, std::move(record));
      file.content = std::shared_ptr<FileBytes>(owning, owning->bytes.get());
    }
    return file;
  }

  Result<std::vector<InodeName>> read_names(uint32_t directory) override {
    UNIONFS_ASSIGN(const InodeRecord record,
                   unionfs::read_inode(upper_->tree.volume(), InodeNumber(directory)));
    UNIONFS_ASSIGN(std::vector<ForeignName> read, upper_->tree.read_names(record));
    std::vector<InodeName> names;
    for (ForeignName& name : read) {
      names.push_back({std::move(name.name), mark_of_kind(name.kind), name.inode.value()});
    }
    return names;
  }

 private:
  static TreeMark mark_of_kind(EntryKind kind) {
    switch (kind) {
      case EntryKind::kWhiteout:
        return TreeMark::kWhiteout;
      case EntryKind::kFallthru:
        return TreeMark::kFallthru;
      default:
        return TreeMark::kFile;
    }
  }

  const std::shared_ptr<const OpenForeignUpper> upper_;
};

Result<FileTree> read_classic_upper(std::shared_ptr<const Image> image) {
  UNIONFS_ASSIGN(const bool is_foreign, ForeignTree::is_foreign(*image));
  if (!is_foreign) {
    return invalid("{}: is an upper already", image->name());
  }
  UNIONFS_ASSIGN(ForeignTree tree, ForeignTree::open(*image));
  auto upper =
      std::make_shared<const OpenForeignUpper>(OpenForeignUpper{std::move(image), std::move(tree)});
  ForeignUpperSource source(std::move(upper));
  return read_inode_tree(source, ext2::kRootInode);
}

// Whether it has features that only libext2fs knows.
Result<bool> needs_libext2fs(const Image& image) {
  UNIONFS_ASSIGN(const bool is_ext, is_ext2_family(image));
  if (!is_ext) {
    return false;
  }
  UNIONFS_ASSIGN(const auto raw,
                 read_structure<ext2::Superblock>(image, ext2::kSuperblockOffsetBytes));
  return raw.s_rev_level != ext2::kGoodOldRevision &&
         (raw.s_feature_incompat & ext2::kIncompatWhiteout) == 0 &&
         !refused_features(raw.s_feature_compat, raw.s_feature_incompat, raw.s_feature_ro_compat)
              .empty();
}

}  // namespace

Result<FileTree> read_foreign_upper(std::shared_ptr<const Image> image) {
  UNIONFS_ASSIGN(const bool is_newer, needs_libext2fs(*image));
  UNIONFS_ASSIGN(FileTree tree, is_newer ? read_ext4_image(image) : read_classic_upper(image));
  drop_empty_lost_and_found(tree);
  UNIONFS_TRY(apply_overlayfs_marks(tree, image->name()));
  return tree;
}

Result<FileTree> read_foreign_upper(const std::string& path) {
  UNIONFS_ASSIGN(std::shared_ptr<const Image> image, PosixFile::open(path, FileLock::kShared));
  return read_foreign_upper(std::move(image));
}

}  // namespace unionfs
