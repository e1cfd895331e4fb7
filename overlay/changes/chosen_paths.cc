// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/chosen_paths.h"

#include "fsparse/directory.h"
#include "fsparse/printable.h"

namespace unionfs {
namespace {

// Takes the first component away from the path; empty: there is none.
std::string_view take_component(std::string_view& path) {
  path.remove_prefix(std::min(path.find_first_not_of('/'), path.size()));
  const std::string_view component = path.substr(0, path.find('/'));
  path.remove_prefix(component.size());
  return component;
}

// As changes have it, but for the root, which is empty here.
std::string_view without_root(std::string_view path) {
  return path == "/" ? "" : path;
}

Result<bool> has_path(const Volume& volume, std::string_view path) {
  UNIONFS_ASSIGN(InodeRecord record, read_inode(volume, kRootDirectory));
  while (true) {
    const std::string_view component = take_component(path);
    if (component.empty()) {
      return true;
    }
    if (!record.is_directory()) {
      return false;
    }
    UNIONFS_ASSIGN(const auto entry, find_name(volume, record, component));
    if (!entry || entry->kind != EntryKind::kReal) {
      return false;
    }
    UNIONFS_ASSIGN(record, read_inode(volume, entry->inode));
  }
}

}  // namespace

Result<ChosenPaths> ChosenPaths::parse(const std::vector<std::string>& paths) {
  ChosenPaths chosen;
  if (paths.empty()) {
    chosen.paths_.emplace();
  }
  for (const std::string& path : paths) {
    if (path.empty()) {
      return invalid("an empty path names nothing");
    }
    std::string whole;
    std::string_view rest = path;
    for (std::string_view name = take_component(rest); !name.empty(); name = take_component(rest)) {
      if (name == "..") {
        return invalid("{}: a path from the root on has no \"..\"", quoted_name(path));
      }
      if (name != ".") {
        whole.append("/").append(name);
      }
    }
    chosen.paths_.insert(std::move(whole));
  }
  return chosen;
}

Result<void> ChosenPaths::check_present(const Volume& lower, const Volume& merged) const {
  for (const std::string& path : paths_) {
    UNIONFS_ASSIGN(const bool is_now, has_path(merged, path));
    if (!is_now) {
      UNIONFS_ASSIGN(const bool was_before, has_path(lower, path));
      if (!was_before) {
        return invalid("{}: no such path in {}, and none in {}", quoted_name(path), lower.name(),
                       merged.name());
      }
    }
  }
  return {};
}

size_t ChosenPaths::longest_above(std::string_view path) const {
  path = without_root(path);
  while (!paths_.contains(path)) {
    if (path.empty()) {
      return std::string_view::npos;
    }
    path = path.substr(0, path.rfind('/'));
  }
  return path.size();
}

bool ChosenPaths::has(const Change& change) const {
  return longest_above(change.path) != std::string_view::npos ||
         (!change.from.empty() && longest_above(change.from) != std::string_view::npos);
}

std::string_view ChosenPaths::part_of(const Change& change) const {
  std::string_view path = without_root(change.path);
  size_t above = longest_above(path);
  if (above == std::string_view::npos) {
    path = change.from;
    above = longest_above(path);
  }
  // Behind what is above comes a slash.
  const std::string_view part =
      above == path.size() ? path : path.substr(0, path.find('/', above + 1));
  return part.empty() ? "/" : part;
}

}  // namespace unionfs
