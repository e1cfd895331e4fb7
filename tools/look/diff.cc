// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img diff: what changed against the lower.
#include <fmt/ranges.h>

#include <array>

#include "overlay/changes/tree_changes.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/open_disk.h"
#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

struct Kind {
  ChangeKind kind;
  const char* name;
};

constexpr std::array<Kind, 5> kKinds = {{{ChangeKind::kAdded, "added"},
                                         {ChangeKind::kModified, "modified"},
                                         {ChangeKind::kMetadata, "metadata"},
                                         {ChangeKind::kDeleted, "deleted"},
                                         {ChangeKind::kRenamed, "renamed"}}};

const char* name_of(ChangeKind kind) {
  for (const Kind& known : kKinds) {
    if (known.kind == kind) {
      return known.name;
    }
  }
  return "?";
}

Json to_json(const Change& change) {
  Json json{{"change", name_of(change.kind)},
            {"path", printable(change.path)},
            {"inode", change.inode.value()},
            {"type", type_name(change.file_type)}};
  if (change.kind == ChangeKind::kRenamed) {
    json["from"] = printable(change.from);
  }
  if (change.kind != ChangeKind::kAdded) {
    json["old-size"] = change.old_size_bytes;
  }
  if (change.kind != ChangeKind::kDeleted) {
    json["new-size"] = change.new_size_bytes;
  }
  if (change.kind == ChangeKind::kAdded || change.kind == ChangeKind::kDeleted) {
    json["link"] = change.is_link;
  } else {
    json["content"] = change.is_content_changed;
    json["changed-bytes"] = change.changed_bytes;
    json["metadata"] = change.metadata;
  }
  return json;
}

std::string sizes_of(const Change& change) {
  const bool is_sized = change.file_type == ext2::kFileTypeRegular;
  std::string text;
  if (is_sized && change.kind == ChangeKind::kAdded) {
    text = fmt::format("{} bytes", change.new_size_bytes);
  } else if (is_sized && change.kind == ChangeKind::kDeleted) {
    text = fmt::format("{} bytes", change.old_size_bytes);
  } else if (is_sized && change.is_content_changed) {
    text = change.old_size_bytes == change.new_size_bytes
               ? fmt::format("{} bytes", change.new_size_bytes)
               : fmt::format("{} -> {} bytes", change.old_size_bytes, change.new_size_bytes);
    text += fmt::format(", {} in changed blocks", change.changed_bytes);
  } else if (change.is_content_changed) {
    text = "content";
  }
  if (!change.metadata.empty()) {
    text += fmt::format("{}{}", text.empty() ? "" : "; ", fmt::join(change.metadata, ", "));
  }
  if (change.is_link) {
    text += text.empty() ? "a link" : ", a link";
  }
  return text.empty() ? text : "  (" + text + ")";
}

void print_changes(const std::vector<Change>& changes) {
  std::array<uint64_t, kKinds.size()> counts = {};
  for (const Change& change : changes) {
    ++counts[static_cast<size_t>(change.kind)];
    const char* slash =
        change.file_type == ext2::kFileTypeDirectory && change.path != "/" ? "/" : "";
    const std::string from =
        change.kind == ChangeKind::kRenamed ? printable(change.from) + slash + " -> " : "";
    fmt::print("{:<8}  {}{}{}{}\n", name_of(change.kind), from, printable(change.path), slash,
               sizes_of(change));
  }
  std::vector<std::string> summary;
  for (const Kind& kind : kKinds) {
    summary.push_back(fmt::format("{} {}", counts[static_cast<size_t>(kind.kind)], kind.name));
  }
  fmt::print("{}\n", fmt::join(summary, ", "));
}

struct DiffArguments : CommonArguments {
  bool only_layer = false;
};

using Changes = std::vector<Change>;

Result<int> diff(const DiffArguments& arguments) {
  UNIONFS_ASSIGN(const Changes changes,
                 look_at_disk<Changes>(arguments, [&](OpenDisk& open) -> Result<Changes> {
                   return arguments.only_layer ? changes_of_layer(open.disk())
                                               : changes_of(open.disk());
                 }));
  if (arguments.as_json) {
    Json json = Json::array();
    for (const Change& change : changes) {
      json.push_back(to_json(change));
    }
    print_json(json);
  } else {
    print_changes(changes);
  }
  return kExitSuccess;
}

}  // namespace

void add_diff(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("diff", "Say what changed against the lower");
  const auto arguments = std::make_shared<DiffArguments>();
  add_layer_flag(*command, arguments->only_layer);
  add_common(*command, *arguments, LowerArgument::kRequired);
  command->callback([arguments, &chosen] { chosen = [arguments] { return diff(*arguments); }; });
}

}  // namespace unionfs::img
