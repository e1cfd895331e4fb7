// SPDX-License-Identifier: BSD-3-Clause
#include "tools/command_line/source_context.h"

#include <cstdlib>

#include "tools/command_line/progress.h"
#include "tools/command_line/text.h"

namespace unionfs::img {

Result<SourceContext> make_source_context() {
  const char* directory = std::getenv("TMPDIR");
  SourceContext context;
  UNIONFS_ASSIGN(
      context.spool,
      ContentSpool::create_in(directory == nullptr || *directory == '\0' ? "/var/tmp" : directory));
  const auto progress = std::make_shared<ReadProgress>();
  context.progress = [progress](uint64_t bytes_more) {
    progress->add(bytes_more);
    return Result<void>();
  };
  context.warn = [progress](const std::string& message) {
    progress->erase();
    note(message);
  };
  return context;
}

}  // namespace unionfs::img
