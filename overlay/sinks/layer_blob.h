// SPDX-License-Identifier: BSD-3-Clause
//
// A layer of OCI as it is stored: its tar, perhaps compressed, and the digests of both.
#ifndef UNIONFS_OVERLAY_SINKS_LAYER_BLOB_H
#define UNIONFS_OVERLAY_SINKS_LAYER_BLOB_H

#include "overlay/sinks/compressed_stream.h"
#include "overlay/sinks/layer_tar.h"

namespace unionfs {

struct LayerBlob {
  LayerTarReport report;
  std::string diff_id;  // SHA-256 of the tar, hexadecimal
  std::string digest;   // of the blob
  uint64_t size_bytes = 0;
};

// Errors: see write_layer_tar().
Result<LayerBlob> write_layer_blob(const FileTree& tree, const LayerTarOptions& options,
                                   Compression compression, OutputStream& out);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SINKS_LAYER_BLOB_H
