// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/report.h"

#include <algorithm>
#include <set>

#include "overlay/rebase/side_tree.h"

namespace unionfs {

const char* name_of(ConflictClass conflict_class) {
  switch (conflict_class) {
    case ConflictClass::kEditEdit:
      return "edit/edit";
    case ConflictClass::kEditDelete:
      return "edit/delete";
    case ConflictClass::kDeleteEdit:
      return "delete/edit";
    case ConflictClass::kAddAdd:
      return "add/add";
    case ConflictClass::kMetadata:
      return "metadata";
    case ConflictClass::kType:
      return "type";
    case ConflictClass::kRenameDelete:
      return "rename/delete";
    case ConflictClass::kRenameAdd:
      return "rename/add";
    case ConflictClass::kUnit:
      return "unit";
    case ConflictClass::kOwner:
      return "owner";
    case ConflictClass::kLimit:
      return "limit";
    case ConflictClass::kNeedsOld:
      return "needs-old";
  }
  return "";
}

const char* name_of(Resolution resolution) {
  switch (resolution) {
    case Resolution::kOurs:
      return "ours";
    case Resolution::kTheirs:
      return "theirs";
    case Resolution::kBoth:
      return "both";
    case Resolution::kNone:
      break;
  }
  return "";
}

bool RebaseReport::has_undecided() const {
  return std::any_of(conflicts.begin(), conflicts.end(), [](const Conflict& conflict) {
    return conflict.resolution == Resolution::kNone &&
           conflict.conflict_class != ConflictClass::kLimit;
  });
}

bool RebaseReport::has_limits() const {
  return std::any_of(conflicts.begin(), conflicts.end(), [](const Conflict& conflict) {
    return conflict.conflict_class == ConflictClass::kLimit;
  });
}

void RebaseReport::finish() {
  std::set<std::string> open;
  for (const Conflict& conflict : conflicts) {
    if (conflict.resolution == Resolution::kNone) {
      open.insert(conflict.path);
      open.insert(conflict.links.begin(), conflict.links.end());
    }
  }
  std::erase_if(dropped, [&open](const std::string& path) {
    for (std::string at = path; !at.empty(); at = split_path(at).first) {
      if (open.contains(at)) {
        return true;
      }
    }
    return false;
  });
  std::stable_sort(conflicts.begin(), conflicts.end(),
                   [](const Conflict& a, const Conflict& b) { return a.path < b.path; });
  for (std::vector<std::string>* list : {&applied, &merged, &dropped}) {
    std::sort(list->begin(), list->end());
    list->erase(std::unique(list->begin(), list->end()), list->end());
  }
}

}  // namespace unionfs
