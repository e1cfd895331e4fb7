// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img: looks after uppers, in the habit of qemu-img.
#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "overlay/overlay.h"

namespace {

using unionfs::Overlay;
using unionfs::OverlayOptions;
using unionfs::Result;

struct Arguments {
  std::string lower;
  std::string upper;
};

OverlayOptions options_for(const Arguments& arguments) {
  OverlayOptions options;
  options.lower_path = arguments.lower;
  options.upper_path = arguments.upper;
  options.log = [](const std::string& message) {
    fmt::print(stderr, "unionfs-img: {}\n", message);
  };
  return options;
}

Result<void> checkpoint(const Arguments& arguments) {
  UNIONFS_ASSIGN(auto overlay, Overlay::prepare(options_for(arguments)));
  UNIONFS_TRY(overlay->open(false));
  UNIONFS_ASSIGN(const auto figures, overlay->checkpoint(false));
  if (!figures) {
    fmt::print("no session: nothing to do\n");
    return {};
  }
  fmt::print("{} blocks written, {} inodes more, {} bytes staged\n", figures->written_blocks,
             figures->own_inodes_added, figures->staged_bytes);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Looks after the uppers of nbdkit-unionfs-plugin(1)"};
  app.require_subcommand(1);
  Arguments arguments;
  CLI::App* command = app.add_subcommand("checkpoint", "Turn the session into a layer of files");
  command->add_option("-b,--lower", arguments.lower, "The lower image")->required();
  command->add_option("upper", arguments.upper, "The upper")->required();
  CLI11_PARSE(app, argc, argv);
  const Result<void> result = checkpoint(arguments);
  if (!result) {
    fmt::print(stderr, "unionfs-img: {}\n", result.error().message);
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
