// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img checkpoint: the session becomes a layer, here and now.
#include <unistd.h>

#include "overlay/changes/foreign_tree.h"
#include "overlay/remote/nbd_uri.h"
#include "overlay/service/overlay.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/text.h"
#include "tools/make/fsck.h"

namespace unionfs::img {
namespace {

struct CheckpointArguments : CommonArguments {
  bool with_fsck = false;
  std::string plugin = "unionfs-plugin";
};

Result<int> checkpoint(const CheckpointArguments& arguments) {
  bool is_import = false;
  {
    UNIONFS_ASSIGN(const auto upper, PosixFile::open(arguments.upper, FileLock::kExclusive));
    UNIONFS_ASSIGN(is_import, ForeignTree::is_foreign(*upper));
  }
  if (arguments.with_fsck) {
    UNIONFS_TRY(run_fsck({arguments.levels, arguments.upper, arguments.plugin}));
  }
  OverlayOptions options;
  options.level_paths = arguments.levels;
  options.upper_path = arguments.upper;
  options.log = note;
  if (::isatty(STDERR_FILENO) == 1) {
    options.progress = note;  // of an import
  }
  UNIONFS_ASSIGN(const auto overlay, Overlay::prepare(std::move(options)));
  UNIONFS_TRY(overlay->open(Access::kReadWrite));
  if (const Result<void> proven = overlay->disk().check_proven(); !proven) {
    note(
        fmt::format("{}: {}; it becomes a layer all the same, if nothing is found against it "
                    "(--fsck has it checked first)",
                    arguments.upper, proven.error().message));
  }
  const auto figures = overlay->checkpoint(AskedBy::kPerson);
  UNIONFS_TRY(overlay->close());
  if (!figures) {
    Error error = figures.error().error;
    error.message = figures.error().commitment == Commitment::kNone
                        ? fmt::format("{}: the session cannot become a layer: {}", arguments.upper,
                                      error.message)
                        : fmt::format("{}: {}", arguments.upper, describe(figures.error()));
    return Failure(std::move(error));
  }
  if (arguments.as_json) {
    Json json{{"upper", arguments.upper}, {"done", figures->has_value()}, {"imported", is_import}};
    if (*figures) {
      json["written-blocks"] = (*figures)->written_blocks;
      json["own-inodes-added"] = (*figures)->own_inodes_added;
      json["staged-bytes"] = (*figures)->staged_bytes;
    }
    print_json(json);
  } else if (is_import) {
    fmt::print("{}: was made elsewhere, and is an upper of {} now\n", printable(arguments.upper),
               printable(shown_level(arguments.levels.back())));
  } else if (!*figures) {
    fmt::print("{}: no session: nothing to do\n", printable(arguments.upper));
  } else {
    fmt::print("{}: {} blocks of the session became a layer: {} inodes more, {} rewritten\n",
               printable(arguments.upper), (*figures)->written_blocks, (*figures)->own_inodes_added,
               human_size((*figures)->staged_bytes));
  }
  return kExitSuccess;
}

}  // namespace

void add_checkpoint(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("checkpoint", "Turn the open session into the layer");
  const auto arguments = std::make_shared<CheckpointArguments>();
  command->add_flag("--fsck", arguments->with_fsck,
                    "Run e2fsck -fy over the merged image first (needs nbdkit and nbdfuse)");
  command->add_option("--plugin", arguments->plugin, "The plugin that serves it to e2fsck")
      ->type_name("PLUGIN");
  add_common(*command, *arguments, LowerArgument::kRequired);
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return checkpoint(*arguments); }; });
}

}  // namespace unionfs::img
