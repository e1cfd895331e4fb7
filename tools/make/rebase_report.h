// SPDX-License-Identifier: BSD-3-Clause
//
// What unionfs-img rebase tells of a rebase: for people, and as JSON.
// docs/rebase.schema.json has the shape of the JSON.
#ifndef UNIONFS_TOOLS_MAKE_REBASE_REPORT_H
#define UNIONFS_TOOLS_MAKE_REBASE_REPORT_H

#include <optional>
#include <string>

#include "overlay/rebase/rebase.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/text.h"

namespace unionfs::img {

// One of the two lowers.
struct RebasedLower {
  std::string path;  // as it was given, without what is secret in an address
  const Volume* volume = nullptr;
  uint64_t merged_bytes = 0;
};

// Refers to all of it.
struct RebaseSummary {
  std::optional<RebasedLower> old_lower;  // none: it is gone
  RebasedLower new_lower;
  std::string upper;                  // as it was given
  std::optional<std::string> output;  // -o
  std::string kept_as;                // of the old upper; empty: it is not kept, or not replaced
  uint64_t session_blocks = 0;        // of the old upper
  bool is_dry_run = false;
  const RebaseOutcome& outcome;
};

// What diff --against does: tells what a rebase onto that lower would do, and changes nothing.
// The exit status is that of the rebase.
Result<int> tell_of_rebase(const CommonArguments& images, const LevelPaths& onto);

Json rebase_json(const RebaseSummary& summary);
void print_rebase(const RebaseSummary& summary);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_MAKE_REBASE_REPORT_H
