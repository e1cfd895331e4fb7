// SPDX-License-Identifier: BSD-3-Clause
//
// The forms in which diff tells changes.
#ifndef UNIONFS_TOOLS_LOOK_CHANGE_OUTPUT_H
#define UNIONFS_TOOLS_LOOK_CHANGE_OUTPUT_H

#include <array>
#include <memory>

#include "overlay/changes/chosen_paths.h"
#include "overlay/changes/tree_changes.h"
#include "tools/command_line/spool.h"

namespace unionfs::img {

struct ChangeKindName {
  ChangeKind kind;
  const char* name;
  char letter;  // in records
};

// By the value of the kind.
inline constexpr std::array<ChangeKindName, 5> kChangeKindNames = {
    {{ChangeKind::kAdded, "added", 'A'},
     {ChangeKind::kModified, "modified", 'M'},
     {ChangeKind::kMetadata, "metadata", 'm'},
     {ChangeKind::kDeleted, "deleted", 'D'},
     {ChangeKind::kRenamed, "renamed", 'R'}}};

inline const ChangeKindName& name_of(ChangeKind kind) {
  return kChangeKindNames[static_cast<size_t>(kind)];
}

// How many changes of each kind.
class ChangeCounts {
 public:
  void add(ChangeKind kind) { ++counts_[static_cast<size_t>(kind)]; }
  uint64_t of(ChangeKind kind) const { return counts_[static_cast<size_t>(kind)]; }
  // "1 added, 0 modified, ..."
  std::string text() const;

 private:
  std::array<uint64_t, kChangeKindNames.size()> counts_ = {};
};

// Takes the changes one after another, sorted by path.  One user, one thread.
class ChangeOutput {
 public:
  virtual ~ChangeOutput() = default;
  virtual Result<void> add(const Change& change) = 0;
  // After the last one.
  virtual void end() = 0;
};

// All refer to what they are given, which must outlive them.

// A line for each change, and the counts.
std::unique_ptr<ChangeOutput> text_of_changes(Spool& out);
// Letter, space and path of each change, and a NUL; of a renamed one also "F" and the old path.
std::unique_ptr<ChangeOutput> records_of_changes(Spool& out);
// With the states on both sides, which it reads from the trees.
std::unique_ptr<ChangeOutput> json_of_changes(const ComparedTrees& trees, Spool& out);
// Counts and bytes for each part of the chosen paths.  It keeps one entry for each part.
std::unique_ptr<ChangeOutput> stat_of_changes(const ChosenPaths& chosen, bool as_json, Spool& out);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_LOOK_CHANGE_OUTPUT_H
