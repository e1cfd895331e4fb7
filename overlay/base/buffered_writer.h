// SPDX-License-Identifier: BSD-3-Clause
//
// Writes of small pieces that follow one another, joined to large ones.
#ifndef UNIONFS_OVERLAY_BASE_BUFFERED_WRITER_H
#define UNIONFS_OVERLAY_BASE_BUFFERED_WRITER_H

#include <algorithm>
#include <vector>

#include "overlay/host/file.h"

namespace unionfs {

// One thread.
class BufferedWriter {
 public:
  // Refers to the sink.
  explicit BufferedWriter(ByteSink& out) : out_(out), buffer_(kBufferBytes) {}

  Result<void> write(uint64_t offset, ConstByteSpan bytes) {
    if (offset != begin_ + used_ || used_ + bytes.size() > buffer_.size()) {
      UNIONFS_TRY(flush());
      begin_ = offset;
    }
    if (bytes.size() > buffer_.size()) {
      return out_.write(offset, bytes);
    }
    std::ranges::copy(bytes, buffer_.data() + used_);
    used_ += bytes.size();
    return {};
  }

  // To be called after the last write.
  Result<void> flush() {
    const size_t used = used_;
    begin_ += used;
    used_ = 0;
    return used == 0 ? Result<void>()
                     : out_.write(begin_ - used, ConstByteSpan(buffer_).first(used));
  }

 private:
  static constexpr size_t kBufferBytes = size_t{1} << 20;

  ByteSink& out_;
  uint64_t begin_ = 0;  // of what is in the buffer
  size_t used_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_BASE_BUFFERED_WRITER_H
