// SPDX-License-Identifier: BSD-3-Clause
//
// The standard output as a stream of bytes.
#ifndef UNIONFS_TOOLS_COMMAND_LINE_STANDARD_STREAM_H
#define UNIONFS_TOOLS_COMMAND_LINE_STANDARD_STREAM_H

#include <cstdio>

#include "overlay/sinks/output_stream.h"

namespace unionfs::img {

// What was written there cannot be taken back, so whoever looks at a disk a second time asks
// whether anything was.
class StandardStream final : public OutputStream {
 public:
  Result<void> add(ConstByteSpan bytes) override {
    has_begun_ = true;
    if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size()) {
      return system_failure(errno, "cannot write to the standard output");
    }
    return {};
  }
  bool has_begun() const { return has_begun_; }

 private:
  bool has_begun_ = false;
};

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_COMMAND_LINE_STANDARD_STREAM_H
