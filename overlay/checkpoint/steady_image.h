// SPDX-License-Identifier: BSD-3-Clause
//
// An image that nobody writes for a while.  A checkpoint reads inode after inode, and each of
// them would be a read of its own, or a whole block of inodes computed anew.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_STEADY_IMAGE_H
#define UNIONFS_OVERLAY_CHECKPOINT_STEADY_IMAGE_H

#include <optional>
#include <vector>

#include "fsparse/image.h"
#include "overlay/host/mutex.h"

namespace unionfs {

// Keeps the block that was last read in part.  Reads of whole blocks, and of more, pass by.
// Thread-safe.
class SteadyImage final : public Image {
 public:
  // The image must outlive this.
  SteadyImage(const Image& image, uint32_t block_size_bytes)
      : image_(image), block_size_(block_size_bytes) {}

  const std::string& name() const override { return image_.name(); }
  uint64_t size_bytes() const override { return image_.size_bytes(); }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override;

 private:
  const Image& image_;
  const uint32_t block_size_;
  mutable Mutex mutex_;
  mutable std::vector<std::byte> bytes_ UNIONFS_GUARDED_BY(mutex_);
  mutable std::optional<uint64_t> begin_ UNIONFS_GUARDED_BY(mutex_);  // of bytes_, in the image
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_STEADY_IMAGE_H
