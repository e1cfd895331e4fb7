// SPDX-License-Identifier: BSD-3-Clause
//
// Bytes on their way out, one after another: to a file, a pipe, a digest, through a compression.
#ifndef UNIONFS_OVERLAY_SINKS_OUTPUT_STREAM_H
#define UNIONFS_OVERLAY_SINKS_OUTPUT_STREAM_H

#include "overlay/host/file.h"

namespace unionfs {

// Not thread-safe.
class OutputStream {
 public:
  virtual ~OutputStream() = default;
  // After an error nothing more may be added.
  virtual Result<void> add(ConstByteSpan bytes) = 0;
};

// Into a new file, from its begin on.  Refers to the file.
class FileOutput final : public OutputStream {
 public:
  explicit FileOutput(WritableFile& file) : file_(file) {}
  Result<void> add(ConstByteSpan bytes) override {
    UNIONFS_TRY(file_.write(length_, bytes));
    length_ += bytes.size();
    return {};
  }
  uint64_t length() const { return length_; }

 private:
  WritableFile& file_;
  uint64_t length_ = 0;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SINKS_OUTPUT_STREAM_H
