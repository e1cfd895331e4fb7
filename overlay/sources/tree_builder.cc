// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/tree_builder.h"

#include <utility>

#include "fsparse/ext2_format.h"

namespace unionfs {
namespace {

std::string_view kind_of(const TreeFile& file) {
  switch (file.state.type()) {
    case ext2::kModeSymlink:
      return "a symlink";
    case ext2::kModeRegular:
      return "a regular file";
    case 0:
      return "a hard link";
    default:
      return "a device, a fifo or a socket";
  }
}

}  // namespace

std::string joined_path(const EntryPath& path) {
  std::string joined;
  for (const std::string& name : path) {
    joined += joined.empty() ? "" : "/";
    joined += name;
  }
  return joined;
}

Result<EntryPath> parse_entry_path(std::string_view text, const SourceLimits& limits,
                                   std::string_view where) {
  if (text.size() > limits.path_bytes) {
    return unsupported("{}: a path of {} bytes, which begins with {}; the limit is {}", where,
                       text.size(), quoted_name(text.substr(0, 40)), limits.path_bytes);
  }
  EntryPath path;
  for (size_t begin = 0; begin < text.size();) {
    const size_t slash = std::min(text.find('/', begin), text.size());
    const std::string_view name = text.substr(begin, slash - begin);
    begin = slash + 1;
    if (name.empty() || name == ".") {
      continue;
    }
    if (name == "..") {
      return invalid("{}: {} leads out with \"..\"", where, quoted_name(text));
    }
    if (name.size() > limits.name_bytes) {
      return unsupported("{}: a name of {} bytes, which begins with {}; the limit is {}", where,
                         name.size(), quoted_name(name.substr(0, 40)), limits.name_bytes);
    }
    path.emplace_back(name);
  }
  return path;
}

TreeBuilder::TreeBuilder(std::string name, SourceContext& context)
    : name_(std::move(name)), context_(context), links_(1, 1) {}

// ---- files and their names -----------------------------------------------------------

Result<void> TreeBuilder::count_entry(const EntryPath& path) {
  if (++context_.used.entries > context_.limits.entries) {
    return unsupported("{}: {}: more than {} entries, which is the limit", name_,
                       quoted_name(joined_path(path)), context_.limits.entries);
  }
  return {};
}

Result<TreeFileId> TreeBuilder::add(TreeFile file, const EntryPath& path) {
  UNIONFS_TRY(count_entry(path));
  if (!unused_.empty()) {
    const TreeFileId id = unused_.back();
    unused_.pop_back();
    tree_.file(id) = std::move(file);
    return id;
  }
  links_.push_back(0);
  return tree_.add(std::move(file));
}

Result<TreeFileId> TreeBuilder::implied_directory(const EntryPath& path) {
  const FileTree fresh;
  return add(fresh.root(), path);
}

Result<TreeFileId> TreeBuilder::enter(TreeFileId directory, const EntryPath& path, size_t depth) {
  const std::string& name = path[depth];
  if (const TreeName* found = tree_.find(directory, name)) {
    const TreeFile& file = tree_.file(found->file);
    if (!file.state.is_directory()) {
      const EntryPath way(path.begin(), path.begin() + static_cast<ptrdiff_t>(depth) + 1);
      return invalid("{}: {} lies below {}, which is {}", name_, quoted_name(joined_path(path)),
                     quoted_name(joined_path(way)), kind_of(file));
    }
    return found->file;
  }
  UNIONFS_ASSIGN(const TreeFileId made, implied_directory(path));
  lead(directory, name, made);
  return made;
}

Result<TreeFileId> TreeBuilder::directory_of(const EntryPath& path) {
  TreeFileId directory = kTreeRoot;
  for (size_t depth = 0; depth + 1 < path.size(); ++depth) {
    UNIONFS_ASSIGN(directory, enter(directory, path, depth));
  }
  return directory;
}

const TreeName* TreeBuilder::find(const EntryPath& path) const {
  TreeFileId directory = kTreeRoot;
  const TreeName* found = nullptr;
  for (const std::string& name : path) {
    if (found != nullptr && !tree_.file(found->file).state.is_directory()) {
      return nullptr;
    }
    found = tree_.find(directory, name);
    if (found == nullptr) {
      return nullptr;
    }
    directory = found->file;
  }
  return found;
}

void TreeBuilder::lead(TreeFileId directory, const std::string& name, TreeFileId file) {
  ++links_[file];
  if (const TreeName* found = tree_.find(directory, name)) {
    release(found->file);
  }
  tree_.set_name(directory, name, file);
}

void TreeBuilder::release(TreeFileId file) {
  std::vector<TreeFileId> released = {file};
  while (!released.empty()) {
    const TreeFileId id = released.back();
    released.pop_back();
    if (--links_[id] == 0) {
      forget(id, released);
    }
  }
}

void TreeBuilder::forget(TreeFileId file, std::vector<TreeFileId>& more) {
  for (const auto& [name, what] : tree_.file(file).names) {
    more.push_back(what.file);
  }
  tree_.file(file) = TreeFile();
  unused_.push_back(file);
  whiteouts_.erase(file);
  later_links_.erase(file);
  forget_content(file);
}

void TreeBuilder::has_spooled(TreeFileId id, uint64_t begin) {
  spooled_of_[id] = spooled_.size();
  spooled_.push_back({begin, false});
}

void TreeBuilder::forget_content(TreeFileId file) {
  const auto found = spooled_of_.find(file);
  if (found == spooled_of_.end()) {
    return;
  }
  spooled_[found->second].is_gone = true;
  spooled_of_.erase(found);
  while (!spooled_.empty() && spooled_.back().is_gone) {
    context_.spool->forget_from(spooled_.back().begin);
    spooled_.pop_back();
  }
}

Result<TreeFileId> TreeBuilder::put(const EntryPath& path, TreeFile file) {
  file.names.clear();
  const TreeName* found = nullptr;
  TreeFileId directory = kTreeRoot;
  if (path.empty()) {
    if (!file.state.is_directory()) {
      return invalid("{}: the root directory is to be {}", name_, kind_of(file));
    }
  } else {
    UNIONFS_ASSIGN(directory, directory_of(path));
    found = tree_.find(directory, path.back());
  }
  if (file.state.is_directory() &&
      (path.empty() || (found != nullptr && tree_.file(found->file).state.is_directory()))) {
    UNIONFS_TRY(count_entry(path));
    const TreeFileId id = path.empty() ? kTreeRoot : found->file;
    TreeFile& present = tree_.file(id);
    present.state = std::move(file.state);
    present.is_implied = file.is_implied;
    return id;
  }
  UNIONFS_ASSIGN(const TreeFileId id, add(std::move(file), path));
  lead(directory, path.back(), id);
  return id;
}

// ---- whiteouts -----------------------------------------------------------------------

Result<void> TreeBuilder::put_whiteout(const EntryPath& path) {
  UNIONFS_TRY(count_entry(path));
  UNIONFS_ASSIGN(const TreeFileId directory, directory_of(path));
  whiteouts_[directory].insert(path.back());
  return {};
}

Result<void> TreeBuilder::put_opaque(const EntryPath& directory) {
  UNIONFS_TRY(count_entry(directory));
  TreeFileId id = kTreeRoot;
  for (size_t depth = 0; depth < directory.size(); ++depth) {
    UNIONFS_ASSIGN(id, enter(id, directory, depth));
  }
  tree_.file(id).is_opaque = true;
  return {};
}

void TreeBuilder::apply_whiteouts() {
  for (const auto& [directory, names] : whiteouts_) {
    for (const std::string& name : names) {
      const TreeName* found = tree_.find(directory, name);
      if (found == nullptr) {
        tree_.set_mark(directory, name, TreeMark::kWhiteout);
      } else if (tree_.file(found->file).state.is_directory()) {
        tree_.file(found->file).is_opaque = true;
      }
    }
  }
}

// ---- hard links ------------------------------------------------------------------------

Failure TreeBuilder::link_failure(std::string_view path, const EntryPath& target,
                                  std::string_view why) const {
  return invalid("{}: {} is a hard link to {}, which {}", name_, quoted_name(path),
                 quoted_name(joined_path(target)), why);
}

// A file without a type stands in for a target that has not come yet.
Result<void> TreeBuilder::put_link(const EntryPath& path, const EntryPath& target) {
  if (path.empty()) {
    return invalid("{}: the root directory is to be a hard link to {}", name_,
                   quoted_name(joined_path(target)));
  }
  UNIONFS_ASSIGN(const TreeFileId directory, directory_of(path));
  const TreeName* found = find(target);
  if (found == nullptr && !target.empty()) {
    UNIONFS_ASSIGN(const TreeFileId stand_in, add(TreeFile(), path));
    lead(directory, path.back(), stand_in);
    later_links_[stand_in] = {joined_path(path), target};
    return {};
  }
  if (found == nullptr || tree_.file(found->file).state.is_directory()) {
    return link_failure(joined_path(path), target, "is a directory");
  }
  UNIONFS_TRY(count_entry(path));
  lead(directory, path.back(), found->file);
  return {};
}

// Follows links to links, and enters the end of each, so that no link is followed twice.
Result<void> TreeBuilder::find_end(TreeFileId stand_in, LinkEnds& ends) const {
  std::vector<TreeFileId> way;
  TreeFileId end = stand_in;
  for (auto link = later_links_.find(end); link != later_links_.end();
       link = later_links_.find(end)) {
    if (const auto known = ends.find(end); known != ends.end()) {
      end = known->second;
      break;
    }
    way.push_back(end);
    const TreeName* found = find(link->second.target);
    if (found == nullptr || way.size() > later_links_.size()) {
      return link_failure(link->second.path, link->second.target, "is not there");
    }
    end = found->file;
    if (tree_.file(end).state.is_directory()) {
      return link_failure(link->second.path, link->second.target, "is a directory");
    }
  }
  for (const TreeFileId id : way) {
    ends[id] = end;
  }
  return {};
}

Result<void> TreeBuilder::resolve_links() {
  if (later_links_.empty()) {
    return {};
  }
  LinkEnds ends;
  for (const auto& [stand_in, link] : later_links_) {
    UNIONFS_TRY(find_end(stand_in, ends));
  }
  for (TreeFileId id = 0; id < tree_.file_count(); ++id) {
    for (auto& [name, what] : tree_.file(id).names) {
      if (const auto end = ends.find(what.file); end != ends.end()) {
        what.file = end->second;
      }
    }
  }
  return {};
}

Result<FileTree> TreeBuilder::finish() {
  UNIONFS_TRY(resolve_links());
  apply_whiteouts();
  return std::move(tree_);
}

}  // namespace unionfs
