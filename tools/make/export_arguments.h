// SPDX-License-Identifier: BSD-3-Clause
//
// What unionfs-img export is told.
#ifndef UNIONFS_TOOLS_MAKE_EXPORT_ARGUMENTS_H
#define UNIONFS_TOOLS_MAKE_EXPORT_ARGUMENTS_H

#include <string>

#include "overlay/sinks/compressed_stream.h"
#include "overlay/sinks/oci_image.h"
#include "tools/command_line/arguments.h"

namespace unionfs::img {

struct ExportArguments : CommonArguments {
  std::string output;  // empty with an image
  std::string format;  // empty: by the output's name
  std::string image;   // LAYOUT[:TAG]; empty: none
  std::string new_tag;
  std::string since;  // against which level
  bool has_nanoseconds = false;
  bool is_live = false;

  bool is_to_stdout() const { return output == "-"; }
};

// What is made.
struct ExportForm {
  bool is_directory = false;  // an upper of overlayfs
  Compression compression = Compression::kNone;
};

// kInvalid where the arguments do not go together, or what is to be made is there already.
Result<ExportForm> check_export(const ExportArguments& arguments);
// "LAYOUT:TAG": a directory that is called so has no tag.
AddedImage added_image(const ExportArguments& arguments);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_MAKE_EXPORT_ARGUMENTS_H
