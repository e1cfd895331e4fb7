// SPDX-License-Identifier: BSD-3-Clause
//
// Bytes that come one after the other, once: of a pipe, a file, a blob, a decompressor.
#ifndef UNIONFS_OVERLAY_SOURCES_BYTE_STREAM_H
#define UNIONFS_OVERLAY_SOURCES_BYTE_STREAM_H

#include <memory>
#include <string>
#include <vector>

#include "fsparse/image.h"
#include "overlay/sources/source_context.h"
#include "overlay/tree/file_bytes.h"

namespace unionfs {

// Not thread-safe.
class ByteStream {
 public:
  virtual ~ByteStream() = default;

  // How the source is called in messages.
  virtual const std::string& name() const = 0;
  // Fills the beginning of the buffer, which is not empty, and returns how much of it.  0: the
  // end.  Errors name the source.
  virtual Result<size_t> read(ByteSpan buffer) = 0;
};

// Of a file, a device or a pipe; "-" is the standard input.  Refers to the context, whose
// progress it tells.
Result<std::unique_ptr<ByteStream>> open_stream(const std::string& path, SourceContext& context);
// Takes the descriptor, and closes it.
std::unique_ptr<ByteStream> stream_of_descriptor(std::string name, int descriptor,
                                                 SourceContext& context);

std::unique_ptr<ByteStream> stream_of_bytes(std::string name, std::shared_ptr<FileBytes> bytes);
std::unique_ptr<ByteStream> stream_in_memory(std::string name, std::vector<std::byte> bytes);

// Reads to the end, which kUnsupported says is too far away if it lies behind `most` bytes.
Result<std::vector<std::byte>> read_whole_stream(ByteStream& stream, size_t most);
// Reads to the end.
Result<void> drain_stream(ByteStream& stream);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_BYTE_STREAM_H
