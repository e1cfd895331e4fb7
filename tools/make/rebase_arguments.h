// SPDX-License-Identifier: BSD-3-Clause
//
// What unionfs-img rebase is told.
#ifndef UNIONFS_TOOLS_MAKE_REBASE_ARGUMENTS_H
#define UNIONFS_TOOLS_MAKE_REBASE_ARGUMENTS_H

#include <string>

#include "overlay/host/posix_file.h"
#include "overlay/rebase/policy.h"
#include "tools/command_line/arguments.h"

namespace unionfs::img {

struct RebaseArguments : CommonArguments {
  LevelPaths onto;
  std::string output;  // empty: in the place of the upper
  std::string size;
  bool is_without_old = false;
  bool is_dry_run = false;
  bool only_tells = false;  // for diff: whether the upper could be replaced is no matter
  bool without_backup = false;
  bool verifies_all = false;
  bool moves_chain = false;  // the layers below the upper, too
  RebasePolicy policy;
};

// Whether the upper has a layer that can be carried over.  kInvalid, saying what to type instead,
// where it is void.  `levels` names what is below it, as options, and `name` is the upper's for
// people.
Result<void> check_has_layer(const PosixFile& upper, const std::string& name,
                             const std::string& levels);

// With `moves_chain`: carries each layer over to what has become of the level below it, the
// lowest first, and the upper last.  Gives the exit status.
Result<int> rebase_chain(const RebaseArguments& arguments);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_MAKE_REBASE_ARGUMENTS_H
