// SPDX-License-Identifier: BSD-3-Clause
//
// A tar in pax format, written by libarchive in a form that does not depend on locale, time or
// user.
#ifndef UNIONFS_OVERLAY_SINKS_TAR_STREAM_H
#define UNIONFS_OVERLAY_SINKS_TAR_STREAM_H

#include <memory>
#include <string>
#include <vector>

#include "overlay/sinks/archive_handle.h"
#include "overlay/tree/attribute_names.h"
#include "overlay/tree/file_state.h"

namespace unionfs {

// Not thread-safe.  Refers to the stream.  After an error nothing more may be written.
class TarStream {
 public:
  // Bytes beyond ASCII belong to no character set (hdrcharset=BINARY).  libarchive says so of
  // each entry or of none, at the price of a header for each, and GNU tar warns of each.
  enum class Names { kAscii, kBytes };

  // `names`: what paths and targets of links have.
  static Result<std::unique_ptr<TarStream>> open(OutputStream& out, Names names);

  // An entry by its path and state.  The content of a regular file, as many bytes as its size,
  // follows with add_content().  With `first_path` it is another name of the file that was added
  // under that one, and has no content.  Not of sockets.
  Result<void> add(const std::string& path, const FileState& state,
                   const std::vector<NamedAttribute>& attributes,
                   const std::string& first_path = {});
  Result<void> add_content(ConstByteSpan bytes);
  // After the last entry.
  Result<void> end();

 private:
  TarStream(std::unique_ptr<ArchiveHandle> archive, archive_entry* entry)
      : archive_(std::move(archive)), entry_(entry) {}

  struct FreeEntry {
    void operator()(archive_entry* entry) const;
  };

  std::unique_ptr<ArchiveHandle> archive_;
  std::unique_ptr<archive_entry, FreeEntry> entry_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SINKS_TAR_STREAM_H
