// SPDX-License-Identifier: BSD-3-Clause
//
// Numbers of owners and groups that mean another name in the new lower.
#include "overlay/rebase/comparison.h"
#include "overlay/rebase/owner_names.h"

namespace unionfs {
namespace {

// Ours knows more names than the old lower, of users that were added since.
OwnerNames names_before(const OwnerNames& base, const OwnerNames& ours) {
  OwnerNames all = base;
  all.names.insert(ours.names.begin(), ours.names.end());
  all.numbers.insert(ours.numbers.begin(), ours.numbers.end());
  return all;
}

std::string text_of(const MovedOwner& moved, const char* what) {
  std::string text =
      fmt::format("{} {} is {} in the old lower", what, moved.number, moved.old_name);
  if (moved.new_name && *moved.new_name != moved.old_name) {
    text += fmt::format(", and {} in the new one", *moved.new_name);
  }
  if (moved.new_number) {
    text += fmt::format("; there {} is {}", moved.old_name, *moved.new_number);
  }
  return text + "; --ids=numbers or --ids=names decides";
}

}  // namespace

Result<void> RebaseComparison::settle_owners() {
  for (const bool is_user : {true, false}) {
    const std::string path = is_user ? "/etc/passwd" : "/etc/group";
    UNIONFS_ASSIGN(const OwnerNames base, read_owner_names(base_, path));
    UNIONFS_ASSIGN(const OwnerNames ours, read_owner_names(ours_, path));
    UNIONFS_ASSIGN(const OwnerNames theirs, read_owner_names(theirs_, path));
    const OwnerNames before = names_before(base, ours);
    std::map<uint32_t, std::string> used;  // with one path of ours
    for (const auto& [row_path, row] : rows_) {
      UNIONFS_ASSIGN(const InodeRecord record, read_inode(ours_.volume(), row.change.inode));
      used.emplace(is_user ? record.user_id() : record.group_id(), row_path);
    }
    for (const auto& [number, example] : used) {
      const std::optional<MovedOwner> moved = moved_owner(before, theirs, number);
      const bool is_decided = policy_.ids == IdPolicy::kNumbers ||
                              (policy_.ids == IdPolicy::kNames && moved && moved->new_number);
      if (!moved || is_decided) {
        continue;
      }
      Conflict conflict;
      conflict.conflict_class = ConflictClass::kOwner;
      conflict.path = example.empty() ? "/" : example;
      conflict.fields = {is_user ? "owner" : "group"};
      conflict.text = text_of(*moved, is_user ? "user" : "group");
      report_.conflicts.push_back(std::move(conflict));
    }
    if (policy_.ids != IdPolicy::kNames) {
      continue;
    }
    // Of all names: what ours has not changed is compared, and taken along, too.
    std::map<uint32_t, uint32_t> numbers;
    for (const auto& [number, name] : before.names) {
      const std::optional<MovedOwner> moved = moved_owner(before, theirs, number);
      if (moved && moved->new_number) {
        numbers.emplace(number, *moved->new_number);
      }
    }
    for (SideTree* side : {&base_, &ours_}) {
      is_user ? side->map_users(numbers) : side->map_groups(numbers);
    }
  }
  return {};
}

}  // namespace unionfs
