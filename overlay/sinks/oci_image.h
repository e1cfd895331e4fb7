// SPDX-License-Identifier: BSD-3-Clause
//
// An OCI image layout that gets an image more: one of its images with one more layer on top.
// Of the format: https://github.com/opencontainers/image-spec/blob/main/image-layout.md,
// manifest.md and config.md.
#ifndef UNIONFS_OVERLAY_SINKS_OCI_IMAGE_H
#define UNIONFS_OVERLAY_SINKS_OCI_IMAGE_H

#include <memory>
#include <string>

#include "overlay/host/posix_file.h"
#include "overlay/sinks/layer_blob.h"

namespace unionfs {

struct AddedImage {
  std::string layout;    // the directory
  std::string base_tag;  // empty: the only image that is there
  std::string new_tag;
};

// An opened layout whose index is locked.  Its files are input like any other: they are
// bounded, checked by their digests, and what they lack is an error that names the file.  Not
// thread-safe.
class OciImage {
 public:
  // kInvalid where there is no such image, more than one, or one with the new tag.
  // kUnsupported for an image of several platforms, and for one that is not OCI's.
  static Result<std::unique_ptr<OciImage>> open(const AddedImage& added);
  ~OciImage();
  OciImage(const OciImage&) = delete;
  OciImage& operator=(const OciImage&) = delete;

  // A new file for the layer, without a name so far.
  Result<std::unique_ptr<PosixFile>> create_layer() const;
  // Adds the image with this layer, which is all in `file`.  `created` in seconds since 1970.
  // Blobs are durable before the index names them.  After an error before that the layout has
  // blobs more that nothing refers to.  The digest of the manifest, hexadecimal.
  Result<std::string> add(PosixFile& file, const LayerBlob& layer, Compression compression,
                          int64_t created);

 private:
  struct Documents;

  OciImage(AddedImage added, std::unique_ptr<Documents> documents);

  Result<void> read_base();
  std::string blob_path(const std::string& digest) const;
  Result<void> publish_blob(PosixFile& file, const std::string& digest, uint64_t size_bytes) const;
  Result<std::string> add_document(const std::string& text) const;
  Result<void> replace_index();

  const AddedImage added_;
  const std::unique_ptr<Documents> documents_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SINKS_OCI_IMAGE_H
