// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img diff: what changed against the lower.
#include "overlay/changes/chosen_paths.h"
#include "overlay/changes/tree_changes.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/open_disk.h"
#include "tools/command_line/since.h"
#include "tools/command_line/spool.h"
#include "tools/look/change_output.h"
#include "tools/make/rebase_report.h"

namespace unionfs::img {
namespace {

struct DiffArguments : CommonArguments {
  bool only_layer = false;
  bool tells_difference = false;  // by the exit status
  bool is_stat = false;
  bool is_records = false;
  LevelPaths against;  // another lower
  std::string since;   // another level
  std::vector<std::string> paths;
};

// What is printed once the look has proved right.
struct ToldChanges {
  std::unique_ptr<Spool> text;
  bool is_any = false;
};

std::unique_ptr<ChangeOutput> output_of(const DiffArguments& arguments, const ChosenPaths& chosen,
                                        const ComparedTrees& trees, Spool& out) {
  if (arguments.is_stat) {
    return stat_of_changes(chosen, arguments.as_json, out);
  }
  if (arguments.is_records) {
    return records_of_changes(out);
  }
  return arguments.as_json ? json_of_changes(trees, out) : text_of_changes(out);
}

Result<ToldChanges> tell_changes(const DiffArguments& arguments, const ChosenPaths& chosen,
                                 OpenDisk& open) {
  ToldChanges told;
  UNIONFS_ASSIGN(const LayerInstead instead, layers_since(open.chain(), arguments.since));
  UNIONFS_ASSIGN(told.text, Spool::make());
  const auto tell = [&](const ComparedTrees& trees) -> Result<void> {
    UNIONFS_TRY(chosen.check_present(trees.lower, trees.merged));
    const auto output = output_of(arguments, chosen, trees, *told.text);
    for (const Change& change : trees.changes) {
      if (chosen.has(change)) {
        UNIONFS_TRY(output->add(change));
        told.is_any = true;
      }
    }
    output->end();
    return {};
  };
  const ChangesUntil until = arguments.only_layer ? ChangesUntil::kLayer : ChangesUntil::kSession;
  UNIONFS_ASSIGN(Disk* const disk, open.layered(arguments.only_layer));
  UNIONFS_TRY(visit_changes(*disk, until, tell, instead));
  return told;
}

Result<int> diff(const DiffArguments& arguments) {
  if (!arguments.against.empty()) {
    return tell_of_rebase(arguments, arguments.against);
  }
  UNIONFS_ASSIGN(const ChosenPaths chosen, ChosenPaths::parse(arguments.paths));
  UNIONFS_ASSIGN(const ToldChanges told, look_at_disk<ToldChanges>(arguments, [&](OpenDisk& open) {
                   return tell_changes(arguments, chosen, open);
                 }));
  UNIONFS_TRY(told.text->copy_to_stdout());
  return arguments.tells_difference && told.is_any ? kExitDifferent : kExitSuccess;
}

}  // namespace

void add_diff(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("diff", "Say what changed against the lower");
  const auto arguments = std::make_shared<DiffArguments>();
  add_layer_flag(*command, arguments->only_layer);
  command->add_flag("--exit-code", arguments->tells_difference,
                    "End with status 3 if anything changed");
  CLI::Option* stat =
      command->add_flag("--stat", arguments->is_stat, "Only counts and bytes, for each directory");
  CLI::Option* records =
      command->add_flag("-0,--null", arguments->is_records,
                        "Letter and path of each change, ended by a NUL, for programs");
  CLI::Option* against =
      command
          ->add_option("--against", arguments->against,
                       "Tell what a rebase onto this lower would do; nothing is changed")
          ->type_name("NEW");
  add_since(*command, arguments->since)->excludes(against);
  add_common(*command, *arguments, LowerArgument::kRequired);
  against->excludes(stat)->excludes(records);
  records->excludes(stat)->excludes(command->get_option("--output"));
  command->add_option("PATH", arguments->paths, "Only what changed at or below these paths")
      ->type_name("");
  command->callback([arguments, &chosen] { chosen = [arguments] { return diff(*arguments); }; });
}

}  // namespace unionfs::img
