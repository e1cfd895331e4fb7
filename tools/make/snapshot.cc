// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img snapshot: what an upper is now stays under another name, and a new upper goes on.
#include "overlay/stack/snapshot.h"

#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

struct SnapshotArguments : CommonArguments {
  std::string name;
};

Result<int> snapshot(const SnapshotArguments& arguments) {
  UNIONFS_TRY(take_snapshot(arguments.levels, arguments.upper, arguments.name, note));
  if (arguments.as_json) {
    print_json(Json{{"upper", arguments.upper}, {"frozen", arguments.name}});
  } else {
    fmt::print("{}: stands on {} now, which never changes again\n", printable(arguments.upper),
               printable(arguments.name));
  }
  return kExitSuccess;
}

}  // namespace

void add_snapshot(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand(
      "snapshot", "Freeze an upper under another name, with a new one in its place");
  const auto arguments = std::make_shared<SnapshotArguments>();
  add_common(*command, *arguments, LowerArgument::kRequired);
  command->add_option("NAME", arguments->name, "What the upper is called from now on, beside it")
      ->required()
      ->type_name("");
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return snapshot(*arguments); }; });
}

}  // namespace unionfs::img
