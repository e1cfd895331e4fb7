// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/image_paths.h"

#include <deque>
#include <optional>
#include <unordered_set>
#include <utility>
#include <vector>

#include "fsparse/directory.h"
#include "fsparse/symlink.h"

namespace unionfs {

Result<ImageNames> read_names(const Volume& image, InodeNumber directory) {
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(image, directory));
  UNIONFS_ASSIGN(std::vector<NamedEntry> entries, read_directory(image, record));
  ImageNames names;
  for (NamedEntry& entry : entries) {
    if (entry.kind == EntryKind::kReal && entry.name != "." && entry.name != "..") {
      names.emplace(std::move(entry.name), entry.inode);
    }
  }
  return names;
}

std::string_view take_name(std::string_view& path) {
  path.remove_prefix(std::min(path.find_first_not_of('/'), path.size()));
  const std::string_view name = path.substr(0, path.find('/'));
  path.remove_prefix(name.size());
  return name;
}

// ---- one path ------------------------------------------------------------------------

namespace {

constexpr int kMaxLinks = 40;  // as the kernel has it

class PathWalk {
 public:
  PathWalk(const Volume& image, std::string_view path, bool follows)
      : image_(image), path_(path), rest_(path), follows_(follows) {}

  Result<InodeNumber> run() {
    while (true) {
      std::string_view rest = rest_;
      const std::string name(take_name(rest));
      if (name.empty()) {
        return way_.back();
      }
      rest_ = std::string(rest);
      UNIONFS_TRY(step(name));
    }
  }

 private:
  Result<void> step(const std::string& name) {
    if (name == ".") {
      return {};
    }
    if (name == ".." && follows_) {
      way_.resize(way_.size() > 1 ? way_.size() - 1 : 1);
      return {};
    }
    UNIONFS_ASSIGN(const InodeRecord directory, read_inode(image_, way_.back()));
    std::optional<NamedEntry> entry;
    if (directory.is_directory() && name != "..") {
      UNIONFS_ASSIGN(entry, find_name(image_, directory, name));
    }
    if (!entry || entry->kind != EntryKind::kReal) {
      return invalid("{}: there is no such file", quoted_name(path_));
    }
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(image_, entry->inode));
    if (follows_ && record.is_symlink()) {
      return follow(record);
    }
    way_.push_back(entry->inode);
    return {};
  }

  Result<void> follow(const InodeRecord& link) {
    if (++links_ > kMaxLinks) {
      return invalid("{}: leads through more than {} symlinks", quoted_name(path_), kMaxLinks);
    }
    UNIONFS_ASSIGN(const std::string target, read_symlink(image_, link));
    if (target.starts_with('/')) {
      way_.resize(1);
    }
    rest_ = target + "/" + rest_;
    return {};
  }

  const Volume& image_;
  const std::string path_;  // for messages
  std::string rest_;
  const bool follows_;
  std::vector<InodeNumber> way_ = {kRootDirectory};  // directories from the root on
  int links_ = 0;
};

}  // namespace

Result<InodeNumber> follow_path(const Volume& image, std::string_view path) {
  return PathWalk(image, path, true).run();
}

Result<InodeNumber> find_path(const Volume& image, std::string_view path) {
  return PathWalk(image, path, false).run();
}

// ---- all paths -----------------------------------------------------------------------

namespace {

class ImageWalk {
 public:
  ImageWalk(const Volume& image, const std::function<Result<void>(const ImageVisit&)>& visit)
      : image_(image), visit_(visit) {}

  Result<void> run(const std::string& path, InodeNumber start) {
    path_ = path == "/" ? "" : path;
    UNIONFS_TRY(meet(start));
    while (!open_.empty()) {
      Step& step = open_.back();
      if (step.next == step.names.end()) {
        open_.pop_back();
        continue;
      }
      const auto& [name, inode] = *step.next++;
      path_.resize(step.path_length);
      path_ += "/" + name;
      UNIONFS_TRY(meet(inode));
    }
    return {};
  }

 private:
  struct Step {
    size_t path_length;
    ImageNames names;
    ImageNames::const_iterator next;
  };

  Result<void> meet(InodeNumber inode) {
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(image_, inode));
    UNIONFS_TRY(visit_({path_.empty() ? root_path_ : path_, record}));
    if (!record.is_directory()) {
      return {};
    }
    if (!entered_.insert(inode.value()).second) {
      return corrupt("{}: directory inode {} has two names", image_.name(), inode);
    }
    UNIONFS_ASSIGN(ImageNames names, read_names(image_, inode));
    open_.push_back({path_.size(), std::move(names), {}});
    open_.back().next = open_.back().names.begin();
    return {};
  }

  const std::string root_path_ = "/";
  const Volume& image_;
  const std::function<Result<void>(const ImageVisit&)>& visit_;
  std::string path_;
  std::deque<Step> open_;  // a step stays where it is, because its iterator may be the end
  std::unordered_set<uint32_t> entered_;
};

}  // namespace

Result<void> walk_image(const Volume& image, const std::string& path, InodeNumber start,
                        const std::function<Result<void>(const ImageVisit&)>& visit) {
  return ImageWalk(image, visit).run(path, start);
}

}  // namespace unionfs
