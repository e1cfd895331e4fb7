// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img ls: the layer as a tree of names, or all names of the merged image.
#include <map>

#include "overlay/upper/layer_tree.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/open_disk.h"
#include "tools/command_line/spool.h"
#include "tools/command_line/text.h"
#include "tools/look/ls_merged.h"

namespace unionfs::img {
namespace {

struct LsArguments : CommonArguments {
  bool is_long = false;
  bool only_layer = false;
  bool is_merged = false;
  std::vector<std::string> paths;  // with is_merged
};

class Lister {
 public:
  Lister(const LsArguments& arguments, const Volume& lower, const Volume& upper, Spool& out)
      : arguments_(arguments), lower_(lower), upper_(upper), out_(out), json_(out) {}

  Result<void> list() {
    if (arguments_.is_long && !arguments_.as_json) {
      out_.add(fmt::format("{:<8}  {:>10} {:<10} {:>12} {:>12}  {}\n", "MARK", "INODE", "MODE",
                           "SIZE", "OWN", "NAME"));
    }
    UNIONFS_ASSIGN(const InodeRecord root, read_inode(upper_, kRootDirectory));
    show_own("/", "/", 0, root);
    UNIONFS_TRY(
        walk_layer(upper_, {[](const LayerDirectory&) -> Result<void> { return {}; },
                            [this](const LayerDirectory& directory, const NamedEntry& entry) {
                              return show(directory, entry);
                            }}));
    if (arguments_.as_json) {
      json_.end();
    }
    return {};
  }

 private:
  Result<void> show(const LayerDirectory& directory, const NamedEntry& entry) {
    const std::string path = directory.path + "/" + entry.name;
    const uint32_t depth = directory.depth + 1;
    if (entry.kind == EntryKind::kWhiteout) {
      print("whiteout", path, entry.name, depth, nullptr, 0);
      return {};
    }
    if (entry.kind == EntryKind::kReal) {
      UNIONFS_ASSIGN(const InodeRecord record, read_inode(upper_, entry.inode));
      show_own(path, entry.name, depth, record);
      return {};
    }
    if (!arguments_.is_long && !arguments_.as_json) {
      print("fallthru", path, entry.name, depth, nullptr, 0);
      return {};
    }
    UNIONFS_ASSIGN(const InodeRecord record, below(directory, entry));
    print("fallthru", path, entry.name, depth, &record, 0);
    return {};
  }

  void show_own(const std::string& path, const std::string& name, uint32_t depth,
                const InodeRecord& record) {
    const bool is_opaque = record.is_directory() && record.is_opaque();
    print(is_opaque ? "opaque" : "own", path, name, depth, &record,
          uint64_t{record.raw().i_blocks} * ext2::kSectorSizeBytes);
  }

  // The lower inode that a fallthru leads to.
  Result<InodeRecord> below(const LayerDirectory& directory, const NamedEntry& entry) {
    auto [names, is_new] = names_below_.try_emplace(directory.record.number());
    if (is_new) {
      UNIONFS_ASSIGN(const InodeRecord record, read_inode(lower_, directory.record.number()));
      UNIONFS_ASSIGN(const auto entries, sorted_entries(lower_, record));
      for (const NamedEntry& lower_entry : entries) {
        names->second[lower_entry.name] = lower_entry.inode;
      }
    }
    const auto found = names->second.find(entry.name);
    if (found == names->second.end()) {
      return corrupt("{}: directory inode {}: the lower has no name {} to fall through to",
                     upper_.name(), directory.record.number(), quoted_name(entry.name));
    }
    return read_inode(lower_, found->second);
  }

  void print(const char* mark, const std::string& path, const std::string& name, uint32_t depth,
             const InodeRecord* record, uint64_t own_bytes) {
    if (arguments_.as_json) {
      Json line{{"path", printable(path)}, {"mark", mark}};
      if (record != nullptr) {
        line["inode"] = record->number().value();
        line["type"] = type_name(record->file_type());
        line["mode"] = fmt::format("{:04o}", record->raw().i_mode & 07777);
        line["links"] = record->raw().i_links_count.value();
        line["size"] = record->size_bytes();
        line["own-bytes"] = own_bytes;
      }
      json_.add(line);
      return;
    }
    const bool is_directory = record != nullptr && record->is_directory() && depth > 0;
    const std::string shown =
        fmt::format("{:{}}{}{}", "", size_t{depth} * 2, printable(name), is_directory ? "/" : "");
    if (!arguments_.is_long) {
      out_.add(fmt::format("{:<8}  {}\n", mark, shown));
    } else if (record == nullptr) {
      out_.add(
          fmt::format("{:<8}  {:>10} {:<10} {:>12} {:>12}  {}\n", mark, "-", "-", "-", "-", shown));
    } else {
      out_.add(fmt::format("{:<8}  {:>10} {:<10} {:>12} {:>12}  {}\n", mark, record->number(),
                           mode_text(record->raw().i_mode), record->size_bytes(), own_bytes,
                           shown));
    }
  }

  const LsArguments& arguments_;
  const Volume& lower_;
  const Volume& upper_;
  Spool& out_;
  JsonArrayPrinter json_;
  std::map<InodeNumber, std::map<std::string, InodeNumber>> names_below_;
};

struct Listing {
  std::unique_ptr<Spool> text;
  std::string about_session;  // a note, where there is one
};

// An open session counts as the layer that it would become, where it can become one.
Result<Listing> list_disk(const LsArguments& arguments, OpenDisk& open) {
  Listing listing;
  UNIONFS_ASSIGN(listing.text, Spool::make());
  if (arguments.is_merged) {
    UNIONFS_ASSIGN(const auto image, open_merged(open, arguments.only_layer));
    UNIONFS_TRY(list_merged(
        image->volume(), {arguments.is_long, arguments.as_json, arguments.paths}, *listing.text));
    return listing;
  }
  UNIONFS_ASSIGN(Disk* const disk, open.layered(arguments.only_layer));
  const Volume& upper = disk->layer().upper();
  if (arguments.only_layer || disk->session_block_count() == 0) {
    UNIONFS_TRY(Lister(arguments, open.lower(), upper, *listing.text).list());
    return listing;
  }
  const auto next = disk->next_layer();
  listing.about_session =
      next ? fmt::format("{}: a session is open; this is the layer that it would become",
                         upper.name())
           : fmt::format("{}: a session is open; what it changed is not shown, because: {}",
                         upper.name(), next.error().message);
  UNIONFS_TRY(
      Lister(arguments, open.lower(), next ? (*next)->layer().upper() : upper, *listing.text)
          .list());
  return listing;
}

Result<int> list(const LsArguments& arguments) {
  if (!arguments.paths.empty() && !arguments.is_merged) {
    return invalid("PATHs are for -R, which lists the merged image");
  }
  UNIONFS_ASSIGN(const Listing listing, look_at_disk<Listing>(arguments, [&](OpenDisk& open) {
                   return list_disk(arguments, open);
                 }));
  if (!listing.about_session.empty()) {
    note(listing.about_session);
  }
  UNIONFS_TRY(listing.text->copy_to_stdout());
  return kExitSuccess;
}

}  // namespace

void add_ls(CLI::App& app, Command& chosen) {
  CLI::App* command =
      app.add_subcommand("ls", "List the layer: each name own, fallthru, whiteout or opaque");
  const auto arguments = std::make_shared<LsArguments>();
  command->add_flag("-l,--long", arguments->is_long,
                    "Also inode number, mode, size, and how many bytes of it are own");
  command->add_flag("-R,--recursive", arguments->is_merged,
                    "List the merged image instead: all names, the lower's among them");
  add_layer_flag(*command, arguments->only_layer);
  add_common(*command, *arguments, LowerArgument::kRequired);
  command->add_option("PATH", arguments->paths, "With -R: only what is at or below these paths")
      ->type_name("");
  command->callback([arguments, &chosen] { chosen = [arguments] { return list(*arguments); }; });
}

}  // namespace unionfs::img
