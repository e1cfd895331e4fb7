// SPDX-License-Identifier: BSD-3-Clause
//
// What `docker save` wrote before it wrote image layouts of OCI, and what `skopeo copy` and
// `podman save` write as docker-archive.  Format: Docker image specification 1.2, "Combined Image
// JSON + Filesystem Changeset Format": a tar archive with a manifest.json that names a
// configuration and layers for each image.
#ifndef UNIONFS_OVERLAY_SOURCES_DOCKER_ARCHIVE_H
#define UNIONFS_OVERLAY_SOURCES_DOCKER_ARCHIVE_H

#include <string>

#include "overlay/sources/oci_source.h"
#include "overlay/sources/tree_builder.h"

namespace unionfs {

// Whether only such an archive begins with this file, which is no directory.
bool is_of_docker_archive(const EntryPath& path);

// All layers of the image with this tag ("name:tag") over one another; without a tag, of the only
// image.  Layers may be compressed, and symlinks within the archive.  Each is held against its diff
// id; nothing tells of a digest of the configuration.  The whole archive comes through the spool.
// Errors name the archive and the file in it.
Result<FileTree> read_docker_archive(const std::string& path, const std::string& tag, LayerUse use,
                                     SourceContext& context);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_DOCKER_ARCHIVE_H
