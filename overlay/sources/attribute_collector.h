// SPDX-License-Identifier: BSD-3-Clause
//
// Extended attributes on their way from a source into files.
#ifndef UNIONFS_OVERLAY_SOURCES_ATTRIBUTE_COLLECTOR_H
#define UNIONFS_OVERLAY_SOURCES_ATTRIBUTE_COLLECTOR_H

#include <set>
#include <string>
#include <string_view>

#include "overlay/sources/source_context.h"
#include "overlay/tree/file_state.h"

namespace unionfs {

// Not thread-safe.  Refers to the context.  `where` begins messages.
class AttributeCollector {
 public:
  explicit AttributeCollector(SourceContext& context) : context_(context) {}

  // Puts one attribute, as system calls name it, in its place among the sorted ones of the file.
  // One of that name which is there already goes.  What ext2 has no place for is left out.
  // kInvalid for an ACL that is none, kUnsupported beyond a limit.
  Result<void> put(FileState& state, std::string_view name, ConstByteSpan value,
                   std::string_view where);
  // All of the file's attributes together are not beyond the limit.
  Result<void> check(const FileState& state, std::string_view where) const;
  // Warns of those that were left out, by their names.
  void tell_left_out(std::string_view where) const;

 private:
  SourceContext& context_;
  std::set<std::string, std::less<>> left_out_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_ATTRIBUTE_COLLECTOR_H
