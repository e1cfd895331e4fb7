// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/side_tree.h"

namespace unionfs {
namespace {

// Puts another number in the place of one that has one.
void map_number(const std::map<uint32_t, uint32_t>& others, uint32_t& number) {
  if (const auto other = others.find(number); other != others.end()) {
    number = other->second;
  }
}

}  // namespace

std::pair<std::string, std::string> split_path(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) {
    return {"", path};
  }
  return {path.substr(0, slash), path.substr(slash + 1)};
}

bool is_at_or_below(std::string_view path, std::string_view top) {
  return path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/');
}

Result<std::optional<InodeNumber>> SideTree::find_below(InodeNumber top, const std::string& path) {
  std::optional<InodeNumber> at = top;
  size_t begin = 1;
  while (at && begin < path.size()) {
    const size_t end = std::min(path.find('/', begin), path.size());
    UNIONFS_ASSIGN(at, child(*at, path.substr(begin, end - begin)));
    begin = end + 1;
  }
  return at;
}

Result<std::optional<InodeNumber>> SideTree::child(InodeNumber directory, const std::string& name) {
  UNIONFS_ASSIGN(const bool is_one, is_directory(directory));
  if (!is_one) {
    return std::optional<InodeNumber>();
  }
  UNIONFS_ASSIGN(const LowerNames::Names* names, names_.of(directory));
  return names->find(name);
}

Result<SharedState> SideTree::state(InodeNumber inode) {
  for (const auto* states : {&known_states_, &new_states_}) {
    if (const auto known = states->find(inode); known != states->end()) {
      return known->second;
    }
  }
  SharedState state;
  if (const auto old = old_states_.find(inode); old != old_states_.end()) {
    state = old->second;
  } else {
    UNIONFS_ASSIGN(state, read_state(inode));
  }
  if (new_states_.size() == kKeptStates) {
    old_states_ = std::exchange(new_states_, {});
  }
  new_states_.emplace(inode, state);
  return state;
}

Result<SharedState> SideTree::read_state(InodeNumber inode) const {
  UNIONFS_ASSIGN(FileState state, file_state_of(volume_, inode));
  map_number(users_, state.user_id);
  map_number(groups_, state.group_id);
  return std::make_shared<const FileState>(std::move(state));
}

// What was read before the numbers were known says the old ones.
void SideTree::forget_read() {
  new_states_.clear();
  old_states_.clear();
}

void SideTree::map_users(std::map<uint32_t, uint32_t> users) {
  users_ = std::move(users);
  forget_read();
}

void SideTree::map_groups(std::map<uint32_t, uint32_t> groups) {
  groups_ = std::move(groups);
  forget_read();
}

Result<bool> SideTree::is_directory(InodeNumber inode) {
  const auto known = directories_.find(inode);
  if (known != directories_.end()) {
    return known->second;
  }
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(volume_, inode));
  directories_.emplace(inode, record.is_directory());
  return record.is_directory();
}

}  // namespace unionfs
