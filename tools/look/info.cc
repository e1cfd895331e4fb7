// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img info: what an upper is, what it holds, what could become of it.
#include <fmt/ranges.h>

#include "fsparse/printable.h"
#include "overlay/upper/lower_identity.h"
#include "overlay/upper/parent.h"
#include "overlay/upper/upper_facts.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/open_disk.h"
#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

// What can only be said over the lower.
struct Outlook {
  bool lower_matches = false;
  std::string mismatch;
  bool can_checkpoint = false;
  std::string reason;  // why not
  CheckpointFigures figures;
};

// Everything of a checkpoint but its commit.
Result<Outlook> look_ahead(const CommonArguments& arguments, WritableFile& upper) {
  Outlook outlook;
  auto opened = OpenDisk::open(arguments.levels, upper);
  if (!opened) {
    if (opened.error().kind != ErrorKind::kInvalid) {
      return Failure(std::move(opened).error());
    }
    outlook.mismatch = opened.error().message;
    return outlook;
  }
  OpenDisk& open = **opened;
  outlook.lower_matches = true;
  if (open.disk().state_area().is_frozen()) {
    const Result<void> clean = open.check_clean_if_frozen();
    outlook.reason = clean ? "it is frozen; to make a layer of it: unionfs-img seal -o FILE"
                           : clean.error().message;
    return outlook;
  }
  UNIONFS_ASSIGN(Disk* const disk, open.layered());
  if (disk->session_block_count() == 0) {
    outlook.reason = "there is no session";
    return outlook;
  }
  const auto next = disk->next_layer();
  outlook.can_checkpoint = next.has_value();
  if (next) {
    outlook.figures = (*next)->figures();
  } else {
    outlook.reason = next.error().message;
  }
  return outlook;
}

std::vector<std::string> flag_names(uint32_t flags) {
  std::vector<std::string> names;
  if ((flags & upper_format::kFlagInUse) != 0) {
    names.emplace_back("in-use");
  }
  if ((flags & upper_format::kFlagUnproven) != 0) {
    names.emplace_back("unproven");
  }
  return names;
}

std::string list_text(const std::vector<std::string>& names) {
  return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

// What the command says, of one moment.
struct Information {
  UpperFacts facts;
  uint64_t file_size_bytes = 0;
  uint64_t disk_size_bytes = 0;
  std::optional<Outlook> outlook;
};

Json to_json(const CommonArguments& arguments, const Information& information) {
  const UpperFacts& facts = information.facts;
  const upper_format::LowerIdentity& lower = facts.area.lower.identity;
  return Json{{"upper", arguments.upper},
              {"format", "unionfs-upper"},
              {"format-version", facts.area.version},
              {"features", names_of(facts.area.features)},
              {"merged-size", facts.merged_size_bytes},
              {"block-size", facts.block_size_bytes},
              {"file-size", information.file_size_bytes},
              {"disk-size", information.disk_size_bytes},
              {"lower",
               {{"uuid", uuid_text(lower.uuid)},
                {"block-size", lower.block_size_bytes.value()},
                {"block-count", lower.s_blocks_count.value()},
                {"inode-count", lower.s_inodes_count.value()},
                {"mounted", lower.s_mtime.value()},
                {"written", lower.s_wtime.value()},
                {"checked", lower.s_lastcheck.value()},
                {"hash", hex_text(lower.hash)}}},
              {"session",
               {{"number", facts.area.session_number},
                {"open", facts.written_blocks > 0},
                {"written-blocks", facts.written_blocks}}},
              {"flags", flag_names(facts.area.flags)},
              {"journal-pending", facts.has_journal},
              {"layer",
               {{"own-inodes", facts.own_inodes},
                {"own-directories", facts.own_directories},
                {"own-blocks", facts.own_blocks},
                {"own-names", facts.own_names},
                {"fallthru-names", facts.fallthrus},
                {"whiteout-names", facts.whiteouts},
                {"opaque-directories", facts.opaque_directories},
                {"whiteout-blocks", facts.block_whiteouts},
                {"whiteout-inodes", facts.inode_whiteouts},
                {"translated-blocks", facts.translated_blocks}}}};
}

void add_outlook(Json& json, const Outlook& outlook) {
  json["lower-matches"] = outlook.lower_matches;
  if (!outlook.lower_matches) {
    json["lower-mismatch"] = outlook.mismatch;
    return;
  }
  Json& checkpoint = json["checkpoint"];
  checkpoint["possible"] = outlook.can_checkpoint;
  if (outlook.can_checkpoint) {
    checkpoint["own-inodes-added"] = outlook.figures.own_inodes_added;
    checkpoint["staged-bytes"] = outlook.figures.staged_bytes;
  } else {
    checkpoint["reason"] = outlook.reason;
  }
}

void print_facts(const CommonArguments& arguments, const Information& information) {
  const UpperFacts& facts = information.facts;
  const uint64_t block_size = facts.block_size_bytes;
  fmt::print("upper: {}\n", printable(arguments.upper));
  fmt::print("format: unionfs upper, version {}\n", facts.area.version);
  fmt::print("features: {}\n", list_text(names_of(facts.area.features)));
  fmt::print("merged size: {} ({} bytes)\n", human_size(facts.merged_size_bytes),
             facts.merged_size_bytes);
  fmt::print("block size: {}\n", block_size);
  fmt::print("space on disk: {}\n", human_size(information.disk_size_bytes));
  if (facts.area.has_parent()) {
    fmt::print("stands on: {}\n", printable(describe_parent(facts.area)));
  }
  fmt::print("lower: {}\n", describe(facts.area.lower.identity));
  fmt::print("session: number {}, {}\n", facts.area.session_number,
             facts.written_blocks == 0
                 ? "empty"
                 : fmt::format("open, {} blocks written ({})", facts.written_blocks,
                               human_size(facts.written_blocks * block_size)));
  fmt::print("flags: {}\n", list_text(flag_names(facts.area.flags)));
  fmt::print("journal pending: {}\n", facts.has_journal ? "yes" : "no");
  fmt::print("layer: {} own inodes ({} directories), {} own blocks ({})\n", facts.own_inodes,
             facts.own_directories, facts.own_blocks, human_size(facts.own_blocks * block_size));
  fmt::print("  names: {} own, {} fallthrus, {} whiteouts, {} opaque directories\n",
             facts.own_names, facts.fallthrus, facts.whiteouts, facts.opaque_directories);
  fmt::print("  whited out below: {} inodes, {} blocks\n", facts.inode_whiteouts,
             facts.block_whiteouts);
  fmt::print("  translated blocks: {}\n", facts.translated_blocks);
}

void print_outlook(const Outlook& outlook) {
  if (!outlook.lower_matches) {
    fmt::print("lower matches: no: {}\n", outlook.mismatch);
    return;
  }
  fmt::print("lower matches: yes\n");
  if (outlook.can_checkpoint) {
    fmt::print("checkpoint: possible, {} inodes more, {} to write\n",
               outlook.figures.own_inodes_added, human_size(outlook.figures.staged_bytes));
  } else {
    fmt::print("checkpoint: not possible: {}\n", outlook.reason);
  }
}

Result<Information> gather(const CommonArguments& arguments, WritableFile& upper) {
  Information information;
  UNIONFS_ASSIGN(information.facts, read_upper_facts(upper));
  information.file_size_bytes = upper.size_bytes();
  information.disk_size_bytes = disk_bytes(upper);
  if (!arguments.levels.empty()) {
    UNIONFS_ASSIGN(information.outlook, look_ahead(arguments, upper));
  }
  return information;
}

Result<int> info(const CommonArguments& arguments) {
  UNIONFS_ASSIGN(const Information information,
                 look_for<Information>(upper_at(arguments.upper), [&](WritableFile& upper) {
                   return gather(arguments, upper);
                 }));
  const std::optional<Outlook>& outlook = information.outlook;
  if (arguments.as_json) {
    Json json = to_json(arguments, information);
    if (outlook) {
      add_outlook(json, *outlook);
    }
    print_json(json);
    return kExitSuccess;
  }
  print_facts(arguments, information);
  if (outlook) {
    print_outlook(*outlook);
  } else if (information.facts.written_blocks > 0) {
    fmt::print("checkpoint: give the lower with -b to see whether it is possible\n");
  }
  return kExitSuccess;
}

}  // namespace

void add_info(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("info", "Say what an upper is and what it holds");
  const auto arguments = std::make_shared<CommonArguments>();
  add_common(*command, *arguments, LowerArgument::kOptional);
  command->callback([arguments, &chosen] { chosen = [arguments] { return info(*arguments); }; });
}

}  // namespace unionfs::img
