// SPDX-License-Identifier: BSD-3-Clause
//
// Who decides a conflict, and how.
#ifndef UNIONFS_OVERLAY_REBASE_POLICY_H
#define UNIONFS_OVERLAY_REBASE_POLICY_H

#include <string>
#include <string_view>
#include <vector>

#include "overlay/rebase/report.h"

namespace unionfs {

// A pattern of paths.  `*` and `?` stay inside a component, `**` crosses them, `[...]` is a set
// of bytes, a backslash takes the next byte as it is.  A pattern that does not begin with a
// slash stands for any directory above ("*.conf" is "/**/*.conf").  Works on bytes.
bool matches_path(std::string_view pattern, std::string_view path);

// How files keep their owner where an id means two names.
enum class IdPolicy { kAsk, kNumbers, kNames };

struct PathDecision {
  std::string pattern;
  Resolution resolution = Resolution::kOurs;  // kOurs or kTheirs
};

struct RebasePolicy {
  Resolution conflicts = Resolution::kNone;  // of all that no pattern decides
  std::vector<PathDecision> patterns;        // the first that matches counts
  std::vector<std::string> ours_trees;       // all below these paths is as in the old merged image
  IdPolicy ids = IdPolicy::kAsk;
};

struct Decision {
  Resolution resolution = Resolution::kNone;
  std::string decided_by;
};
// What nobody decides and ldconfig makes anew is theirs.  `from` may be empty.  kOwner and kLimit
// are not decided here.
Decision decide(const RebasePolicy& policy, std::string_view path, std::string_view from);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_POLICY_H
