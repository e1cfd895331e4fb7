// SPDX-License-Identifier: BSD-3-Clause
//
// The files of an OCI image layout, and what its JSON says.
#ifndef UNIONFS_OVERLAY_SOURCES_OCI_LAYOUT_H
#define UNIONFS_OVERLAY_SOURCES_OCI_LAYOUT_H

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "overlay/sources/checked_stream.h"
#include "overlay/sources/oci_source.h"

namespace unionfs {

// A part of descriptor.md and image-index.md.
struct BlobDescriptor {
  std::string media_type;
  BlobDigest digest;
  uint64_t size_bytes = 0;
  std::string tag;       // org.opencontainers.image.ref.name
  std::string platform;  // "linux/amd64"; empty: none is told
};

// What a manifest and its configuration say of the layers, bottom first.
struct ImageLayer {
  BlobDescriptor blob;
  BlobDigest unpacked;  // diff id
};

// Where the files of a layout are.  Not thread-safe.
class OciLayout {
 public:
  virtual ~OciLayout() = default;

  virtual const std::string& name() const = 0;
  // "index.json", "blobs/sha256/...".
  virtual Result<std::unique_ptr<ByteStream>> open(const std::string& path) = 0;

  Result<std::unique_ptr<ByteStream>> open_blob(const BlobDigest& digest);
  // Reads it, and holds it against its descriptor.
  Result<std::string> read_blob(const BlobDescriptor& blob, size_t most_bytes);
};

// A directory, or an archive, which is read into the spool.  kInvalid for what is no layout.
Result<std::unique_ptr<OciLayout>> open_layout(const OciReference& reference,
                                               SourceContext& context);

// The image that the tag names, for this machine.
Result<std::vector<ImageLayer>> find_layers(OciLayout& layout, const std::string& tag,
                                            const SourceLimits& limits);

// ---- what find_layers() is made of.  `where` begins messages, and `text` is JSON -----------

Result<std::vector<BlobDescriptor>> parse_index(std::string_view text, std::string_view where);
// The first one of the tag and for the platform; which platform does not matter where there is one
// alone.
Result<BlobDescriptor> choose_image(const std::vector<BlobDescriptor>& images,
                                    const std::string& tag, std::string_view platform,
                                    std::string_view where);
struct ImageManifest {
  BlobDescriptor configuration;
  std::vector<BlobDescriptor> layers;
};
Result<ImageManifest> parse_manifest(std::string_view text, const SourceLimits& limits,
                                     std::string_view where);
// rootfs.diff_ids.
Result<std::vector<BlobDigest>> parse_configuration(std::string_view text, std::string_view where);
// "linux/amd64", by the names of Go.
std::string host_platform();

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_OCI_LAYOUT_H
