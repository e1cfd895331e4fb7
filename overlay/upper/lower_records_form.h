// SPDX-License-Identifier: BSD-3-Clause
//
// The records of the lower that a new layer has: those of the layer before that still
// hold, and new ones of what has become own or gone.
#ifndef UNIONFS_OVERLAY_UPPER_LOWER_RECORDS_FORM_H
#define UNIONFS_OVERLAY_UPPER_LOWER_RECORDS_FORM_H

#include <functional>
#include <string>

#include "overlay/upper/layer.h"
#include "overlay/upper/lower_digest.h"

namespace unionfs {

LayerBits bits_of(const Layer& layer);

// A layer whose records hold for what has not changed since.
struct FormerRecords {
  const LowerRecords& records;
  LayerBits bits;
  // Whether the blocks of an own inode may be others now.
  std::function<bool(InodeNumber)> is_changed;
};

// Without `former`, everything is looked at.  kInvalid if the lower is not any more
// what a former record says: it was changed under a disk.  `upper_name` is for that
// message.
Result<LowerRecords> form_lower_records(const Volume& lower, const LayerBits& bits,
                                        const std::vector<TranslatedBlock>& translated,
                                        const FormerRecords* former, const std::string& upper_name,
                                        const std::atomic<bool>& is_cancelled);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_LOWER_RECORDS_FORM_H
