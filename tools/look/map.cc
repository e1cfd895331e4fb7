// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img map: which ranges of the merged image come from where.
#include <unistd.h>

#include "overlay/remote/nbd_uri.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/open_disk.h"
#include "tools/command_line/text.h"
#include "tools/look/map_picture.h"

namespace unionfs::img {
namespace {

struct MapArguments : CommonArguments {
  std::string svg;
};

void print_ranges(const OwnerMap& map) {
  const uint64_t size = map.block_size_bytes;
  fmt::print("{:>16} {:>16}  {:<11} {:>16}  {}\n", "START", "LENGTH", "OWNER", "OFFSET", "FILE");
  for (const OwnedRange& range : map.ranges) {
    fmt::print("{:>16} {:>16}  {:<11} {:>16}  {}\n", range.blocks.begin.value() * size,
               range.blocks.count() * size, owner_name(range.owner),
               has_place(range.owner) ? fmt::format("{}", range.file_offset) : "-",
               has_place(range.owner) ? printable(map.files[range.file]) : "-");
  }
}

Json to_json(const OwnerMap& map) {
  const uint64_t size = map.block_size_bytes;
  Json json = Json::array();
  for (const OwnedRange& range : map.ranges) {
    Json line{{"start", range.blocks.begin.value() * size},
              {"length", range.blocks.count() * size},
              {"owner", owner_name(range.owner)}};
    if (has_place(range.owner)) {
      line["offset"] = range.file_offset;
      line["file"] = map.files[range.file];
    }
    json.push_back(std::move(line));
  }
  return json;
}

Result<void> write_svg(const std::string& path, const OwnerMap& map) {
  const std::string picture = svg_picture(map);
  UNIONFS_ASSIGN(const auto file, PosixFile::create_for(path));
  UNIONFS_TRY(file->write(0, std::as_bytes(std::span(picture))));
  return file->publish();
}

Result<int> show_map(const MapArguments& arguments) {
  if (!arguments.svg.empty()) {
    UNIONFS_TRY(check_absent(arguments.svg));
    UNIONFS_TRY(check_can_appear(arguments.svg));
  }
  UNIONFS_ASSIGN(OwnerMap map,
                 look_at_disk<OwnerMap>(arguments, [](OpenDisk& open) -> Result<OwnerMap> {
                   return make_owner_map(open.disk().view(), open.disk().state_area());
                 }));
  map.lower_name = shown_level(arguments.levels.back());
  map.upper_name = arguments.upper;
  if (!arguments.svg.empty()) {
    UNIONFS_TRY(write_svg(arguments.svg, map));
  }
  if (arguments.as_json) {
    print_json(to_json(map));
  } else if (::isatty(STDOUT_FILENO) == 1) {
    fmt::print("{}", terminal_picture(map));
  } else if (arguments.svg.empty()) {
    print_ranges(map);
  }
  return kExitSuccess;
}

}  // namespace

void add_map(CLI::App& app, Command& chosen) {
  CLI::App* command =
      app.add_subcommand("map", "Say which ranges of the merged image come from where");
  const auto arguments = std::make_shared<MapArguments>();
  names_file(command->add_option("--svg", arguments->svg, "Draw the map into this new file")
                 ->type_name("FILE"));
  add_common(*command, *arguments, LowerArgument::kRequired);
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return show_map(*arguments); }; });
}

}  // namespace unionfs::img
