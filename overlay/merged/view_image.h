// SPDX-License-Identifier: BSD-3-Clause
//
// A merged view as an image, so that fsparse reads the merged ext2 as it reads
// any other.
#ifndef UNIONFS_OVERLAY_MERGED_VIEW_IMAGE_H
#define UNIONFS_OVERLAY_MERGED_VIEW_IMAGE_H

#include <string>
#include <utility>

#include "overlay/merged/merged_view.h"

namespace unionfs {

// Thread-safe as the view is, which must outlive it.
class ViewImage final : public Image {
 public:
  ViewImage(std::string name, const MergedView& view) : name_(std::move(name)), view_(view) {}

  const std::string& name() const override { return name_; }
  uint64_t size_bytes() const override { return view_.size_bytes(); }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override {
    if (offset > size_bytes() || buffer.size() > size_bytes() - offset) {
      return corrupt("{}: {} bytes at offset {} are past its end", name_, buffer.size(), offset);
    }
    return view_.read(offset, buffer);
  }

 private:
  std::string name_;
  const MergedView& view_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_VIEW_IMAGE_H
