// SPDX-License-Identifier: BSD-3-Clause
//
// A container image, in an OCI image layout, as a tree.  Format: OCI image specification 1.1,
// image-layout.md, image-index.md, manifest.md, layer.md; Docker's media types (version 2, schema
// 2) are read, too.
#ifndef UNIONFS_OVERLAY_SOURCES_OCI_SOURCE_H
#define UNIONFS_OVERLAY_SOURCES_OCI_SOURCE_H

#include <string>
#include <string_view>
#include <vector>

#include "overlay/sources/source_context.h"
#include "overlay/tree/file_tree.h"

namespace unionfs {

// What becomes of whiteouts of names that no layer below has.
enum class LayerUse {
  kWholeTree,  // nothing lies below: they are gone
  kLayer,      // something does: they stay
};

struct OciReference {
  std::string path;  // a directory, or a tar archive of one
  bool is_archive = false;
  std::string tag;  // empty: the only image there is
};

// "oci:DIR[:TAG]" or "oci-archive:FILE[:TAG]", as skopeo writes them.  The path ends at the first
// colon before which there is something, unless the whole is there.
Result<OciReference> parse_oci_reference(std::string_view argument);
// Path and tag behind a prefix of this length, cut in the same way.
Result<OciReference> split_reference(std::string_view argument, size_t prefix);

// All layers of the image over one another.  Of an index with images for several platforms the one
// for Linux on this machine's architecture is taken.  Each blob is held against its size and
// digest while it is read, and each layer against its diff id; contents of an archive
// come through the spool.  Errors name the layout and the blob.
Result<FileTree> read_oci_image(const OciReference& reference, LayerUse use,
                                SourceContext& context);

// Lays a layer over a tree, bottom first, as lay_over() does.  kInvalid where the layer
// has something in a directory that it does not describe, and the tree has a symlink or a file
// of this name: programs differ in what they make of it, and one would lose the link.
Result<void> lay_layer_over(FileTree& tree, FileTree layer, LayerUse use, const std::string& name);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_OCI_SOURCE_H
