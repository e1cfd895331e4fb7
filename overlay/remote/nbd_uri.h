// SPDX-License-Identifier: BSD-3-Clause
//
// Addresses of NBD exports.  Source: NBD's uri.md, and libnbd's nbd_connect_uri(3).
#ifndef UNIONFS_OVERLAY_REMOTE_NBD_URI_H
#define UNIONFS_OVERLAY_REMOTE_NBD_URI_H

#include <string>

namespace unionfs {

// Whether the text is the address of an export: nbd://, nbds://, and with +unix or +vsock.
bool is_nbd_uri(const std::string& text);

// The address with the files that it names (socket=, tls-certificates=, tls-psk-file=) as seen from
// `directory`, an absolute path, where they are relative.
std::string absolute_nbd_uri(const std::string& uri, const std::string& directory);

// The address for others to see: without a password before the host, and of what stands behind the
// export without anything but the names of files.
std::string shown_nbd_uri(const std::string& uri);

// The same of a level, which may also be a file: its path as it is.
std::string shown_level(const std::string& path_or_uri);

// A message of libnbd's, which may have the address in it, with the address as others may see it.
std::string with_shown_uri(std::string message, const std::string& uri);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REMOTE_NBD_URI_H
