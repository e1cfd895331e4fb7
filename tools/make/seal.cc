// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img seal: a layer that never changes again, for others to stand on.
#include "overlay/stack/seal.h"

#include "overlay/changes/foreign_tree.h"
#include "overlay/disk.h"
#include "overlay/host/file_copy.h"
#include "overlay/upper/upper_state.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/text.h"
#include "tools/make/level_source.h"

namespace unionfs::img {
namespace {

constexpr uint32_t kWriteBits = 0222;
const std::atomic<bool> seal_never_cancelled{false};

struct SealArguments : CommonArguments {
  std::string output;  // empty: the upper itself
  FrozenTrust trust;
};

Result<void> check_is_ours(const SealArguments& arguments, const PosixFile& upper) {
  UNIONFS_ASSIGN(const bool is_foreign, ForeignTree::is_foreign(upper));
  if (is_foreign) {
    return invalid(
        "{}: was made elsewhere and is not imported yet, so there is no layer to seal; import it "
        "first: unionfs-img checkpoint {} {}",
        arguments.upper, level_options(arguments.levels), shell_word(arguments.upper));
  }
  return {};
}

// A copy's session would begin with what survives a power loss, and that may be less.
Result<void> check_has_no_session(const Chain& chain, PosixFile& upper) {
  UNIONFS_ASSIGN(std::string boot_id, read_boot_id());
  UNIONFS_ASSIGN(const auto disk, Disk::load(chain.top(), upper, std::move(boot_id), note));
  UNIONFS_TRY(disk->attach(Access::kReadOnly));
  if (disk->has_journal() || disk->session_block_count() > 0) {
    return invalid(
        "{}: has an open session, which a copy cannot take over; turn it into a layer first: "
        "unionfs-img checkpoint {} {}",
        upper.name(), chain.as_options(), shell_word(upper.name()));
  }
  return {};
}

Result<std::unique_ptr<PosixFile>> sealed_copy(const SealArguments& arguments, const Chain& chain,
                                               PosixFile& upper, upper_format::Seal& seal) {
  UNIONFS_TRY(check_has_no_session(chain, upper));
  UNIONFS_ASSIGN(auto copy, PosixFile::create_for(arguments.output));
  const uint32_t mode = copy->mode() & copy->mode_for_data_of(upper);
  UNIONFS_TRY(copy_file(upper, *copy, seal_never_cancelled));
  UNIONFS_ASSIGN(seal, seal_upper(chain.top(), *copy, note, seal_never_cancelled));
  UNIONFS_TRY(copy->set_mode(mode & ~kWriteBits));
  UNIONFS_TRY(copy->publish());
  return copy;
}

// What has been sealed.
struct Sealed {
  LevelPaths below;
  upper_format::Digest chain = {};
  uint64_t dropped_inodes = 0;
};

void report(const SealArguments& arguments, const Sealed& sealed) {
  const std::string& path = arguments.output.empty() ? arguments.upper : arguments.output;
  if (arguments.as_json) {
    print_json(Json{{"layer", path},
                    {"layers", sealed.below.size()},
                    {"dropped-inodes", sealed.dropped_inodes},
                    {"chain-digest", digest_text(sealed.chain)}});
    return;
  }
  fmt::print("{}: sealed, ", printable(path));
  if (sealed.dropped_inodes > 0) {
    fmt::print("without {} open files that had no name, ", sealed.dropped_inodes);
  }
  fmt::print("chain digest {}; to stand on it, give it before an upper: {} -b {}\n",
             digest_text(sealed.chain), printable(level_options(sealed.below)),
             printable(shell_word(path)));
}

Result<bool> is_frozen(const SealArguments& arguments, const PosixFile& upper) {
  UNIONFS_ASSIGN(const UpperState state, read_upper_state(upper));
  const bool is_trusted = arguments.trust.was_frozen || arguments.trust.with_fsck;
  if (is_trusted && !state.area.is_frozen()) {
    return invalid("{}: is not frozen; --frozen and --fsck are for what a snapshot has frozen",
                   upper.name());
  }
  if (state.area.is_frozen() && arguments.output.empty()) {
    return invalid("{}: is a frozen level, which never changes; -o FILE makes a sealed layer of it",
                   upper.name());
  }
  return state.area.is_frozen();
}

// With all frozen levels without a layer that it stands on.
Result<Sealed> seal_frozen(const SealArguments& arguments, const Chain& below) {
  LevelPaths paths = below.paths();
  paths.push_back(arguments.upper);
  UNIONFS_ASSIGN(const auto chain, Chain::open(paths, FileLock::kShared, note));
  size_t lowest = chain->layers().size() - 1;
  while (lowest > 0 && chain->layers()[lowest]->area().is_void()) {
    --lowest;
  }
  UNIONFS_ASSIGN(const auto source, LevelSource::open(*chain, lowest, arguments.trust));
  UNIONFS_ASSIGN(const auto output, PosixFile::create_for(arguments.output));
  UNIONFS_TRY(output->set_mode(output->mode() & chain->mode_for_data_in(*output)));
  UNIONFS_TRY(squash_levels(source->squash_source(), *output, {.log = note}, seal_never_cancelled));
  const Below& base = source->squash_source().lowest.below();
  UNIONFS_ASSIGN(const auto seal, seal_upper(base, *output, note, seal_never_cancelled));
  UNIONFS_TRY(output->set_mode(output->mode() & ~kWriteBits));
  UNIONFS_TRY(output->publish());
  paths.resize(lowest + 1);
  return Sealed{paths, chain_digest_of_sealed(base.chain_digest(), seal), source->dropped_inodes()};
}

Result<int> seal(const SealArguments& arguments) {
  if (!arguments.output.empty()) {
    UNIONFS_TRY(check_absent(arguments.output));
    UNIONFS_TRY(check_can_appear(arguments.output));
  }
  UNIONFS_ASSIGN(const auto chain,
                 Chain::open_below(arguments.levels, arguments.upper, FileLock::kShared, note));
  const bool is_copied = !arguments.output.empty();
  UNIONFS_ASSIGN(
      const auto upper,
      PosixFile::open(arguments.upper, is_copied ? FileLock::kSharedUpper : FileLock::kExclusive));
  UNIONFS_TRY(check_is_ours(arguments, *upper));
  UNIONFS_ASSIGN(const bool frozen, is_frozen(arguments, *upper));
  if (frozen) {
    UNIONFS_ASSIGN(const Sealed sealed, seal_frozen(arguments, *chain));
    report(arguments, sealed);
    return kExitSuccess;
  }
  upper_format::Seal digests = {};
  if (is_copied) {
    UNIONFS_ASSIGN(const auto copy, sealed_copy(arguments, *chain, *upper, digests));
  } else {
    UNIONFS_TRY(upper->make_writable());
    UNIONFS_ASSIGN(digests, seal_upper(chain->top(), *upper, note, seal_never_cancelled));
    UNIONFS_TRY(upper->set_mode(upper->mode() & ~kWriteBits));
  }
  report(arguments, {chain->paths(), chain_digest_of_sealed(chain->top().chain_digest(), digests)});
  return kExitSuccess;
}

}  // namespace

void add_seal(CLI::App& app, Command& chosen) {
  CLI::App* command =
      app.add_subcommand("seal", "Make a layer that never changes again, for others to stand on");
  const auto arguments = std::make_shared<SealArguments>();
  names_file(command
                 ->add_option("-o", arguments->output,
                              "Seal a copy, in this new file; the upper stays as it is")
                 ->type_name("FILE"));
  add_frozen_trust(*command, arguments->trust);
  add_common(*command, *arguments, LowerArgument::kRequired);
  command->callback([arguments, &chosen] { chosen = [arguments] { return seal(*arguments); }; });
}

}  // namespace unionfs::img
