// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img extract: files of the merged image as files of the host, without a mount.
#include <sys/stat.h>
#include <unistd.h>

#include "overlay/changes/image_tree.h"
#include "overlay/sinks/host_directory.h"
#include "overlay/sinks/layer_tar.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/open_disk.h"
#include "tools/command_line/progress.h"
#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

struct ExtractArguments : CommonArguments {
  bool only_layer = false;
  std::string directory = ".";
  std::vector<std::string> paths;
};

uint32_t current_umask() {
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return mask;
}

Result<HostDirectoryReport> extract_from(const ExtractArguments& arguments, OpenDisk& open,
                                         bool& has_begun) {
  if (has_begun) {
    return invalid("{}: became another layer while files were extracted; a part of them is in {}",
                   arguments.upper, arguments.directory);
  }
  UNIONFS_ASSIGN(const auto image, open_merged(open, arguments.only_layer));
  UNIONFS_ASSIGN(const FileTree tree, tree_of_paths(image->volume(), arguments.paths));
  Progress progress(arguments.directory, content_bytes_of(tree));
  has_begun = true;
  return write_host_directory(tree, arguments.directory,
                              {.is_root = ::geteuid() == 0,
                               .umask = current_umask(),
                               .progress = [&](uint64_t done) { progress.show(done); }});
}

// Notes; and JSON.
void report_extracted(const ExtractArguments& arguments, const HostDirectoryReport& written) {
  for (const std::string& line : written.left_out) {
    note(fmt::format("{}; left out", line));
  }
  for (const std::string& line : written.left_out_attributes) {
    note(fmt::format("{}; without this attribute", line));
  }
  if (arguments.as_json) {
    print_json(Json{{"output", arguments.directory},
                    {"files", written.files},
                    {"content-bytes", written.content_bytes},
                    {"left-out", written.left_out},
                    {"left-out-attributes", written.left_out_attributes}});
  }
}

Result<int> extract(const ExtractArguments& arguments) {
  bool has_begun = false;
  UNIONFS_ASSIGN(const HostDirectoryReport written,
                 look_at_disk<HostDirectoryReport>(arguments, [&](OpenDisk& open) {
                   return extract_from(arguments, open, has_begun);
                 }));
  report_extracted(arguments, written);
  return written.left_out.empty() ? kExitSuccess : kExitFailure;
}

}  // namespace

void add_extract(CLI::App& app, Command& chosen) {
  CLI::App* command =
      app.add_subcommand("extract", "Write files of the merged image into a directory");
  const auto arguments = std::make_shared<ExtractArguments>();
  add_layer_flag(*command, arguments->only_layer);
  command
      ->add_option("-C,--directory", arguments->directory,
                   "Where the files go; without it the current directory")
      ->type_name("DIR");
  add_common(*command, *arguments, LowerArgument::kRequired);
  command
      ->add_option("PATH", arguments->paths,
                   "Only these files and directories, with all below them")
      ->type_name("");
  command->callback([arguments, &chosen] { chosen = [arguments] { return extract(*arguments); }; });
}

}  // namespace unionfs::img
