// SPDX-License-Identifier: BSD-3-Clause
//
// What changed against a level that is not the one directly below.
#ifndef UNIONFS_TOOLS_COMMAND_LINE_SINCE_H
#define UNIONFS_TOOLS_COMMAND_LINE_SINCE_H

#include <CLI/CLI.hpp>
#include <string>

#include "overlay/changes/tree_changes.h"
#include "overlay/stack/chain.h"

namespace unionfs::img {

// Adds --since.
CLI::Option* add_since(CLI::App& command, std::string& level);

// For visit_changes(): all layers above a level as one.  `level` is its number, which is 0 for
// the lower, or its file as it was given; nothing is to be done for the last one, and where it is
// empty.  kInvalid where there is no such level.  The layer is made in a temporary file when it is
// asked for.  Refers to the chain.
Result<LayerInstead> layers_since(const Chain& chain, const std::string& level);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_COMMAND_LINE_SINCE_H
