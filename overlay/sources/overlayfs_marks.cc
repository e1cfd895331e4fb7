// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "fsparse/ext2_format.h"
#include "overlay/sources/directory_source.h"

namespace unionfs {
namespace {

constexpr std::string_view kOverlayPrefix = "overlay.";
constexpr uint32_t kAppendOnlyFlag = 0x20;  // EXT2_APPEND_FL
constexpr uint32_t kImmutableFlag = 0x10;   // EXT2_IMMUTABLE_FL

// What overlayfs notes for itself: it says nothing of the files.
constexpr std::array kBookkeeping = {"origin", "impure", "nlink", "upper", "uuid"};

bool is_overlay_attribute(const Attribute& attribute) {
  return (attribute.name_index == ext2::kXattrIndexTrusted ||
          attribute.name_index == ext2::kXattrIndexUser) &&
         attribute.name.starts_with(kOverlayPrefix);
}

std::string value_text(const Attribute& attribute) {
  return {reinterpret_cast<const char*>(attribute.value.data()), attribute.value.size()};
}

class OverlayMarks {
 public:
  OverlayMarks(FileTree& tree, std::string name) : tree_(tree), name_(std::move(name)) {}

  Result<bool> apply() {
    UNIONFS_TRY(walk_tree(tree_, [&](const TreeVisit& visit) { return look_at(visit); }));
    for (const auto& [directory, name] : whiteouts_) {
      tree_.set_mark(directory, name, TreeMark::kWhiteout);
    }
    return has_marks_;
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
    const FileState& state = file.state;
    const bool is_device =
        state.type() == ext2::kModeCharDevice && state.device_major == 0 && state.device_minor == 0;
    const bool is_named = named_whiteouts_.contains(visit.name.file) &&
                          with_named_whiteouts_.contains(visit.directory);
    if (is_device || is_named) {
      whiteouts_.emplace_back(visit.directory,
                              visit.path.substr(visit.path.rfind('/') + 1));  // npos + 1 is 0
    }
    return {};
  }

  Result<void> take_attributes(const TreeVisit& visit, TreeFile& file) {
    std::vector<Attribute> left;
    for (Attribute& attribute : file.state.attributes) {
      if (!is_overlay_attribute(attribute)) {
        left.push_back(std::move(attribute));
        continue;
      }
      has_marks_ = true;
      const std::string said = attribute.name.substr(kOverlayPrefix.size());
      if (said.starts_with(kOverlayPrefix)) {  // one of a nested overlay file system
        attribute.name = said;
        left.push_back(std::move(attribute));
        continue;
      }
      UNIONFS_TRY(take(said, value_text(attribute), visit, file));
    }
    sort_attributes(left);
    file.state.attributes = std::move(left);
    return {};
  }

  Result<void> take(const std::string& said, const std::string& value, const TreeVisit& visit,
                    TreeFile& file) {
    const bool is_directory = file.state.is_directory();
    if (said == "opaque" && (value == "y" || value == "x")) {
      file.is_opaque = file.is_opaque || (is_directory && value == "y");
      if (value == "x") {
        with_named_whiteouts_.insert(visit.name.file);
      }
      return {};
    }
    if (said == "whiteout") {
      if (file.state.is_regular() && file.content == nullptr) {
        named_whiteouts_.insert(visit.name.file);
      }
      return {};
    }
    if (said == "protattr") {
      file.state.user_flags |= (value.find('i') == std::string::npos ? 0 : kImmutableFlag) |
                               (value.find('a') == std::string::npos ? 0 : kAppendOnlyFlag);
      return {};
    }
    if (said == "redirect" && !is_directory) {
      return {};  // it goes with metacopy
    }
    if (std::ranges::find(kBookkeeping, said) != kBookkeeping.end()) {
      return {};
    }
    return refuse(said, value, visit);
  }

  Result<void> refuse(const std::string& said, const std::string& value, const TreeVisit& visit) {
    const std::string where = fmt::format("{}: {}", name_, quoted_name(visit.path));
    if (said == "redirect") {
      return unsupported(
          "{}: a directory that was renamed from {} (overlay.redirect); what is in it only the "
          "lower "
          "directories know.  Mount with redirect_dir=off, or copy it there",
          where, quoted_name(value));
    }
    if (said == "metacopy") {
      return unsupported(
          "{}: a file whose content is in a lower directory (overlay.metacopy).  Mount with "
          "metacopy=off, and touch it there",
          where);
    }
    return unsupported("{}: the attribute overlay.{} is {}, which means nothing known", where,
                       printable(said), quoted_name(value));
  }

  FileTree& tree_;
  const std::string name_;
  bool has_marks_ = false;
  std::set<TreeFileId> with_named_whiteouts_;  // directories
  std::set<TreeFileId> named_whiteouts_;       // files that are, in such a directory
  std::vector<std::pair<TreeFileId, std::string>> whiteouts_;
};

}  // namespace

Result<bool> apply_overlayfs_marks(FileTree& tree, const std::string& name) {
  return OverlayMarks(tree, name).apply();
}

}  // namespace unionfs
