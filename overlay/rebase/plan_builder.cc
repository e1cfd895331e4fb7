// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/plan_builder.h"

#include <utility>

namespace unionfs {

Result<PlanBuilder> PlanBuilder::make(SideTree& theirs) {
  PlanBuilder builder(theirs);
  UNIONFS_TRY(builder.existing(kRootDirectory));
  return builder;
}

Result<PlannedFileId> PlanBuilder::existing(InodeNumber inode) {
  if (const auto known = ids_.find(inode); known != ids_.end()) {
    return known->second;
  }
  UNIONFS_ASSIGN(const SharedState state, theirs_->state(inode));
  const PlannedFileId id = add(*state, std::nullopt);
  plan_.files[id].existing = inode;
  ids_.emplace(inode, id);
  return id;
}

PlannedFileId PlanBuilder::add(FileState state, std::optional<PlannedContent> content) {
  plan_.files.push_back({std::nullopt, std::move(state), content});
  return static_cast<PlannedFileId>(plan_.files.size() - 1);
}

void PlanBuilder::set_name(PlannedFileId directory, const std::string& name,
                           std::optional<PlannedFileId> file, const std::string& path) {
  plan_.names[{directory, name}] = {file, path};
}

const PlannedName* PlanBuilder::name(PlannedFileId directory, const std::string& name) const {
  const auto found = plan_.names.find({directory, name});
  return found == plan_.names.end() ? nullptr : &found->second;
}

}  // namespace unionfs
