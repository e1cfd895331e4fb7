// SPDX-License-Identifier: BSD-3-Clause
//
// Whatever an argument of a command names, as a tree.
#ifndef UNIONFS_OVERLAY_SOURCES_SOURCE_H
#define UNIONFS_OVERLAY_SOURCES_SOURCE_H

#include <string>
#include <string_view>

#include "overlay/sources/oci_source.h"
#include "overlay/sources/source_context.h"
#include "overlay/tree/file_tree.h"

namespace unionfs {

enum class SourceKind {
  kDirectory,           // "dir:PATH"
  kOverlayfsDirectory,  // "overlayfs:PATH"
  kTar,                 // "tar:PATH"
  kOciDirectory,        // "oci:PATH[:TAG]"
  kOciArchive,          // "oci-archive:PATH[:TAG]"
  kDockerArchive,       // "docker-archive:PATH[:NAME:TAG]"
  kImage,               // anything else that is a file: an image of a file system, perhaps
};

// What an argument of a command names.
struct NamedSource {
  SourceKind kind = SourceKind::kImage;
  std::string path;  // "-": the standard input
  std::string tag;   // of container images
};

// By the argument's prefix, as above; without one by what is there.  A directory with a file
// "oci-layout" is an image layout; another directory is a tree, or for kLayer the upper of an
// overlay file system; a file that begins as a tar archive or a compressed file does is one; "-"
// is an archive.  An archive whose first file is one of an image layout holds one, and likewise for
// what `docker save` writes.
Result<NamedSource> name_source(std::string_view argument, LayerUse use);

// Reads it: archives by TarRules::kPlain for LayerUse::kWholeTree, else by TarRules::kLayer.
// kInvalid for SourceKind::kImage, which others know how to read.
Result<FileTree> read_source(const NamedSource& source, LayerUse use, SourceContext& context);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_SOURCE_H
