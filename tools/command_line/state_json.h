// SPDX-License-Identifier: BSD-3-Clause
//
// The JSON of a file's state, as the reports of diff and rebase have it.  The manual of
// unionfs-img says it for users (JSON).
#ifndef UNIONFS_TOOLS_COMMAND_LINE_STATE_JSON_H
#define UNIONFS_TOOLS_COMMAND_LINE_STATE_JSON_H

#include <string>
#include <string_view>

#include "overlay/tree/file_state.h"
#include "tools/command_line/text.h"

namespace unionfs::img {

// RFC 4648, section 4, with padding.
std::string base64(ConstByteSpan bytes);

// Bytes that people read as text, such as a path: `key` has them as printable() does, and
// KEY_base64 the bytes themselves, where that is not the same.
void put_bytes(Json& json, const std::string& key, std::string_view bytes);

// {"sec": seconds since 1970, "nsec": nanoseconds}
Json to_json(const FileTime& time);

// Always inode, type, mode (the permission bits, octal, as a string of four digits), uid, gid,
// flags (by kUserFlags), size, links, mtime and ctime.  crtime where the inode keeps it, target
// of symlinks, device of devices, xattrs where there are any: by full name as printable() has
// it, from which the bytes can be got back, each with its value as the image stores it, in
// base64.
Json to_json(const FileState& state);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_COMMAND_LINE_STATE_JSON_H
