// SPDX-License-Identifier: BSD-3-Clause
//
// Collects a plan over the new lower.
#ifndef UNIONFS_OVERLAY_REBASE_PLAN_BUILDER_H
#define UNIONFS_OVERLAY_REBASE_PLAN_BUILDER_H

#include <map>
#include <string>

#include "overlay/changes/plan.h"
#include "overlay/rebase/side_tree.h"

namespace unionfs {

// Not thread-safe.  Refers to the new lower's tree, which must outlive it.
class PlanBuilder {
 public:
  static Result<PlanBuilder> make(SideTree& theirs);

  // The planned file that is this inode of the new lower; as it is there, at first.
  Result<PlannedFileId> existing(InodeNumber inode);
  // Whether it is in the plan already.
  bool has(InodeNumber inode) const { return ids_.contains(inode); }
  // A new one.
  PlannedFileId add(FileState state, std::optional<PlannedContent> content);

  PlannedFile& file(PlannedFileId id) { return plan_.files[id]; }

  // Makes a name lead to a file, or go.  The last word counts.
  void set_name(PlannedFileId directory, const std::string& name, std::optional<PlannedFileId> file,
                const std::string& path);
  // What the plan says of a name; nothing if it does not speak of it.
  const PlannedName* name(PlannedFileId directory, const std::string& name) const;

  Plan& plan() { return plan_; }

 private:
  explicit PlanBuilder(SideTree& theirs) : theirs_(&theirs) {}

  SideTree* theirs_;
  Plan plan_;
  std::map<InodeNumber, PlannedFileId> ids_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_PLAN_BUILDER_H
