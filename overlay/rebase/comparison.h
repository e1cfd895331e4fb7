// SPDX-License-Identifier: BSD-3-Clause
//
// The work of plan_rebase(), in the parts that share its state:
//
//   three_way.cc      the order of the steps
//   directories.cc    where a directory of ours is in the result
//   places.cc         what is in a place, and where that is on the other sides
//   files.cc          one name of ours that is no directory, or a directory's own fields
//   link_groups.cc    names that share an inode
//   deletions.cc      names that ours has no more
//   whole_trees.cc    units, --ours-tree, and what else is taken as a whole
//   owners.cc         numbers that mean two names
//   superblocks.cc    what tune2fs changes
#ifndef UNIONFS_OVERLAY_REBASE_COMPARISON_H
#define UNIONFS_OVERLAY_REBASE_COMPARISON_H

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "overlay/changes/change.h"
#include "overlay/rebase/file_merge.h"
#include "overlay/rebase/plan_builder.h"
#include "overlay/rebase/three_way.h"
#include "overlay/rebase/units.h"

namespace unionfs {

// A change of ours that has to find its place.
struct RebaseRow {
  Change change;
  bool is_forced = false;    // ours, whatever theirs has: decided with something larger
  bool is_taken = false;     // it goes with a tree that is taken as a whole
  bool is_given_up = false;  // a rename that comes to nothing, because a unit is theirs
  bool is_done = false;
  bool is_dropped = false;  // once it is done: theirs stays as if there was no change
  bool is_open = false;     // so because nobody has decided
  // It is told because of a directory that was made anew, and all but its times is as the old
  // lower has it under that name.
  bool is_made_alike = false;
  // Nothing of it has changed: it is told because of another name of its file.
  bool is_unchanged = false;

  bool has_only_times() const {
    return is_made_alike || (change.kind == ChangeKind::kMetadata && change.metadata.size() == 1 &&
                             change.metadata.front() == "times" && !change.is_content_changed);
  }
};

// A directory of ours, and where it is in the result.
struct ResultDirectory {
  std::string path;       // in the result
  std::string ours_path;  // in ours
  InodeNumber ours;
  std::optional<std::string> base_path;  // of the old lower's directory that it is compared with
  std::optional<InodeNumber> base;
  std::optional<InodeNumber> theirs;  // the new lower's directory that it becomes
  std::optional<PlannedFileId> id;    // once something in it changes
  bool is_dropped = false;            // it is not made, nor anything below
  bool is_open = false;               // so because nobody has decided
  bool is_decided = false;      // it is made, or made again, because a conflict was decided so
  bool is_behind_link = false;  // theirs has a symlink in its place, or above
  std::string link_text;        // where that leads; stays when it is made again
  bool is_beside = false;       // it or one above lies beside what theirs has there
  bool is_alike = false;        // theirs has the same there, with all below, and so its times
  bool are_times_decided = false;
  bool is_settling = false;  // its place is not known yet

  // Each change of ours below is a conflict of its own.
  bool is_linked() const { return !link_text.empty(); }
};

// A name of ours that has found its place.
struct PlacedFile {
  const RebaseRow* row;
  const ResultDirectory* parent;
  PlannedFileId directory = kPlannedRoot;  // of `parent`
  std::string name = {};
  std::optional<InodeNumber> base = {};    // what it is merged with
  std::optional<InodeNumber> theirs = {};  // the file of the new lower that it becomes
  std::optional<InodeNumber> theirs_at_place = {};
  Resolution resolution = Resolution::kOurs;  // of fields that both want
  bool is_followed = false;
  bool is_whole = false;  // ours altogether, because theirs has nothing to merge
  bool is_copy = false;   // so, and without privileges
};

// The same with what it becomes, while its group is settled.
struct FileOutcome : PlacedFile {
  const std::string& path() const { return row->change.path; }  // of ours
  std::string result_path() const { return parent->path + "/" + name; }

  MergedFileFields merged;
};

class RebaseComparison {
 public:
  RebaseComparison(const RebaseSources& sources, const RebasePolicy& policy, PlanBuilder builder,
                   SideTree& base, SideTree& ours, SideTree& theirs);

  Result<PlannedRebase> run();

 private:
  // ---- steps
  Result<void> read_changes();
  Result<void> separate_copies();
  Result<bool> separate_copy(const std::string& from, const std::string& to);
  Result<void> add_names_elsewhere();
  Result<void> add_unchanged(const std::string& path, InodeNumber inode);
  bool has_moved_into(const std::string& path, const std::string& directory) const;
  void separate_file(const std::string& base_path, bool is_same_file);
  void undo_rename(RebaseRow& row, const std::string& base_path, InodeNumber base);
  Result<void> compare_by_path(const std::string& path, const std::string& base_path,
                               InodeNumber base);
  Result<void> compare_file_by_path(RebaseRow& row, const std::string& base_path, InodeNumber base);
  Result<void> separate_links(const std::string& from);
  Result<std::string> kept_name_of(const Change& link);
  Result<void> settle_owners();
  Result<void> settle_units();
  Result<void> settle_row(const std::string& path);
  Result<void> settle_deletions();
  Result<void> settle_groups();
  Result<void> settle_directory_times();
  // Says where the files are that are changed in place, so that nobody has to search for it.
  void add_staying_names();
  // Whether theirs has under the old lower's name something of the type that it had there.
  Result<bool> has_of_type(const std::string& base_path, InodeNumber base);
  Result<bool> has_other_names(InodeNumber base, InodeNumber theirs);
  Result<bool> has_ours_changed_names(const ResultDirectory& directory);
  // Of a directory that is in all three, in which ours has changed a name, or else nothing but
  // the times.
  Result<FileTime> modified_time_of(const ResultDirectory& directory, bool has_ours_changed);
  // The times of directories out of which ours has moved what theirs has there no more, either.
  Result<void> visit_left_directories();
  Result<void> check_dependent_moves() const;
  Result<void> settle_superblock();

  // ---- conflicts and notes
  struct Raised {
    ConflictClass conflict_class;
    std::string path;
    std::string from;
    ThreeFiles files;
    std::vector<std::string> fields = {};
    std::string text = {};
  };
  Result<Resolution> raise(const Raised& raised, bool is_forced = false);
  // The one that raise() has made or found last, if it was not told to be silent.
  Conflict& raised_conflict() { return report_.conflicts[last_raised_]; }
  void note(std::string kind, std::string path, std::string text);
  void drop(RebaseRow& row);

  // ---- places
  Result<ResultDirectory*> directory_at(const std::string& path);
  Result<void> settle_directory(ResultDirectory& directory, ResultDirectory& parent,
                                const std::string& name, RebaseRow* row);
  Result<void> settle_new_directory(ResultDirectory& directory, ResultDirectory& parent,
                                    const std::string& name, RebaseRow& row);
  Result<void> settle_moved_directory(ResultDirectory& directory, ResultDirectory& parent,
                                      const std::string& name, RebaseRow& row);
  Result<void> leave_directory(ResultDirectory& directory, RebaseRow& row);
  Result<void> settle_kept_directory(ResultDirectory& directory, ResultDirectory& parent,
                                     const std::string& name, RebaseRow* row);
  Result<void> merge_directory(ResultDirectory& directory, RebaseRow& row, bool has_base);
  // With kBoth what theirs has in the place stays, and the directory lies beside it.
  Result<void> make_again(ResultDirectory& directory, Resolution resolution);
  Result<void> make_directory(ResultDirectory& directory, ResultDirectory& parent,
                              const std::string& name);
  Result<PlannedFileId> id_of(ResultDirectory& directory);
  // Whether its place depends on that of a directory that is being settled.
  bool waits_for_directory(const std::string& ours_path) const;
  // What theirs has of what the old lower had in a place, also in a directory that both have moved.
  Result<std::optional<InodeNumber>> theirs_of(const std::string& base_path);
  // What theirs has in a place, unless ours has moved it away.
  Result<std::optional<InodeNumber>> holder_at(ResultDirectory& parent, const std::string& name);
  // What the old lower has in a place, unless ours has moved it away.
  Result<std::optional<InodeNumber>> base_at(const ResultDirectory& parent,
                                             const std::string& name);
  // What a rename or a new thing finds in its place, if theirs wants something of its own there.
  Result<std::optional<InodeNumber>> stranger_at(ResultDirectory& parent, const std::string& name,
                                                 std::optional<InodeNumber>& base);
  std::optional<std::string> ours_path_of(const std::string& base_path) const;
  // The other way round: what the old lower has as the counterpart of a path in ours.
  std::optional<std::string> base_path_of(const std::string& ours_path) const;
  // The directory of a name that neither side has any more: its times are those of both.
  Result<void> visit_directory_of(const std::string& base_path);
  // The directory of the result that has, or had, the old lower's name; nullptr where ours has
  // none.
  Result<ResultDirectory*> directory_of_old(const std::string& base_path);
  Result<void> remove_old_name(const std::string& base_path);
  Result<std::string> beside_name(ResultDirectory& parent, const std::string& name);

  // ---- files
  Result<void> settle_file(RebaseRow& row);
  Result<void> leave_file(RebaseRow& row);
  Result<void> settle_moved_file(RebaseRow& row, ResultDirectory& parent, const std::string& name);
  Result<void> settle_changed_file(RebaseRow& row, ResultDirectory& parent,
                                   const std::string& name);
  Result<void> settle_new_file(RebaseRow& row, ResultDirectory& parent, const std::string& name);
  Result<void> settle_new_link(RebaseRow& row, ResultDirectory& parent, const std::string& name);
  Result<void> merge_file(RebaseRow& row, ResultDirectory& parent, const std::string& name,
                          const ThreeFiles& files, bool is_followed);
  // What theirs has made of the file that a name more leads to; nothing where it has none.
  Result<std::optional<InodeNumber>> link_target(const RebaseRow& row);
  Result<void> place_decided(RebaseRow& row, ResultDirectory& parent, const std::string& name);
  Result<void> place_ours(RebaseRow& row, ResultDirectory& parent, const std::string& name);
  // Ours or theirs, as it was decided; true: nothing is left to do.
  Result<bool> decide_whole(RebaseRow& row, ResultDirectory& parent, const std::string& name,
                            const Raised& raised);
  Result<void> place_beside(RebaseRow& row, ResultDirectory& parent, const std::string& name);
  void take_privileges_of_copy(FileState& state, const std::string& path);

  // ---- link groups
  Result<void> find_lost_names();
  void count_named();
  Result<MergedFileFields> merged_of(InodeNumber ours, const PlacedFile& placed);
  Result<void> settle_group(InodeNumber ours, std::vector<FileOutcome>& outcomes);
  Result<void> settle_equal(InodeNumber ours, std::vector<FileOutcome*>& outcomes);
  Result<std::optional<InodeNumber>> existing_for(const std::vector<FileOutcome*>& outcomes);
  Result<PlannedFileId> planned_file(InodeNumber ours, const FileOutcome& outcome,
                                     std::optional<InodeNumber> existing);
  std::optional<PlannedContent> content_of(InodeNumber ours, const FileState& state) const;

  // ---- deletions
  Result<void> settle_deletion(const std::string& path, RebaseRow& row);

  // ---- whole trees
  Result<void> take_tree(const std::string& path, bool is_forced, bool replaces);
  Result<void> take_name(const std::string& path, bool is_forced);
  void take_row(RebaseRow& row);
  bool has_moved_elsewhere(const std::string& path) const;
  std::vector<std::string> rows_in(const std::string& path, bool is_tree) const;
  void forget_rows(const std::string& path, bool is_tree);
  Result<void> replace_directory(const std::string& path);
  Result<void> settle_unit(const RebaseUnit& unit);
  Result<Resolution> decide_unit(const RebaseUnit& unit);
  Result<bool> has_theirs_changed(const RebaseUnit& unit);
  Result<bool> is_unit_same(const RebaseUnit& unit);
  std::vector<std::string> paths_of(const RebaseUnit& unit) const;
  bool is_in_unit(const RebaseUnit& unit, const std::string& path) const;
  const RebaseRow* rename_above(const std::string& path, const std::string& top) const;
  void give_up_unit(const RebaseUnit& unit, bool is_open);

  const RebaseSources& sources_;
  const RebasePolicy& policy_;
  SideTree& base_;
  SideTree& ours_;
  SideTree& theirs_;
  FileMerge files_;
  PlanBuilder builder_;
  // Of files that are changed in place.
  std::deque<std::pair<PlannedNameKey, PlannedName>> staying_names_;
  RebaseReport report_;

  std::map<std::string, RebaseRow> rows_;               // by path in ours; "" is the root
  std::map<std::string, RebaseRow> deletions_;          // by path in the old lower
  std::map<std::string, std::string> moved_;            // by path in the old lower: path in ours
  std::map<std::string, ResultDirectory> directories_;  // by path in ours
  // Of directories that both have moved to the same name: old path, and theirs.
  std::map<std::string, InodeNumber> moved_alike_;
  std::multimap<InodeNumber, PlacedFile> groups_;  // by inode of ours
  // By inode of theirs: names of it that are removed, or lead to something else.
  std::map<InodeNumber, std::set<PlannedNameKey>> lost_names_;
  std::map<InodeNumber, unsigned> named_;         // by inode of ours: names that rows tell of
  std::map<InodeNumber, PlannedFileId> besides_;  // copies for "both"
  // Conflicts about files with several names: their indexes in the report, by class and the
  // inodes of base, ours and theirs (0: none).
  std::map<std::tuple<ConflictClass, uint32_t, uint32_t, uint32_t>, size_t> raised_;
  size_t last_raised_ = 0;         // index in the report
  std::deque<std::string> queue_;  // rows that are to be settled
  // Paths in the old lower that somebody has been told to be free, each with the path in ours
  // that needs it.
  std::set<std::pair<std::string, std::string>> vacated_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_COMPARISON_H
