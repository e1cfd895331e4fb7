// SPDX-License-Identifier: BSD-3-Clause
//
// One file's bytes in another file.
#ifndef UNIONFS_OVERLAY_HOST_FILE_COPY_H
#define UNIONFS_OVERLAY_HOST_FILE_COPY_H

#include <atomic>
#include <functional>

#include "overlay/host/file.h"

namespace unionfs {

// Makes `to`, an empty file, as long as `from`, with the same bytes and holes.  The two share
// their space where the host can do that.  Nobody may change `from` meanwhile.  Syncs nothing.
// `progress`, if there is one, is told up to which offset the copy is done.
Result<void> copy_file(const ReadableFile& from, WritableFile& to,
                       const std::atomic<bool>& is_cancelled,
                       const std::function<void(uint64_t)>& progress = {});

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_FILE_COPY_H
