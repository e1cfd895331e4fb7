// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/steady_image.h"

#include <algorithm>

namespace unionfs {

Result<void> SteadyImage::read(uint64_t offset, ByteSpan buffer) const {
  const uint64_t begin = offset - offset % block_size_;
  const uint64_t skip = offset - begin;
  const bool is_part = buffer.size() < block_size_ && skip + buffer.size() <= block_size_;
  if (!is_part || size_bytes() < block_size_ || begin > size_bytes() - block_size_) {
    return image_.read(offset, buffer);
  }
  const MutexLock lock(mutex_);
  if (begin_ != begin) {
    begin_.reset();
    bytes_.resize(block_size_);
    if (!image_.read(begin, bytes_)) {
      return image_.read(offset, buffer);  // what cannot be read may lie beside it
    }
    begin_ = begin;
  }
  std::ranges::copy(ConstByteSpan(bytes_).subspan(skip, buffer.size()), buffer.begin());
  return {};
}

}  // namespace unionfs
