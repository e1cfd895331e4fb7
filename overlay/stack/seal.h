// SPDX-License-Identifier: BSD-3-Clause
//
// Sealing: a layer that never changes again, with digests of what it is, so that others can
// stand on it.
#ifndef UNIONFS_OVERLAY_STACK_SEAL_H
#define UNIONFS_OVERLAY_STACK_SEAL_H

#include <string>

#include "overlay/host/cancellation.h"
#include "overlay/host/log.h"
#include "overlay/merged/layer_over_lower.h"

namespace unionfs {

// Reads the layer's tables, descriptors and superblock.
Result<upper_format::Digest> shape_digest_of(const LayerOverLower& layer);
// Reads all that the layer owns.
Result<upper_format::Seal> compute_seal(const LayerOverLower& layer,
                                        const std::atomic<bool>& is_cancelled);

// That the layer is sealed, and has the shape that its seal tells: kInvalid or kCorrupt if not.
// The cost follows groups and tables.
Result<void> check_sealed(const LayerOverLower& layer);
// That all of a sealed layer is what its seal tells; kCorrupt names the part that is not.
Result<void> check_sealed_content(const LayerOverLower& layer,
                                  const std::atomic<bool>& is_cancelled);

// Turns an open session into the layer and seals it.  `upper` belongs to nobody else, and can be
// written.  Afterwards it is a sealed layer, and durable as such; after an error it is an upper as
// before, or one whose session became its layer, or, if both headers could not be written, a
// sealed layer.  kInvalid where it is sealed already.
Result<upper_format::Seal> seal_upper(const Below& below, WritableFile& upper, const LogSink& log,
                                      const std::atomic<bool>& is_cancelled);

// Makes a copy of a sealed or frozen level an upper as it was before, with its session if it has
// one; syncs nothing.  Nobody may stand on the copy.  Whoever makes it answers for the session:
// that nothing had proven it is forgotten.
Result<void> unseal(WritableFile& copy);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_SEAL_H
