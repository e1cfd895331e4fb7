// SPDX-License-Identifier: BSD-3-Clause
//
// A check of an upper from the start to the end: opened over its lower,
// checked, repaired if that is wanted, and checked again.
#ifndef UNIONFS_OVERLAY_CHECK_UPPER_CHECK_H
#define UNIONFS_OVERLAY_CHECK_UPPER_CHECK_H

#include <optional>
#include <string>
#include <vector>

#include "overlay/check/violations.h"
#include "overlay/host/file.h"
#include "overlay/host/log.h"
#include "overlay/stack/chain.h"

namespace unionfs {

enum class CheckPurpose { kLook, kRepair };

struct CheckReport {
  std::vector<Violation> found;         // by the first check
  std::vector<Violation> left;          // by the last one; as `found` where nothing was repaired
  bool is_repair_tried = false;         // wanted, and there was something to repair
  std::optional<Error> repair_failure;  // why the upper was not repaired, if it was tried
  // Parts of this upper that the last check looked at, and those that it did not, each as a line
  // for people.
  std::vector<std::string> checked;
  std::vector<std::string> not_checked;
  bool is_void = false;  // it has no layer yet

  size_t mended_count() const {
    return found.size() > left.size() ? found.size() - left.size() : 0;
  }
};

// Opens all files by their paths; those of the levels below the upper, the lowest first.  To look
// it takes no lock, so that a server may go on (see overlay/look/look.h); to repair it keeps out
// everybody else.  An error means that the check did not come to its end, and names the file: the
// host cannot open or read it, the lower is damaged, or the upper is no upper of this lower.  What
// a check that has no end found is not told, and nothing is repaired by it.
Result<CheckReport> check_upper(const LevelPaths& level_paths, const std::string& upper_path,
                                CheckPurpose purpose, const LogSink& log);
// The same of files that are open.  `upper` is written only to repair; `frozen` is that of
// Disk::load().
Result<CheckReport> check_upper(const Below& below, WritableFile& upper_file, CheckPurpose purpose,
                                const LogSink& log, const MergedView* frozen = nullptr);
// The same over a plain image.
Result<CheckReport> check_upper(const ReadableFile& lower_file, WritableFile& upper_file,
                                CheckPurpose purpose, const LogSink& log);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_UPPER_CHECK_H
