// SPDX-License-Identifier: BSD-3-Clause
//
// What a rebase found and did, for people and programs; by value.
#ifndef UNIONFS_OVERLAY_REBASE_REPORT_H
#define UNIONFS_OVERLAY_REBASE_REPORT_H

#include <optional>
#include <string>
#include <vector>

#include "overlay/tree/file_state.h"

namespace unionfs {

enum class ConflictClass {
  kEditEdit,      // both changed the content
  kEditDelete,    // ours changed it, theirs has it no more
  kDeleteEdit,    // ours deleted it, theirs changed it
  kAddAdd,        // both added the name, unequal
  kMetadata,      // both changed one field
  kType,          // one side made it something else, the other changed it
  kRenameDelete,  // ours renamed it, theirs has it no more
  kRenameAdd,     // ours renamed something to a name that theirs has given away
  kUnit,          // both changed something in what is of use only as a whole
  kOwner,         // an id has another name in theirs
  kLimit,         // it does not fit into the new image; cannot be decided, only avoided
  kNeedsOld       // without the old lower nobody can say what it is
};
// "edit/edit", ...
const char* name_of(ConflictClass conflict_class);

enum class Resolution { kNone, kOurs, kTheirs, kBoth };
// "ours", "theirs", "both"; "" for kNone.
const char* name_of(Resolution resolution);

struct Conflict {
  ConflictClass conflict_class = ConflictClass::kEditEdit;
  std::string path;  // in the result; of a name that ours has no more: in the old lower
  std::string from;  // in the old lower, where ours has renamed it
  std::optional<FileState> ours;
  std::optional<FileState> theirs;
  std::optional<FileState> base;
  Resolution resolution = Resolution::kNone;
  std::string decided_by;      // the option as it was given, "--ours /etc/*"
  std::string resulting_path;  // kBoth: the name that ours has got
  std::vector<std::string>
      fields;  // kMetadata: "mode", "owner", "group", "flags", "xattr user.x", ...
  std::vector<std::string> links;  // other names of ours that the decision takes along
  std::string text;  // more for people: what a unit is, which limit, which names of an id
};

struct RebaseNote {
  std::string kind;  // "followed", "links-split", "times-rounded", ...
  std::string path;
  std::string text;
};

// Paths are those of the result; of what is gone, those of the old lower.
struct RebaseReport {
  std::vector<std::string> applied;  // ours, as it was
  std::vector<std::string> merged;   // put together of ours and theirs
  std::vector<std::string> dropped;  // of ours, because theirs is the same or was preferred
  std::vector<Conflict> conflicts;   // ascending by path
  std::vector<RebaseNote> notes;
  uint64_t bytes_compared = 0;  // of contents, of old and new lower

  bool has_undecided() const;
  // Sorts all lists, and takes from `dropped` what waits for a decision.
  void finish();
  bool has_limits() const;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_REPORT_H
