// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img squash: one layer of several that stand on one another.
#include "overlay/stack/squash.h"

#include "overlay/stack/chain.h"
#include "overlay/stack/seal.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/open_disk.h"
#include "tools/command_line/progress.h"
#include "tools/command_line/text.h"
#include "tools/make/level_source.h"

namespace unionfs::img {
namespace {

constexpr uint32_t kSquashedWriteBits = 0222;
const std::atomic<bool> squash_never_cancelled{false};

struct SquashArguments {
  LevelPaths levels;
  std::string output;
  uint32_t kept = 0;  // layers that stay below
  bool is_unsealed = false;
  FrozenTrust trust;
  bool as_json = false;
};

Result<void> check_levels(const SquashArguments& arguments) {
  UNIONFS_TRY(check_absent(arguments.output));
  UNIONFS_TRY(check_can_appear(arguments.output));
  const size_t layers = arguments.levels.size() - 1;
  if (layers < arguments.kept + 2) {
    return invalid(
        "there is nothing to squash: {} {} given over the lower, of which {} {} below; it takes "
        "two more at least",
        layers, layers == 1 ? "level is" : "levels are", arguments.kept,
        arguments.kept == 1 ? "stays" : "stay");
  }
  return {};
}

// What is below the new layer, as options.
std::string options_below(const SquashArguments& arguments) {
  const auto end = arguments.levels.begin() + static_cast<ptrdiff_t>(arguments.kept) + 1;
  return level_options(LevelPaths(arguments.levels.begin(), end));
}

// Of the new layer, if it is sealed.
using MaybeDigest = std::optional<upper_format::Digest>;

void report(const SquashArguments& arguments, const SquashFigures& figures, uint64_t dropped_inodes,
            uint64_t disk_size, const MaybeDigest& digest) {
  const size_t squashed = arguments.levels.size() - 1 - arguments.kept;
  if (arguments.as_json) {
    Json json{{"layer", arguments.output},
              {"squashed", squashed},
              {"layers", arguments.kept + 1},
              {"written-blocks", figures.written_blocks},
              {"compared-blocks", figures.proven_blocks},
              {"dropped-inodes", dropped_inodes},
              {"disk-size", disk_size}};
    if (digest) {
      json["chain-digest"] = digest_text(*digest);
    }
    print_json(json);
    return;
  }
  fmt::print("{}: {} layers as one, {} on disk; ", printable(arguments.output), squashed,
             human_size(disk_size));
  if (dropped_inodes > 0) {
    fmt::print("{} open files without a name are dropped; ", dropped_inodes);
  }
  const std::string below = options_below(arguments);
  if (digest) {
    fmt::print("sealed, chain digest {}; to stand on it, give it before an upper: {} -b {}\n",
               digest_text(*digest), printable(below), printable(shell_word(arguments.output)));
  } else {
    fmt::print("an upper of {}\n", printable(arguments.levels[arguments.kept]));
  }
}

Result<MaybeDigest> seal_output(const SquashArguments& arguments, const Below& below,
                                PosixFile& output) {
  if (arguments.is_unsealed) {
    return MaybeDigest();
  }
  UNIONFS_ASSIGN(const auto seal, seal_upper(below, output, note, squash_never_cancelled));
  UNIONFS_TRY(output.set_mode(output.mode() & ~kSquashedWriteBits));
  return MaybeDigest(chain_digest_of_sealed(below.chain_digest(), seal));
}

Result<int> squash(const SquashArguments& arguments) {
  UNIONFS_TRY(check_levels(arguments));
  UNIONFS_ASSIGN(const auto chain, Chain::open(arguments.levels, FileLock::kShared, note));
  UNIONFS_ASSIGN(const auto source, LevelSource::open(*chain, arguments.kept, arguments.trust));
  const Below& below = source->squash_source().lowest.below();
  UNIONFS_ASSIGN(const auto output, PosixFile::create_for(arguments.output));
  UNIONFS_TRY(output->set_mode(output->mode() & chain->mode_for_data_in(*output)));
  SquashFigures figures;
  {
    Progress progress(arguments.output, 0);
    const SquashOptions options{
        .log = note,
        .progress = [&progress](uint64_t done, uint64_t total) { progress.show(done, total); }};
    UNIONFS_ASSIGN(
        figures, squash_levels(source->squash_source(), *output, options, squash_never_cancelled));
  }
  UNIONFS_ASSIGN(const MaybeDigest digest, seal_output(arguments, below, *output));
  UNIONFS_TRY(output->publish());
  report(arguments, figures, source->dropped_inodes(), disk_bytes(*output), digest);
  return kExitSuccess;
}

}  // namespace

void add_squash(CLI::App& app, Command& chosen) {
  CLI::App* command =
      app.add_subcommand("squash", "Make one layer of several that stand on one another");
  const auto arguments = std::make_shared<SquashArguments>();
  add_levels(
      *command, "-b,--lower", arguments->levels,
      "What is squashed, and what is below: the lower, then each sealed or frozen level over it")
      ->required();
  command
      ->add_option("--keep", arguments->kept, "The first N layers stay below, and are not squashed")
      ->type_name("N");
  command->add_flag("--unsealed", arguments->is_unsealed,
                    "Make an upper that can be written, not a sealed layer");
  add_frozen_trust(*command, arguments->trust);
  add_output_format(*command, arguments->as_json);
  command->add_option("OUTPUT", arguments->output, "The new layer")->required()->type_name("");
  command->callback([arguments, &chosen] { chosen = [arguments] { return squash(*arguments); }; });
}

}  // namespace unionfs::img
