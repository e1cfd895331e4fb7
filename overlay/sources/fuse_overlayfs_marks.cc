// SPDX-License-Identifier: BSD-3-Clause
#include <set>
#include <vector>

#include "fsparse/ext2_format.h"
#include "overlay/sources/directory_source.h"

namespace unionfs {
namespace {

constexpr std::string_view kFuseOverlayPrefix = "fuseoverlayfs.";
constexpr std::string_view kContainersStat = "containers.override_stat";
constexpr std::string_view kFuseWhiteoutPrefix = ".wh.";
constexpr std::string_view kFuseOpaqueName = ".wh..wh..opq";
// What fuse-overlayfs whites out, besides, in a directory that it makes opaque.
constexpr std::string_view kFuseOpaqueLeftover = ".wh..opq";

class FuseOverlayMarks {
 public:
  FuseOverlayMarks(FileTree& tree, std::string name) : tree_(tree), name_(std::move(name)) {}

  Result<FuseOverlayFigures> apply() {
    UNIONFS_TRY(walk_tree(tree_, [&](const TreeVisit& visit) { return look_at(visit); }));
    for (const TreeFileId directory : opaque_) {
      tree_.file(directory).is_opaque = true;
      forget(directory, kFuseOpaqueName);
      const TreeName* leftover = tree_.find(directory, kFuseOpaqueLeftover);
      if (leftover != nullptr && tree_.file(leftover->file).state.type() == ext2::kModeCharDevice) {
        forget(directory, kFuseOpaqueLeftover);
      }
    }
    for (const auto& [directory, name] : whiteouts_) {
      forget(directory, std::string(kFuseWhiteoutPrefix) + name);
      tree_.set_mark(directory, name, TreeMark::kWhiteout);
    }
    figures_.names = opaque_.size() + whiteouts_.size();
    return figures_;
  }

 private:
  // Changes files, but not the names that the walk is on.
  Result<void> look_at(const TreeVisit& visit) {
    if (visit.name.mark != TreeMark::kFile) {
      return {};
    }
    TreeFile& file = tree_.file(visit.name.file);
    if (visit.is_first_name) {
      UNIONFS_TRY(take_attributes(visit, file));
    }
    const std::string name = visit.path.substr(visit.path.rfind('/') + 1);  // npos + 1 is 0
    if (!name.starts_with(kFuseWhiteoutPrefix) || !file.state.is_regular() || file.content) {
      return {};
    }
    const std::string deleted = name.substr(kFuseWhiteoutPrefix.size());
    if (name == kFuseOpaqueName) {
      opaque_.insert(visit.directory);
    } else if (!deleted.empty() && !deleted.starts_with(kFuseWhiteoutPrefix)) {
      whiteouts_.emplace_back(visit.directory, deleted);
    }
    return {};
  }

  Result<void> take_attributes(const TreeVisit& visit, TreeFile& file) {
    std::vector<Attribute> left;
    for (Attribute& attribute : file.state.attributes) {
      const bool is_of_user = attribute.name_index == ext2::kXattrIndexUser;
      if (is_of_user && attribute.name == kContainersStat) {
        return override_refused(visit, attribute.name);
      }
      if (!is_of_user || !attribute.name.starts_with(kFuseOverlayPrefix)) {
        left.push_back(std::move(attribute));
        continue;
      }
      figures_.has_attributes = true;
      const std::string said = attribute.name.substr(kFuseOverlayPrefix.size());
      if (said == "override_stat") {
        return override_refused(visit, attribute.name);
      }
      if (said == "opaque") {
        file.is_opaque = file.is_opaque || (attribute.value == kYes && file.state.is_directory());
      }  // "origin" says nothing of the file
    }
    file.state.attributes = std::move(left);
    return {};
  }

  Result<void> override_refused(const TreeVisit& visit, const std::string& attribute) const {
    return unsupported(
        "{}: {}: its owner and mode are in the attribute user.{} (xattr_permissions of "
        "fuse-overlayfs), which is not read.  Mount it, and pack the mounted tree with tar",
        name_, quoted_name(visit.path), attribute);
  }

  void forget(TreeFileId directory, std::string_view name) {
    auto& names = tree_.file(directory).names;
    const auto found = names.find(name);
    if (found != names.end()) {
      names.erase(found);
    }
  }

  static const inline std::vector<std::byte> kYes = {std::byte{'y'}};

  FileTree& tree_;
  const std::string name_;
  FuseOverlayFigures figures_;
  std::set<TreeFileId> opaque_;
  std::vector<std::pair<TreeFileId, std::string>> whiteouts_;
};

}  // namespace

Result<FuseOverlayFigures> apply_fuse_overlayfs_marks(FileTree& tree, const std::string& name) {
  return FuseOverlayMarks(tree, name).apply();
}

}  // namespace unionfs
