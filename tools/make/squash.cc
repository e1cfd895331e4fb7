// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img squash: one layer of several that stand on one another.
#include "overlay/stack/squash.h"

#include "overlay/merged/merged_image.h"
#include "overlay/remote/nbd_uri.h"
#include "overlay/stack/chain.h"
#include "overlay/stack/new_parent.h"
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
  std::string upper;  // that is to stand on the new layer; may be empty
  uint32_t kept = 0;  // layers that stay below
  bool is_unsealed = false;
  FrozenTrust trust;
  bool as_json = false;
};

Result<void> check_levels(const SquashArguments& arguments, const Chain& chain) {
  const size_t layers = chain.layers().size();
  if (layers < arguments.kept + 2) {
    return invalid(
        "there is nothing to squash: {} {} given over the lower, of which {} {} below; it takes "
        "two more at least",
        layers, layers == 1 ? "level is" : "levels are", arguments.kept,
        arguments.kept == 1 ? "stays" : "stay");
  }
  return {};
}

// Of the new layer, if it is sealed.
using MaybeDigest = std::optional<upper_format::Digest>;

// What was made.
struct NewLayer {
  LevelPaths below;
  size_t squashed = 0;
  SquashFigures figures;
  uint64_t dropped_inodes = 0;
  uint64_t disk_size = 0;
  MaybeDigest digest;
};

void report_json(const SquashArguments& arguments, const NewLayer& layer) {
  Json json{{"layer", arguments.output},
            {"squashed", layer.squashed},
            {"layers", arguments.kept + 1},
            {"written-blocks", layer.figures.written_blocks},
            {"compared-blocks", layer.figures.proven_blocks},
            {"dropped-inodes", layer.dropped_inodes},
            {"disk-size", layer.disk_size}};
  if (layer.digest) {
    json["chain-digest"] = digest_text(*layer.digest);
  }
  if (!arguments.upper.empty()) {
    json["upper"] = arguments.upper;
  }
  print_json(json);
}

void report(const SquashArguments& arguments, const NewLayer& layer) {
  fmt::print("{}: {} layers as one, {} on disk; ", printable(arguments.output), layer.squashed,
             human_size(layer.disk_size));
  if (layer.dropped_inodes > 0) {
    fmt::print("{} open files without a name are dropped; ", layer.dropped_inodes);
  }
  const std::string options =
      level_options(layer.below) + " -b " + std::string(shell_word(arguments.output));
  if (!layer.digest) {
    fmt::print("an upper of {}\n", printable(shown_level(layer.below.back())));
  } else if (arguments.upper.empty()) {
    fmt::print("sealed, chain digest {}; to stand on it, give it before an upper: {}\n",
               digest_text(*layer.digest), printable(options));
  } else {
    fmt::print("sealed, chain digest {}; {} stands on it now: {}\n", digest_text(*layer.digest),
               printable(arguments.upper), printable(options));
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

// Without an upper the levels are those that are given.
Result<std::unique_ptr<Chain>> open_chain(const SquashArguments& arguments) {
  return arguments.upper.empty()
             ? Chain::open(arguments.levels, FileLock::kShared, note)
             : Chain::open_below(arguments.levels, arguments.upper, FileLock::kShared, note);
}

// nullptr without --under.
Result<std::unique_ptr<PosixFile>> open_upper_above(const SquashArguments& arguments,
                                                    const Chain& chain) {
  if (arguments.upper.empty()) {
    return std::unique_ptr<PosixFile>();
  }
  if (chain.frozen_view() != nullptr) {
    return invalid(
        "{}: is frozen, and what stands on it does not stand on a layer of it; a checkpoint of {} "
        "takes the sessions over",
        chain.top_name(), arguments.upper);
  }
  UNIONFS_ASSIGN(auto upper, PosixFile::open(arguments.upper, FileLock::kExclusive));
  UNIONFS_ASSIGN(const auto layer, LayerOverLower::load(chain.top(), *upper, note));
  UNIONFS_TRY(check_can_change_parent(*layer, *upper));
  UNIONFS_TRY(upper->make_writable());
  return upper;
}

// What the upper's header is to say, once the output has its name.
Result<StateArea> prove_under(const Chain& chain, size_t kept, const PosixFile& output,
                              const PosixFile& upper) {
  const LayerOverLower& lowest = *chain.layers()[kept];
  UNIONFS_ASSIGN(const auto layer, LayerOverLower::load(lowest.below(), output, note));
  UNIONFS_ASSIGN(const auto below, LayerBelow::open(*layer));
  ParentChange change{chain.top(), *below, {layer.get()}};
  for (size_t i = kept; i < chain.layers().size(); ++i) {
    change.layers.push_back(chain.layers()[i].get());
  }
  return prove_new_parent(change, upper, note, squash_never_cancelled);
}

Result<SquashFigures> squash_into(const SquashArguments& arguments, const LevelSource& source,
                                  PosixFile& output) {
  Progress progress(arguments.output, 0);
  const SquashOptions options{.log = note, .progress = [&progress](uint64_t done, uint64_t total) {
                                progress.show(done, total);
                              }};
  return squash_levels(source.squash_source(), output, options, squash_never_cancelled);
}

Result<int> squash(const SquashArguments& arguments) {
  UNIONFS_TRY(check_absent(arguments.output));
  UNIONFS_TRY(check_can_appear(arguments.output));
  UNIONFS_ASSIGN(const auto chain, open_chain(arguments));
  UNIONFS_TRY(check_levels(arguments, *chain));
  UNIONFS_ASSIGN(const auto upper, open_upper_above(arguments, *chain));
  UNIONFS_ASSIGN(const auto source, LevelSource::open(*chain, arguments.kept, arguments.trust));
  UNIONFS_ASSIGN(const auto output, PosixFile::create_for(arguments.output));
  UNIONFS_TRY(output->set_mode(output->mode() & chain->mode_for_data_in(*output)));

  NewLayer layer;
  layer.below = chain->paths();
  layer.squashed = chain->layers().size() - arguments.kept;
  layer.below.resize(arguments.kept + 1);
  layer.dropped_inodes = source->dropped_inodes();
  UNIONFS_ASSIGN(layer.figures, squash_into(arguments, *source, *output));
  const Below& below = source->squash_source().lowest.below();
  UNIONFS_ASSIGN(layer.digest, seal_output(arguments, below, *output));
  StateArea area;
  if (upper != nullptr) {
    UNIONFS_ASSIGN(area, prove_under(*chain, arguments.kept, *output, *upper));
  }
  UNIONFS_TRY(output->publish());
  if (upper != nullptr) {
    UNIONFS_TRY(write_new_parent(*upper, area));
  }
  layer.disk_size = disk_bytes(*output);
  arguments.as_json ? report_json(arguments, layer) : report(arguments, layer);
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
  CLI::Option* unsealed =
      command->add_flag("--unsealed", arguments->is_unsealed,
                        "Make an upper that can be written, not a sealed layer");
  names_file(command
                 ->add_option("--under", arguments->upper,
                              "Squash what this upper stands on, and let it stand on the new layer")
                 ->type_name("UPPER")
                 ->excludes(unsealed));
  add_frozen_trust(*command, arguments->trust);
  add_output_format(*command, arguments->as_json);
  names_file(
      command->add_option("OUTPUT", arguments->output, "The new layer")->required()->type_name(""));
  command->callback([arguments, &chosen] { chosen = [arguments] { return squash(*arguments); }; });
}

}  // namespace unionfs::img
