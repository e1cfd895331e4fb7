// SPDX-License-Identifier: BSD-3-Clause
//
// Extended attributes of an archive's entry, access control lists among them.
#ifndef UNIONFS_OVERLAY_SOURCES_TAR_ATTRIBUTES_H
#define UNIONFS_OVERLAY_SOURCES_TAR_ATTRIBUTES_H

#include <archive_entry.h>

#include <string_view>

#include "overlay/sources/attribute_collector.h"

namespace unionfs {

// Puts all of the entry's attributes in place.  An ACL also says the permission bits.  `where`
// begins messages.
Result<void> put_entry_attributes(archive_entry* entry, FileState& state,
                                  AttributeCollector& collector, std::string_view where);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_TAR_ATTRIBUTES_H
