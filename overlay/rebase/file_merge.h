// SPDX-License-Identifier: BSD-3-Clause
//
// One file, three ways: which side gives each field, and which fields both want to change.
#ifndef UNIONFS_OVERLAY_REBASE_FILE_MERGE_H
#define UNIONFS_OVERLAY_REBASE_FILE_MERGE_H

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "overlay/rebase/report.h"
#include "overlay/rebase/side_tree.h"

namespace unionfs {

// One name, on the three sides.
struct ThreeFiles {
  std::optional<InodeNumber> base;
  std::optional<InodeNumber> ours;
  std::optional<InodeNumber> theirs;
};

struct MergedFileFields {
  FileState state;                  // by the resolution
  bool is_content_ours = false;     // type, bytes, target, device are taken from ours
  bool is_content_as_ours = false;  // or are the same
  bool is_as_ours = true;           // all but times
  bool is_as_theirs = true;         // all but times
  bool are_times_theirs = true;
  bool is_content_conflict = false;
  std::vector<std::string> fields;  // in conflict, but the content
  bool has_conflict() const { return is_content_conflict || !fields.empty(); }
};

// Compares contents, each pair once.  Not thread-safe.  Refers to the trees, which must outlive
// it.
class FileMerge {
 public:
  FileMerge(SideTree& base, SideTree& ours, SideTree& theirs)
      : base_(base), ours_(ours), theirs_(theirs) {}

  // What is known already of two regular files.
  void know_content(InodeNumber base, InodeNumber ours, bool is_same) {
    same_content_[{Pair::kBaseOurs, base, ours}] = is_same;
  }

  // Equal in all but times; directories without what is in them.
  Result<bool> is_theirs_as_base(InodeNumber base, InodeNumber theirs);
  Result<bool> is_ours_as_base(InodeNumber base, InodeNumber ours);
  Result<bool> is_ours_as_theirs(InodeNumber ours, InodeNumber theirs);
  // As is_theirs_as_base(), with all that lies below directories, but for the paths of the old
  // lower that are keys of `moved`.  `path`: that of `base`.
  Result<bool> is_tree_as_base(const std::string& path, InodeNumber base, InodeNumber theirs,
                               const std::map<std::string, std::string>& moved);
  // The same of what ours and theirs have.
  Result<bool> is_ours_tree_as_theirs(InodeNumber ours, InodeNumber theirs);

  // `ours` and `theirs` are there.  Without a base each field that differs is in conflict.
  // Fields in conflict are decided by `resolution`: kTheirs, or else ours.
  Result<MergedFileFields> merge(const ThreeFiles& files, Resolution resolution);

  uint64_t bytes_compared() const { return bytes_compared_; }

 private:
  enum class Pair { kBaseOurs, kBaseTheirs, kOursTheirs };
  Result<bool> has_same_content(Pair pair, InodeNumber one, InodeNumber other);
  Result<bool> is_same(Pair pair, InodeNumber one, InodeNumber other);
  struct TwoFiles {
    std::string path;  // of the first
    InodeNumber one;
    InodeNumber other;
  };
  Result<bool> is_same_tree(Pair pair, TwoFiles tops,
                            const std::map<std::string, std::string>& without);
  SideTree& first_of(Pair pair) { return pair == Pair::kOursTheirs ? ours_ : base_; }
  SideTree& second_of(Pair pair) { return pair == Pair::kBaseOurs ? ours_ : theirs_; }

  SideTree& base_;
  SideTree& ours_;
  SideTree& theirs_;
  std::map<std::tuple<Pair, InodeNumber, InodeNumber>, bool> same_content_;
  uint64_t bytes_compared_ = 0;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_FILE_MERGE_H
