// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/tree/file_tree.h"

#include <unordered_set>
#include <utility>

#include "fsparse/ext2_format.h"

namespace unionfs {
namespace {

constexpr uint16_t kImpliedPermissions = 0755;

TreeFile implied_directory() {
  TreeFile directory;
  directory.state.mode = ext2::kModeDirectory | kImpliedPermissions;
  directory.is_implied = true;
  return directory;
}

}  // namespace

FileTree::FileTree() {
  files_.push_back(implied_directory());
}

TreeFileId FileTree::add(TreeFile file) {
  files_.push_back(std::move(file));
  return static_cast<TreeFileId>(files_.size() - 1);
}

void FileTree::set_name(TreeFileId directory, std::string_view name, TreeFileId file) {
  files_[directory].names[std::string(name)] = {TreeMark::kFile, file};
}

void FileTree::set_mark(TreeFileId directory, std::string_view name, TreeMark mark) {
  files_[directory].names[std::string(name)] = {mark, 0};
}

const TreeName* FileTree::find(TreeFileId directory, std::string_view name) const {
  const auto found = files_[directory].names.find(name);
  return found == files_[directory].names.end() ? nullptr : &found->second;
}

// ---- the walk ---------------------------------------------------------------------

namespace {

class TreeWalk {
 public:
  TreeWalk(const FileTree& tree, const std::function<Result<void>(const TreeVisit&)>& visit)
      : tree_(tree), visit_(visit), was_met_(tree.file_count()) {}

  Result<void> run() {
    const TreeName root{TreeMark::kFile, kTreeRoot};
    UNIONFS_TRY(visit_({path_, kTreeRoot, root, true}));
    enter(kTreeRoot);
    while (!open_.empty()) {
      Step& step = open_.back();
      if (step.next == tree_.file(step.directory).names.end()) {
        open_.pop_back();
        path_.resize(open_.empty() ? 0 : open_.back().path_length);
        continue;
      }
      const auto& [name, what] = *step.next;
      ++step.next;
      UNIONFS_TRY(visit_name(step.directory, name, what));
    }
    return {};
  }

 private:
  using Names = std::map<std::string, TreeName, std::less<>>;
  struct Step {
    TreeFileId directory;
    size_t path_length;
    Names::const_iterator next;
  };

  void enter(TreeFileId directory) {
    was_met_[directory] = true;
    open_.push_back({directory, path_.size(), tree_.file(directory).names.begin()});
  }

  Result<void> visit_name(TreeFileId directory, const std::string& name, const TreeName& what) {
    const size_t length = path_.size();
    path_ += length == 0 ? "" : "/";
    path_ += name;
    const bool is_file = what.mark == TreeMark::kFile;
    const bool is_first = !is_file || !was_met_[what.file];
    const bool is_directory = is_file && tree_.file(what.file).state.is_directory();
    if (is_directory && !is_first) {
      return invalid("{}: a directory with a second name", quoted_name(path_));
    }
    UNIONFS_TRY(visit_({path_, directory, what, is_first}));
    if (is_directory) {
      enter(what.file);
      return {};
    }
    if (is_file) {
      was_met_[what.file] = true;
    }
    path_.resize(length);
    return {};
  }

  const FileTree& tree_;
  const std::function<Result<void>(const TreeVisit&)>& visit_;
  std::vector<bool> was_met_;
  std::vector<Step> open_;
  std::string path_;
};

}  // namespace

Result<void> walk_tree(const FileTree& tree,
                       const std::function<Result<void>(const TreeVisit&)>& visit) {
  return TreeWalk(tree, visit).run();
}

// ---- one over another ---------------------------------------------------------------

namespace {

class TreeOverTree {
 public:
  TreeOverTree(FileTree& tree, FileTree& layer, bool keeps_marks)
      : tree_(tree), layer_(layer), keeps_marks_(keeps_marks), moved_(layer.file_count()) {}

  void run() {
    open_.emplace_back(kTreeRoot, kTreeRoot);
    while (!open_.empty()) {
      const auto [below, above] = open_.back();
      open_.pop_back();
      merge(below, above);
    }
  }

 private:
  // Two directories that become one.
  void merge(TreeFileId below, TreeFileId above) {
    TreeFile& from = layer_.file(above);
    if (from.is_opaque) {
      keep_only_fallthrus(tree_.file(below), from);
    }
    if (!from.is_implied) {
      TreeFile& to = tree_.file(below);
      to.state = std::move(from.state);
      to.is_implied = false;
    }
    for (auto& [name, what] : from.names) {
      put_name(below, name, what);
    }
  }

  void keep_only_fallthrus(TreeFile& to, const TreeFile& from) {
    to.is_opaque = to.is_opaque || keeps_marks_;
    std::erase_if(to.names, [&](const auto& entry) {
      const auto found = from.names.find(entry.first);
      return found == from.names.end() || found->second.mark != TreeMark::kFallthru;
    });
  }

  void put_name(TreeFileId below, const std::string& name, const TreeName& what) {
    const TreeName* present = tree_.find(below, name);
    switch (what.mark) {
      case TreeMark::kFallthru:
        // Without one of the tree's own, it is for what lies below the tree.
        if (present == nullptr && keeps_marks_) {
          tree_.set_mark(below, name, TreeMark::kFallthru);
        }
        return;
      case TreeMark::kWhiteout:
        remove(below, name);
        return;
      case TreeMark::kFile:
        break;
    }
    const bool is_directory = layer_.file(what.file).state.is_directory();
    if (is_directory && present != nullptr && present->mark == TreeMark::kFile &&
        tree_.file(present->file).state.is_directory()) {
      open_.emplace_back(present->file, what.file);
      return;
    }
    // A fallthru hides nothing of what lies below.
    const bool hides_more =
        present != nullptr && present->mark != TreeMark::kFallthru && keeps_marks_;
    const TreeFileId moved = take(what.file);
    tree_.set_name(below, name, moved);
    if (is_directory) {
      // What the tree had there was no directory, or whited out: nothing below it may show.
      TreeFile& directory = tree_.file(moved);
      directory.is_opaque = keeps_marks_ && (hides_more || layer_.file(what.file).is_opaque);
      open_.emplace_back(moved, what.file);
    }
  }

  void remove(TreeFileId below, const std::string& name) {
    if (keeps_marks_) {
      tree_.set_mark(below, name, TreeMark::kWhiteout);
      return;
    }
    TreeFile& directory = tree_.file(below);
    if (const auto found = directory.names.find(name); found != directory.names.end()) {
      directory.names.erase(found);
    }
  }

  // The file in the tree; of a directory, without its names, which are merged later.
  TreeFileId take(TreeFileId above) {
    if (moved_[above]) {
      return *moved_[above];
    }
    TreeFile& from = layer_.file(above);
    TreeFile copy;
    copy.state = from.state;
    copy.content = from.content;
    copy.is_implied = from.is_implied;
    moved_[above] = tree_.add(std::move(copy));
    return *moved_[above];
  }

  FileTree& tree_;
  FileTree& layer_;
  const bool keeps_marks_;
  std::vector<std::optional<TreeFileId>> moved_;         // of the layer's files
  std::vector<std::pair<TreeFileId, TreeFileId>> open_;  // directories to merge
};

}  // namespace

void lay_over(FileTree& tree, FileTree layer, bool keeps_marks) {
  TreeOverTree(tree, layer, keeps_marks).run();
}

}  // namespace unionfs
