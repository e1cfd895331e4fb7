// SPDX-License-Identifier: BSD-3-Clause
//
// libarchive's writer over a stream.
#ifndef UNIONFS_OVERLAY_SINKS_ARCHIVE_HANDLE_H
#define UNIONFS_OVERLAY_SINKS_ARCHIVE_HANDLE_H

#include <functional>
#include <memory>
#include <string>

#include "overlay/sinks/output_stream.h"

struct archive;
struct archive_entry;

namespace unionfs {

// Not thread-safe.  Refers to the stream.
class ArchiveHandle {
 public:
  // `set_up` chooses format and filters, before the archive is opened; gives a code of
  // libarchive's.
  static Result<std::unique_ptr<ArchiveHandle>> open(OutputStream& out,
                                                     const std::function<int(archive*)>& set_up);
  ~ArchiveHandle();
  ArchiveHandle(const ArchiveHandle&) = delete;
  ArchiveHandle& operator=(const ArchiveHandle&) = delete;

  archive* get() const { return archive_; }
  // Of a code: everything but ARCHIVE_OK is an error, which is the stream's if that had one.
  Result<void> check(int code, const std::string& what);
  Result<void> write(ConstByteSpan bytes);
  Result<void> close();

 private:
  explicit ArchiveHandle(OutputStream& out) : out_(out) {}

  OutputStream& out_;
  archive* archive_ = nullptr;
  Result<void> written_;  // by the stream
  bool is_abandoned_ = false;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SINKS_ARCHIVE_HANDLE_H
