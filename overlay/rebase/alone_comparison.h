// SPDX-License-Identifier: BSD-3-Clause
//
// The work of plan_without_old(), in the parts that share its state:
//
//   without_old.cc         the order of the steps
//   alone_directories.cc   where a directory of ours is in the result
//   alone_files.cc         names that are no directories
//   alone_deletions.cc     names that ours has no more, or may have no more
//   alone_superblock.cc    what tune2fs changes
#ifndef UNIONFS_OVERLAY_REBASE_ALONE_COMPARISON_H
#define UNIONFS_OVERLAY_REBASE_ALONE_COMPARISON_H

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fsparse/directory.h"
#include "overlay/rebase/file_merge.h"
#include "overlay/rebase/plan_builder.h"
#include "overlay/rebase/units.h"
#include "overlay/rebase/without_old.h"

namespace unionfs {

// A directory of the layer's own, and where it is in the result.
struct AloneDirectory {
  std::string path;  // in ours
  InodeNumber ours;
  bool is_opaque = false;
  bool has_fallthrus = false;
  std::vector<NamedEntry> entries;  // by name

  std::string result_path;
  bool has_stayed = false;  // the old lower had it in this place, and so all that is above
  std::optional<InodeNumber> theirs;  // the new lower's directory that it becomes
  std::optional<PlannedFileId> id;    // once something in it changes
  bool is_dropped = false;            // neither it nor anything below is carried
  bool is_decided = false;            // made, or made again, because a conflict was decided so
  bool is_beside = false;             // it or one above lies beside what theirs has there
};

// A name of ours that leads to no directory.
struct AloneFile {
  AloneDirectory* parent = nullptr;
  std::string path;
  std::string name;
  InodeNumber inode;
};

// Of what is not known.
constexpr const char* kForeignAttributes =
    "its extended attributes lie in a block of the old lower";

class AloneComparison {
 public:
  AloneComparison(LayerAlone& layer, const RebasePolicy& policy, PlanBuilder builder,
                  SideTree& ours, SideTree& over, SideTree& theirs);

  Result<PlannedRebase> run();

 private:
  // ---- steps
  Result<void> read_names();
  Result<void> settle_units();
  Result<void> settle_groups();
  Result<void> settle_deletions();
  Result<void> settle_directory_times();
  Result<PlannedSuperblock> different_superblock(std::vector<std::string>& fields);
  Result<void> settle_superblock();
  void add_notes();

  // ---- conflicts
  struct Raised {
    std::string path;
    std::optional<InodeNumber> ours;
    std::optional<InodeNumber> theirs;
    std::string text;
    std::vector<std::string> fields = {};
    bool can_be_ours = true;  // false: the layer does not have all of it
  };
  Result<Resolution> raise(const Raised& raised);
  void note(std::string kind, std::string path, std::string text);

  // ---- what is known
  Result<bool> know(InodeNumber ours);  // its state; whether that is all known
  // Whether theirs is, under the layer's number, what base was there.
  Result<bool> is_proven_in_place(InodeNumber ours, std::optional<InodeNumber> theirs);
  // Whether the old lower's directory led by its names to what theirs leads to.
  Result<bool> are_names_proven(const AloneDirectory& directory);
  // Of a name that ours has no more: theirs has it, with all below, as base had it.
  // `may_have_moved`: or ours has another name for it, which is placed already.
  Result<bool> has_gone(InodeNumber inode);
  Result<bool> is_tree_gone(InodeNumber theirs, bool may_have_moved);
  Result<std::optional<InodeNumber>> holder_of(const AloneDirectory& parent,
                                               const std::string& name);

  // ---- directories
  Result<void> settle_directory(AloneDirectory& directory);
  Result<void> settle_stayed(AloneDirectory& directory, AloneDirectory& parent,
                             std::optional<InodeNumber> holder);
  Result<void> settle_own(AloneDirectory& directory, AloneDirectory& parent,
                          std::optional<InodeNumber> holder);
  Result<void> refuse(AloneDirectory& directory, std::optional<InodeNumber> holder,
                      const std::string& text);
  Result<void> place_in_conflict(AloneDirectory& directory, AloneDirectory& parent,
                                 std::optional<InodeNumber> holder, const std::string& text);
  Result<void> merge_directory(AloneDirectory& directory);
  Result<void> make_directory(AloneDirectory& directory, AloneDirectory& parent,
                              const std::string& name);
  Result<PlannedFileId> id_of(AloneDirectory& directory);
  Result<std::string> beside_name(AloneDirectory& parent, const std::string& name);
  void drop(AloneDirectory& directory);

  // ---- files
  Result<void> settle_file(const AloneFile& file);
  Result<void> settle_missing(const AloneFile& file);
  Result<void> settle_against(const AloneFile& file, InodeNumber holder);
  // Whether ours and theirs are equal; fills in which fields differ.
  Result<bool> is_same(InodeNumber ours, InodeNumber theirs, std::vector<std::string>& fields);
  Result<void> place(const AloneFile& file, std::optional<InodeNumber> holder);
  Result<void> place_by(Resolution resolution, const AloneFile& file,
                        std::optional<InodeNumber> holder);
  Result<void> place_beside(const AloneFile& file);
  Result<std::optional<PlannedContent>> planned_content(InodeNumber ours);
  void drop(const AloneFile& file);

  // ---- link groups
  struct Outcome {
    AloneFile file;
    std::optional<InodeNumber> holder;  // what theirs has under the name
    bool is_same = false;               // and equal
    bool loses_privileges = false;      // a copy that lies beside
  };
  Result<void> settle_group(InodeNumber ours, const std::vector<Outcome>& outcomes);
  Result<FileState> state_of(InodeNumber ours, const std::vector<Outcome>& outcomes);
  Result<std::optional<InodeNumber>> existing_for(InodeNumber ours,
                                                  const std::vector<Outcome>& outcomes);

  // ---- deletions
  Result<void> settle_names_of(AloneDirectory& directory);
  Result<bool> are_old_names_proven(const AloneDirectory& directory);
  Result<bool> must_be_theirs(const RebaseUnit& unit);
  bool is_in_unit(const std::string& path) const;
  Result<void> settle_deletion(AloneDirectory& directory, const std::string& name,
                               InodeNumber holder);
  Result<void> settle_hidden(AloneDirectory& directory, const std::vector<std::string>& names);
  Result<void> remove(AloneDirectory& directory, const std::string& name);

  LayerAlone& layer_;
  const RebasePolicy& policy_;
  SideTree& ours_;  // the upper; states are put into it by know()
  SideTree& over_;  // the layer over the new lower, where its content is proven
  SideTree& theirs_;
  FileMerge own_files_;   // ours and theirs
  FileMerge over_files_;  // over and theirs
  PlanBuilder builder_;
  RebaseReport report_;

  std::map<std::string, AloneDirectory> directories_;  // by path in ours; "" is the root
  std::vector<AloneFile> files_;                       // ascending by path
  std::map<InodeNumber, bool> known_;
  std::map<InodeNumber, std::vector<Outcome>> groups_;  // by inode of ours
  std::map<InodeNumber, PlannedFileId> besides_;        // copies for "both"
  std::set<InodeNumber> dropped_;                       // files of which a name came to nothing
  // Paths that a unit has decided; true: and all below.
  std::map<std::string, bool> in_units_;
  bool has_owners_ = false;  // anything of ours that is carried has another owner than root
  uint64_t perhaps_not_new_ = 0;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_ALONE_COMPARISON_H
