// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sinks/layer_blob.h"

#include "overlay/sinks/digest.h"

namespace unionfs {

Result<LayerBlob> write_layer_blob(const FileTree& tree, const LayerTarOptions& options,
                                   Compression compression, OutputStream& out) {
  LayerBlob blob;
  if (compression == Compression::kNone) {
    DigestOutput tar(&out);
    UNIONFS_ASSIGN(blob.report, write_layer_tar(tree, options, tar));
    UNIONFS_ASSIGN(blob.diff_id, tar.hex());
    blob.digest = blob.diff_id;
    blob.size_bytes = tar.length();
    return blob;
  }
  DigestOutput compressed(&out);
  UNIONFS_ASSIGN(const auto compressor, CompressedStream::open(compressed, compression));
  DigestOutput tar(compressor.get());
  UNIONFS_ASSIGN(blob.report, write_layer_tar(tree, options, tar));
  UNIONFS_TRY(compressor->end());
  UNIONFS_ASSIGN(blob.diff_id, tar.hex());
  UNIONFS_ASSIGN(blob.digest, compressed.hex());
  blob.size_bytes = compressed.length();
  return blob;
}

}  // namespace unionfs
