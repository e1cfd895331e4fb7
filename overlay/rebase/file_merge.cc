// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/file_merge.h"

#include <algorithm>
#include <tuple>

#include "fsparse/entered_directories.h"
#include "overlay/tree/file_reader.h"

namespace unionfs {
namespace {

bool has_same_metadata(const FileState& a, const FileState& b) {
  return a.mode == b.mode && a.user_id == b.user_id && a.group_id == b.group_id &&
         a.user_flags == b.user_flags && a.attributes == b.attributes;
}

using AttributesByName = std::map<std::pair<uint8_t, std::string>, const Attribute*>;

AttributesByName by_name(const std::vector<Attribute>& attributes) {
  AttributesByName named;
  for (const Attribute& attribute : attributes) {
    named[{attribute.name_index, attribute.name}] = &attribute;
  }
  return named;
}

// Who may do what.
struct Permissions {
  uint16_t bits = 0;
  std::optional<Attribute> access;  // the access ACL

  bool operator==(const Permissions&) const = default;
};

// Decides one field after the other.
class FieldMerge {
 public:
  FieldMerge(const FileState* base, const FileState& ours, const FileState& theirs,
             Resolution resolution, MergedFileFields& merged)
      : base_(base), ours_(ours), theirs_(theirs), resolution_(resolution), merged_(merged) {}

  void merge_metadata() {
    // The type is a part of the content; the access ACL and the permission bits are one thing,
    // because the bits of the group are the mask of the other entries.
    std::optional<Permissions> base;
    if (base_ != nullptr) {
      base = permissions_of(*base_);
    }
    const Permissions ours = permissions_of(ours_);
    const Permissions theirs = permissions_of(theirs_);
    const Permissions& chosen = takes_ours("mode", base, ours, theirs) ? ours : theirs;
    const uint16_t type = merged_.is_content_ours ? ours_.type() : theirs_.type();
    merged_.state.mode = static_cast<uint16_t>(type | chosen.bits);
    access_ = chosen.access;
    merge("owner", &FileState::user_id);
    merge("group", &FileState::group_id);
    merge("flags", &FileState::user_flags);
    merge_attributes();
  }

 private:
  // Whether a field is ours; notes conflicts.
  template <typename Value>
  bool takes_ours(const std::string& name, const std::optional<Value>& base, const Value& ours,
                  const Value& theirs) {
    if (ours == theirs) {
      return false;
    }
    bool is_ours = base && *base == theirs;
    const bool is_theirs = base && *base == ours;
    if (!is_ours && !is_theirs) {
      merged_.fields.push_back(name);
      is_ours = resolution_ != Resolution::kTheirs;
    }
    merged_.is_as_ours = merged_.is_as_ours && is_ours;
    merged_.is_as_theirs = merged_.is_as_theirs && !is_ours;
    return is_ours;
  }

  template <typename Value>
  void merge(const std::string& name, Value FileState::*field) {
    std::optional<Value> base;
    if (base_ != nullptr) {
      base = base_->*field;
    }
    merged_.state.*field =
        takes_ours(name, base, ours_.*field, theirs_.*field) ? ours_.*field : theirs_.*field;
  }

  void merge_attributes() {
    const AttributesByName ours = by_name(ours_.attributes);
    const AttributesByName theirs = by_name(theirs_.attributes);
    AttributesByName base;
    if (base_ != nullptr) {
      base = by_name(base_->attributes);
    }
    AttributesByName all = ours;
    all.insert(theirs.begin(), theirs.end());
    std::vector<Attribute> merged;
    if (access_) {
      merged.push_back(*access_);
    }
    for (const auto& [key, attribute] : all) {
      if (key.first == ext2::kXattrIndexPosixAclAccess) {
        continue;
      }
      const std::optional<Attribute> our_value = value_in(ours, key);
      const std::optional<Attribute> their_value = value_in(theirs, key);
      std::optional<std::optional<Attribute>> base_value;
      if (base_ != nullptr) {
        base_value = value_in(base, key);
      }
      const bool is_ours =
          takes_ours("xattr " + attribute->full_name(), base_value, our_value, their_value);
      if (const auto& value = is_ours ? our_value : their_value; value) {
        merged.push_back(*value);
      }
    }
    sort_attributes(merged);
    merged_.state.attributes = std::move(merged);
  }

  static Permissions permissions_of(const FileState& state) {
    Permissions permissions{state.permissions(), std::nullopt};
    for (const Attribute& attribute : state.attributes) {
      if (attribute.name_index == ext2::kXattrIndexPosixAclAccess) {
        permissions.access = attribute;
      }
    }
    return permissions;
  }

  static std::optional<Attribute> value_in(const AttributesByName& named,
                                           const AttributesByName::key_type& key) {
    const auto found = named.find(key);
    return found == named.end() ? std::nullopt : std::optional<Attribute>(*found->second);
  }

  const FileState* base_;
  const FileState& ours_;
  const FileState& theirs_;
  const Resolution resolution_;
  MergedFileFields& merged_;
  std::optional<Attribute> access_;
};

// Times of a file whose content neither side changed, or both in the same way.
void merge_times(const FileState* base, const FileState& ours, const FileState& theirs,
                 MergedFileFields& merged) {
  if (base == nullptr && !theirs.is_directory()) {
    return;  // both have made the same file, and theirs stays
  }
  const bool ours_changed = base == nullptr || base->modified != ours.modified;
  const bool theirs_changed = base == nullptr || base->modified != theirs.modified;
  const bool takes_ours = ours_changed && (!theirs_changed || ours.modified > theirs.modified);
  const FileState& from = takes_ours ? ours : theirs;
  merged.state.modified = from.modified;
  merged.state.accessed = from.accessed;
}

}  // namespace

Result<bool> FileMerge::has_same_content(Pair pair, InodeNumber one, InodeNumber other) {
  UNIONFS_ASSIGN(const SharedState a, first_of(pair).state(one));
  UNIONFS_ASSIGN(const SharedState b, second_of(pair).state(other));
  if (a->type() != b->type() || a->device_major != b->device_major ||
      a->device_minor != b->device_minor || a->target != b->target) {
    return false;
  }
  if (!a->is_regular()) {
    return true;
  }
  const auto key = std::make_tuple(pair, one, other);
  if (const auto known = same_content_.find(key); known != same_content_.end()) {
    return known->second;
  }
  UNIONFS_ASSIGN(InodeRecord first, read_inode(first_of(pair).volume(), one));
  UNIONFS_ASSIGN(InodeRecord second, read_inode(second_of(pair).volume(), other));
  FileReader first_reader(first_of(pair).volume(), std::move(first));
  FileReader second_reader(second_of(pair).volume(), std::move(second));
  UNIONFS_ASSIGN(const bool same, have_same_bytes(first_reader, second_reader, bytes_compared_));
  same_content_.emplace(key, same);
  return same;
}

Result<bool> FileMerge::is_same(Pair pair, InodeNumber one, InodeNumber other) {
  UNIONFS_ASSIGN(const SharedState a, first_of(pair).state(one));
  UNIONFS_ASSIGN(const SharedState b, second_of(pair).state(other));
  return has_same_metadata(*a, *b) ? has_same_content(pair, one, other) : Result<bool>(false);
}

Result<bool> FileMerge::is_theirs_as_base(InodeNumber base, InodeNumber theirs) {
  return is_same(Pair::kBaseTheirs, base, theirs);
}

Result<bool> FileMerge::is_ours_as_base(InodeNumber base, InodeNumber ours) {
  return is_same(Pair::kBaseOurs, base, ours);
}

Result<bool> FileMerge::is_ours_as_theirs(InodeNumber ours, InodeNumber theirs) {
  return is_same(Pair::kOursTheirs, ours, theirs);
}

Result<bool> FileMerge::is_tree_as_base(const std::string& path, InodeNumber base,
                                        InodeNumber theirs,
                                        const std::map<std::string, std::string>& moved) {
  return is_same_tree(Pair::kBaseTheirs, {path, base, theirs}, moved);
}

Result<bool> FileMerge::is_ours_tree_as_theirs(InodeNumber ours, InodeNumber theirs) {
  return is_same_tree(Pair::kOursTheirs, {"", ours, theirs}, {});
}

Result<bool> FileMerge::is_same_tree(Pair pair, TwoFiles tops,
                                     const std::map<std::string, std::string>& without) {
  EnteredDirectories entered(first_of(pair).volume());
  std::vector<TwoFiles> queue = {std::move(tops)};
  while (!queue.empty()) {
    const TwoFiles left = std::move(queue.back());
    queue.pop_back();
    UNIONFS_ASSIGN(const bool same, is_same(pair, left.one, left.other));
    if (!same) {
      return false;
    }
    UNIONFS_ASSIGN(const bool is_directory, first_of(pair).is_directory(left.one));
    if (!is_directory) {
      continue;
    }
    UNIONFS_TRY(entered.enter(left.one));
    UNIONFS_ASSIGN(const LowerNames::Names* one, first_of(pair).names_of(left.one));
    UNIONFS_ASSIGN(const LowerNames::Names* other, second_of(pair).names_of(left.other));
    for (const auto& [name, inode] : *other) {
      if (!one->contains(name)) {
        return false;
      }
    }
    for (const auto& [name, inode] : *one) {
      std::string below = left.path + "/" + name;
      if (without.contains(below)) {
        continue;
      }
      const auto found = other->find(name);
      if (!found) {
        return false;
      }
      queue.push_back({std::move(below), inode, *found});
    }
  }
  return true;
}

Result<MergedFileFields> FileMerge::merge(const ThreeFiles& files, Resolution resolution) {
  SharedState base;
  if (files.base) {
    UNIONFS_ASSIGN(base, base_.state(*files.base));
  }
  UNIONFS_ASSIGN(const SharedState ours, ours_.state(*files.ours));
  UNIONFS_ASSIGN(const SharedState theirs, theirs_.state(*files.theirs));
  MergedFileFields merged;
  merged.state = *theirs;

  UNIONFS_ASSIGN(const bool ours_kept,
                 files.base ? has_same_content(Pair::kBaseOurs, *files.base, *files.ours)
                            : Result<bool>(false));
  // Where ours changed neither content nor time, both are theirs whatever theirs did, so the
  // bytes need not be read.
  const bool is_theirs = ours_kept && ours->links_count == 1 && ours->modified == base->modified;
  UNIONFS_ASSIGN(const bool theirs_kept,
                 files.base && !is_theirs
                     ? has_same_content(Pair::kBaseTheirs, *files.base, *files.theirs)
                     : Result<bool>(false));
  bool are_alike = ours_kept && theirs_kept;
  if (!ours_kept && !theirs_kept) {
    UNIONFS_ASSIGN(are_alike, has_same_content(Pair::kOursTheirs, *files.ours, *files.theirs));
    merged.is_content_conflict = !are_alike;
  }
  merged.is_content_ours =
      !are_alike && !ours_kept && (theirs_kept || resolution != Resolution::kTheirs);
  merged.is_content_as_ours = are_alike || merged.is_content_ours;
  if (!are_alike) {
    merged.is_as_ours = merged.is_content_ours;
    merged.is_as_theirs = !merged.is_content_ours;
  }
  FieldMerge(base.get(), *ours, *theirs, resolution, merged).merge_metadata();
  if (are_alike) {
    merge_times(base.get(), *ours, *theirs, merged);
  } else if (merged.is_content_ours) {
    merged.state.modified = ours->modified;
    merged.state.accessed = ours->accessed;
    merged.state.created = ours->created;
  }
  merged.state.changed = std::max(ours->changed, theirs->changed);
  if (merged.is_as_theirs && merged.state.modified == theirs->modified) {
    merged.state.changed = theirs->changed;  // nothing of it changes
    merged.state.accessed = theirs->accessed;
  }
  merged.are_times_theirs = merged.state.modified == theirs->modified;
  return merged;
}

}  // namespace unionfs
