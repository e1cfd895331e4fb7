// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img create: a new, empty upper.
#include "overlay/upper/layer_create.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/open_disk.h"
#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

struct CreateArguments : CommonArguments {
  std::string size;
};

Result<int> create(const CreateArguments& arguments) {
  UNIONFS_TRY(check_absent(arguments.upper));
  UNIONFS_ASSIGN(const auto chain, Chain::open(arguments.levels, FileLock::kShared, note));
  const Volume& lower = chain->volume();
  uint64_t wanted = chain->top().default_merged_size();
  if (!arguments.size.empty()) {
    UNIONFS_ASSIGN(wanted, parse_size(arguments.size));
  }
  UNIONFS_ASSIGN(const Geometry geometry, Geometry::grow(lower, wanted));
  if (chain->frozen_view() != nullptr &&
      geometry.size_bytes() != chain->frozen_view()->size_bytes()) {
    return invalid("{}: is frozen with a size of {} bytes, and an upper over it has the same",
                   chain->top_name(), chain->frozen_view()->size_bytes());
  }
  UNIONFS_TRY(check_can_appear(arguments.upper));
  UNIONFS_ASSIGN(const auto upper, PosixFile::create_for(arguments.upper));
  UNIONFS_TRY(upper->set_mode(upper->mode() & chain->mode_for_data_in(*upper)));
  UNIONFS_TRY(create_layer(*upper, lower, geometry, chain->top().identity()));
  UNIONFS_TRY(upper->publish());
  if (arguments.as_json) {
    print_json(Json{{"upper", arguments.upper},
                    {"merged-size", geometry.size_bytes()},
                    {"block-size", geometry.merged().block_size_bytes},
                    {"disk-size", disk_bytes(*upper)}});
  } else {
    fmt::print("{}: created, merged size {} ({} bytes)\n", printable(arguments.upper),
               human_size(geometry.size_bytes()), geometry.size_bytes());
  }
  return kExitSuccess;
}

}  // namespace

void add_create(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("create", "Make a new, empty upper for a lower");
  const auto arguments = std::make_shared<CreateArguments>();
  command
      ->add_option("-s,--size", arguments->size,
                   "Size of the merged image, with K, M, G or T; default: the lower's and the "
                   "larger of that and 1G")
      ->type_name("SIZE");
  add_common(*command, *arguments, LowerArgument::kRequired);
  command->callback([arguments, &chosen] { chosen = [arguments] { return create(*arguments); }; });
}

}  // namespace unionfs::img
