// SPDX-License-Identifier: BSD-3-Clause
//
// A tar archive (v7, ustar, pax, GNU; plain, or compressed with gzip, zstd or xz) as a tree.
//
// Everything in it is read as the archive says it, as numbers and bytes: no user, no group and no
// locale of this machine has a say, and nothing is made on the host but the spool.  The order of
// the entries has none either, but that a later entry of one name counts, as with tar: it
// takes the place of the one before, with all below it, but a directory over a directory only
// replaces what it is.  Directories that no entry describes are implied ones.  Symlinks are never
// followed, so an entry below one is an error; names with ".." are, too; slashes in front go, with
// a warning.  A hard link may come before the file it leads to.  Times of access and of change
// are those of modification, because archives of one tree differ in them.
//
// Formats: POSIX.1-2001 pax, and libarchive's tar(5), for SCHILY.xattr and SCHILY.acl, too.
#ifndef UNIONFS_OVERLAY_SOURCES_TAR_SOURCE_H
#define UNIONFS_OVERLAY_SOURCES_TAR_SOURCE_H

#include <string>

#include "overlay/sources/source_context.h"
#include "overlay/tree/file_tree.h"

namespace unionfs {

enum class TarRules {
  // What a tree was: names that begin with ".wh." are names as any others (a warning tells that
  // there are some).  An archive of somebody's container storage has such files, and who makes a
  // base of it wants them back.
  kPlain,
  // A layer as OCI's image specification has it (layer.md): ".wh.NAME" is a whiteout of NAME, and
  // ".wh..wh..opq" makes its directory opaque.  They speak of what lies below the layer alone,
  // wherever they stand in it: NAME in the same layer stays, and a directory of this name is
  // opaque.  What aufs left (other names with ".wh..wh.") is left out with a warning.
  kLayer,
};

// Whether the zeros are asked for that end an archive.
enum class TarEnd {
  kRequired,
  // The caller compares a digest of all bytes, so nothing is cut.  umoci-insert writes no zeros.
  kOptional,
};

class ByteStream;

// `path` may be "-", the standard input.  Errors name the archive and the entry: kCorrupt for what
// is no archive or a cut one, kInvalid for what no archive may ask for, kUnsupported for what is
// beyond a limit.
Result<FileTree> read_tar(const std::string& path, TarRules rules, SourceContext& context);
// The same of a stream, which is read to its end.
Result<FileTree> read_tar_stream(ByteStream& stream, TarRules rules, SourceContext& context);
// The same of one that is not compressed.
Result<FileTree> read_unpacked_tar(ByteStream& stream, TarRules rules, TarEnd end,
                                   SourceContext& context);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_TAR_SOURCE_H
