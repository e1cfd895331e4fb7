// SPDX-License-Identifier: BSD-3-Clause
//
// Names of exports, which clients choose, and of their files in the directory of uppers.
#ifndef UNIONFS_OVERLAY_SERVICE_EXPORT_NAME_H
#define UNIONFS_OVERLAY_SERVICE_EXPORT_NAME_H

#include <optional>
#include <string>
#include <string_view>

#include "fsparse/result.h"

namespace unionfs {

// In bytes: what is put behind a name, of a file that is kept beside a new one, has room.
constexpr size_t kMaxExportName = 220;

// Whether a client may ask for it: UTF-8, 1 to kMaxExportName bytes, no control characters, no
// slash, no dot in front.  kInvalid says what is wrong.
Result<void> check_export_name(std::string_view name);

// "NAME.img"; the name was checked.
std::string export_file_of(std::string_view name);
// Whether a file of this name might be one, if its name is one of an export.
bool has_export_suffix(std::string_view file);
// The export whose file has this name; nothing if there can be none.
std::optional<std::string> export_of_file(std::string_view file);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SERVICE_EXPORT_NAME_H
