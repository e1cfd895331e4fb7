// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img: looks after the uppers of nbdkit-unionfs-plugin, in the habit of
// qemu-img.  Each command is a file of its own; here one is chosen.
#include "tools/common.h"

#ifndef UNIONFS_VERSION
#define UNIONFS_VERSION "unknown"
#endif

int main(int argc, char** argv) {
  using namespace unionfs;
  CLI::App app{"Looks after the uppers of nbdkit-unionfs-plugin(1)", "unionfs-img"};
  app.set_version_flag("-V,--version", "unionfs-img " UNIONFS_VERSION);
  app.require_subcommand(1);
  img::Command chosen;
  img::add_create(app, chosen);
  img::add_info(app, chosen);
  img::add_ls(app, chosen);
  img::add_diff(app, chosen);
  img::add_map(app, chosen);
  img::add_check(app, chosen);
  img::add_checkpoint(app, chosen);
  img::add_convert(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? img::kExitSuccess : img::kExitFailure;
  }
  const Result<int> status = chosen();
  if (!status) {
    img::note(status.error().message);
    return img::kExitFailure;
  }
  if (std::fflush(stdout) != 0) {
    img::note("cannot write to the standard output");
    return img::kExitFailure;
  }
  return *status;
}
