// SPDX-License-Identifier: BSD-3-Clause
//
// A tree with marks as a layer of OCI: a tar that has the same bytes for the same tree on every
// machine, in every locale.  docs/export.md says what they are.  Of the format:
// https://github.com/opencontainers/image-spec/blob/main/layer.md
#ifndef UNIONFS_OVERLAY_SINKS_LAYER_TAR_H
#define UNIONFS_OVERLAY_SINKS_LAYER_TAR_H

#include <functional>
#include <string>
#include <vector>

#include "overlay/sinks/output_stream.h"
#include "overlay/tree/file_tree.h"

namespace unionfs {

struct LayerTarOptions {
  // Modification times keep what is below a second.
  bool has_nanoseconds = false;
  // Of whiteouts and opaque marks, in seconds since 1970.
  int64_t mark_time = 0;
  // Called now and then with the bytes of contents that were written.
  std::function<void(uint64_t)> progress = {};
};

struct LayerTarReport {
  uint64_t files = 0;      // names but marks, hard links among them
  uint64_t whiteouts = 0;  // opaque marks not among them
  uint64_t content_bytes = 0;
  std::vector<std::string> sockets;  // their paths: left out, or whited out
};

// kInvalid, before anything is written, for what such a layer cannot say: names that begin with
// ".wh.", fallthrus, and attributes whose names have no form there.  Sockets are left out.
// Memory follows the names, never a file's size.
Result<LayerTarReport> write_layer_tar(const FileTree& tree, const LayerTarOptions& options,
                                       OutputStream& out);

// Sum of the sizes of all files that are named, each once: what progress goes up to.
uint64_t content_bytes_of(const FileTree& tree);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SINKS_LAYER_TAR_H
