// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img: looks after the uppers of nbdkit-unionfs-plugin, in the habit of
// qemu-img.  Each command is a file of its own; here one is chosen.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "tools/command_line/commands.h"
#include "tools/command_line/text.h"
#include "tools/control/control.h"

#ifndef UNIONFS_VERSION
#define UNIONFS_VERSION "unknown"
#endif

namespace unionfs::img {
namespace {

// An image that is opened must not get the number of a stream that was closed, or what
// is printed would go into the image.
void open_standard_streams() {
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) == -1) {
      (void)!::open("/dev/null", O_RDWR);  // gets the lowest number that is free
    }
  }
}

std::string parse_failure(const CLI::App* app, const CLI::Error& error) {
  return fmt::format("unionfs-img: {}\nRun with --help for more information.\n",
                     app->remaining_size() > 0 && app->get_parent() == nullptr
                         ? fmt::format("{} is no command", app->remaining().front())
                         : std::string(error.what()));
}

// The exit status.
int run(const Command& command) {
  const Result<int> status = command();
  if (!status) {
    note(status.error().message);
    return kExitFailure;
  }
  if (std::fflush(stdout) != 0) {
    note("cannot write to the standard output");
    return kExitFailure;
  }
  return *status;
}

void add_commands(CLI::App& app, Command& chosen) {
  add_create(app, chosen);
  add_mkbase(app, chosen);
  add_info(app, chosen);
  add_ls(app, chosen);
  add_diff(app, chosen);
  add_map(app, chosen);
  add_check(app, chosen);
  add_checkpoint(app, chosen);
  add_rebase(app, chosen);
  add_seal(app, chosen);
  add_snapshot(app, chosen);
  add_squash(app, chosen);
  add_convert(app, chosen);
  add_import(app, chosen);
  add_export(app, chosen);
  add_extract(app, chosen);
  add_cat(app, chosen);
  add_trace(app, chosen);
  add_control_option(app);
}

// Parses and runs; gives the exit status.
int run_command_line(int argc, char** argv) {
  CLI::App app{"Looks after the uppers of nbdkit-unionfs-plugin(1)", "unionfs-img"};
  app.set_version_flag("-V,--version", "unionfs-img " UNIONFS_VERSION);
  app.require_subcommand(1);
  app.failure_message(parse_failure);
  Command chosen;
  if (is_for_server(argc, argv)) {
    add_control_commands(app, chosen);
  } else {
    add_commands(app, chosen);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitSuccess : kExitFailure;
  }
  return run(chosen);
}

}  // namespace
}  // namespace unionfs::img

int main(int argc, char** argv) {
  using namespace unionfs;
  img::open_standard_streams();
  ::signal(SIGXFSZ, SIG_IGN);  // a write past the limit fails like any other
  try {
    return img::run_command_line(argc, argv);
  } catch (const std::exception& error) {  // no memory, or nobody reads what is printed
    img::note(error.what());
    return img::kExitFailure;
  }
}
