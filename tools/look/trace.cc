// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img trace: what disks read first of a remote lower, as its cache has written it down.
#include "overlay/cache/boot_trace.h"
#include "overlay/cache/cache_file.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

Result<int> trace(const std::string& path) {
  UNIONFS_ASSIGN(const CacheTrace found, read_trace_of(path));
  fmt::print("{}", trace_text(found.clusters, found.cluster_bytes, found.image_bytes));
  return kExitSuccess;
}

}  // namespace

void add_trace(CLI::App& app, Command& chosen) {
  CLI::App* command =
      app.add_subcommand("trace", "Show what disks read first of a remote lower, from its cache");
  const auto path = std::make_shared<std::string>();
  names_file(command->add_option("CACHE", *path, "The cache of a server (cache=)")
                 ->required()
                 ->type_name(""));
  command->callback([path, &chosen] { chosen = [path] { return trace(*path); }; });
}

}  // namespace unionfs::img
