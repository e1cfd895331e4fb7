// SPDX-License-Identifier: BSD-3-Clause
//
// What commands that read files from elsewhere read them with.
#ifndef UNIONFS_TOOLS_COMMAND_LINE_SOURCE_CONTEXT_H
#define UNIONFS_TOOLS_COMMAND_LINE_SOURCE_CONTEXT_H

#include "overlay/sources/source_context.h"

namespace unionfs::img {

// Contents that lie in no file by themselves are kept in $TMPDIR, or else in /var/tmp; warnings
// become notes.  While it lives, a terminal shows how much was read.
Result<SourceContext> make_source_context();

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_COMMAND_LINE_SOURCE_CONTEXT_H
