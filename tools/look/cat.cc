// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img cat: one file of the merged image, without a mount.
#include <vector>

#include "overlay/changes/image_paths.h"
#include "overlay/merged/merged_image.h"
#include "overlay/tree/file_reader.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/open_disk.h"
#include "tools/command_line/standard_stream.h"
#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

struct CatArguments : CommonArguments {
  bool only_layer = false;
  std::string path;
};

Result<void> copy_file(FileReader& file, StandardStream& out) {
  constexpr size_t kPieceBytes = size_t{1} << 20;
  std::vector<std::byte> buffer(kPieceBytes);
  for (uint64_t offset = 0; offset < file.size_bytes(); offset += buffer.size()) {
    buffer.resize(std::min<uint64_t>(kPieceBytes, file.size_bytes() - offset));
    UNIONFS_TRY(file.read(offset, buffer));
    UNIONFS_TRY(out.add(buffer));
  }
  return {};
}

Result<void> cat_from(const CatArguments& arguments, OpenDisk& open, StandardStream& out) {
  if (out.has_begun()) {
    return invalid("{}: became another layer while the file was written to the standard output",
                   arguments.upper);
  }
  UNIONFS_ASSIGN(const auto image, open_merged(open, arguments.only_layer));
  UNIONFS_ASSIGN(const InodeNumber inode, follow_path(image->volume(), arguments.path));
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(image->volume(), inode));
  if (!record.is_regular()) {
    return invalid("{}: is a {}, and no regular file", quoted_name(arguments.path),
                   type_name(record.file_type()));
  }
  FileReader file(image->volume(), record);
  return copy_file(file, out);
}

Result<int> cat(const CatArguments& arguments) {
  StandardStream out;
  UNIONFS_TRY(look_at_disk<int>(arguments, [&](OpenDisk& open) -> Result<int> {
    UNIONFS_TRY(cat_from(arguments, open, out));
    return kExitSuccess;
  }));
  return kExitSuccess;
}

}  // namespace

void add_cat(CLI::App& app, Command& chosen) {
  CLI::App* command =
      app.add_subcommand("cat", "Write one file of the merged image to the standard output");
  const auto arguments = std::make_shared<CatArguments>();
  add_layer_flag(*command, arguments->only_layer);
  add_images(*command, *arguments, LowerArgument::kRequired);
  command->add_option("PATH", arguments->path, "The file")->required()->type_name("");
  command->callback([arguments, &chosen] { chosen = [arguments] { return cat(*arguments); }; });
}

}  // namespace unionfs::img
