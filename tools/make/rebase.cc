// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img rebase: the layer is made anew over another lower.
#include <unistd.h>

#include "overlay/changes/foreign_tree.h"
#include "overlay/host/posix_file.h"
#include "overlay/host/process.h"
#include "overlay/merged/lower_image.h"
#include "overlay/remote/nbd_uri.h"
#include "overlay/upper/lower_identity.h"
#include "overlay/upper/upper_state.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/make/rebase_arguments.h"
#include "tools/make/rebase_report.h"

namespace unionfs::img {
namespace {

constexpr const char* kPurpose = "rebase";  // of hidden names
const std::atomic<bool> never_cancelled{false};

// One run of the command.
class RebaseRun {
 public:
  explicit RebaseRun(const RebaseArguments& arguments) : arguments_(arguments) {}

  Result<int> run();

 private:
  Result<int> carry_over();
  Result<void> load_upper(const std::string& boot_id);
  Result<RebaseOutcome> make(PosixFile& target, const std::string& boot_id);
  bool replaces() const { return arguments_.output.empty(); }
  Result<void> check_arguments() const;
  Result<void> open_images();
  Result<std::unique_ptr<PosixFile>> open_upper() const;
  void tell_of_unproven() const;
  Result<void> check_can_replace_upper() const;
  Result<std::unique_ptr<PosixFile>> create_target() const;
  Result<void> put_in_place(PosixFile& target);
  Result<int> report(const RebaseOutcome& outcome) const;

  const RebaseArguments& arguments_;
  std::optional<uint64_t> size_bytes_;
  std::unique_ptr<Chain> old_;  // what is below now; none without it
  std::unique_ptr<Chain> new_;
  std::string path_;  // of the upper's file itself
  std::unique_ptr<PosixFile> upper_;
  std::unique_ptr<Disk> disk_;         // over the old lower
  std::unique_ptr<LayerAlone> alone_;  // without it
  std::string kept_as_;
  bool would_fail_ = false;  // a dry run only: the upper could not be replaced
};

// What a message about the wrong lower ends with is of no use here.
Result<int> RebaseRun::run() {
  Result<int> status = carry_over();
  if (!status && upper_ != nullptr) {
    Error error = std::move(status).error();
    const std::string end = how_to_rebase(old_ ? old_->top_name() : std::string(), upper_->name());
    if (error.message.ends_with(end)) {
      error.message.resize(error.message.size() - end.size());
    }
    return Failure(std::move(error));
  }
  return status;
}

Result<int> RebaseRun::carry_over() {
  UNIONFS_TRY(check_arguments());
  if (!arguments_.size.empty()) {
    UNIONFS_ASSIGN(size_bytes_, parse_size(arguments_.size));
  }
  UNIONFS_TRY(open_images());
  UNIONFS_ASSIGN(const std::string boot_id, read_boot_id());
  UNIONFS_TRY(load_upper(boot_id));
  if (replaces() && !arguments_.only_tells) {
    const Result<void> can_replace = check_can_replace_upper();
    if (!can_replace && !arguments_.is_dry_run) {
      return Failure(can_replace.error());
    }
    if (!can_replace) {  // what would be done is told all the same
      note(can_replace.error().message);
      would_fail_ = true;
    }
  }
  UNIONFS_ASSIGN(const auto target, create_target());
  UNIONFS_ASSIGN(const RebaseOutcome outcome, make(*target, boot_id));
  if (outcome.is_done) {
    UNIONFS_TRY(put_in_place(*target));
  }
  return report(outcome);
}

Result<void> RebaseRun::load_upper(const std::string& boot_id) {
  if (arguments_.is_without_old) {
    UNIONFS_ASSIGN(alone_, LayerAlone::open(*upper_, new_->top(), note, never_cancelled));
    return {};
  }
  UNIONFS_ASSIGN(disk_, Disk::load(old_->top(), *upper_, boot_id, note));
  UNIONFS_TRY(disk_->attach(Access::kReadOnly));
  tell_of_unproven();
  return {};
}

Result<RebaseOutcome> RebaseRun::make(PosixFile& target, const std::string& boot_id) {
  RebaseOptions options;
  options.policy = arguments_.policy;
  options.size_bytes = size_bytes_;
  options.is_dry_run = arguments_.is_dry_run;
  options.verifies_all = arguments_.verifies_all;
  options.always_makes = !replaces();
  const LogSink progress = ::isatty(STDERR_FILENO) == 1 ? LogSink(note) : LogSink();
  return alone_ ? rebase_without_old(*alone_, new_->top(), target, options, boot_id, note, progress,
                                     never_cancelled)
                : rebase(*disk_, new_->top(), target, options, boot_id, note, progress,
                         never_cancelled);
}

Result<void> RebaseRun::check_arguments() const {
  for (const PathDecision& decision : arguments_.policy.patterns) {
    if (decision.pattern.empty()) {
      return invalid("--{}: an empty pattern matches nothing", name_of(decision.resolution));
    }
  }
  for (const std::string& tree : arguments_.policy.ours_trees) {
    if (!tree.starts_with('/')) {
      return invalid("--ours-tree: {} is no path of the image, which begins with /",
                     quoted_name(tree));
    }
  }
  if (arguments_.is_without_old != arguments_.levels.empty()) {
    return invalid("{}", arguments_.is_without_old
                             ? "--without-old: the old lower is gone, and no -b can name it"
                             : "-b OLD is needed; where that is gone, give --without-old");
  }
  const bool needs_old =
      !arguments_.policy.ours_trees.empty() || arguments_.policy.ids == IdPolicy::kNames;
  if (arguments_.is_without_old && needs_old) {
    return invalid("--ours-tree and --ids=names cannot be had with --without-old");
  }
  if (replaces()) {
    return {};
  }
  UNIONFS_TRY(check_absent(arguments_.output));
  return check_can_appear(arguments_.output);
}

Result<void> RebaseRun::open_images() {
  if (!arguments_.is_without_old) {
    UNIONFS_ASSIGN(old_,
                   Chain::open_below(arguments_.levels, arguments_.upper, FileLock::kShared, note));
  }
  UNIONFS_ASSIGN(new_, Chain::open(arguments_.onto, FileLock::kShared, note));
  UNIONFS_ASSIGN(path_, real_path_of(arguments_.upper));
  UNIONFS_ASSIGN(upper_, open_upper());
  UNIONFS_ASSIGN(const bool is_foreign, ForeignTree::is_foreign(*upper_));
  if (is_foreign) {
    return invalid(
        "{}: was made elsewhere and is not imported yet, so there is no layer to carry "
        "over; import it first: unionfs-img checkpoint {} {}",
        arguments_.upper, arguments_.is_without_old ? "-b OLD" : old_->as_options(),
        shell_word(arguments_.upper));
  }
  return check_has_layer(*upper_, arguments_.upper, old_ ? old_->as_options() : "-b OLD");
}

// Nobody may write to it meanwhile, and no server may have it when it is replaced.
Result<std::unique_ptr<PosixFile>> RebaseRun::open_upper() const {
  auto opened = PosixFile::open(path_, FileLock::kExclusive);
  if (opened || opened.error().error_number != EBUSY) {
    return opened;
  }
  const auto again = PosixFile::open(path_, FileLock::kNone);
  if (again && ((old_ && old_->has(**again)) || new_->has(**again))) {
    return invalid("{}: is given as a lower and as the upper", arguments_.upper);
  }
  Error error = std::move(opened).error();
  error.message += "; a layer can be carried over when nobody serves it";
  return Failure(std::move(error));
}

// As checkpoint does: whoever asks for it gets it all the same.
void RebaseRun::tell_of_unproven() const {
  if (disk_->session_block_count() > 0 &&
      (disk_->state_area().flags & upper_format::kFlagUnproven) != 0) {
    note(fmt::format(
        "{}: power was lost during its open session, or it was over another lower; it is "
        "carried over all the same (unionfs-img checkpoint --fsck has it checked first)",
        arguments_.upper));
  }
}

// What would stop it at the end.
Result<void> RebaseRun::check_can_replace_upper() const {
  UNIONFS_ASSIGN(const UpperState state, read_upper_state(*upper_));
  if (state.area.is_frozen()) {
    return invalid(
        "{}: is frozen, so that others can stand on it, and never changes; write the new upper "
        "elsewhere with -o",
        arguments_.upper);
  }
  UNIONFS_TRY(upper_->check_can_write());
  UNIONFS_TRY(check_can_replace(path_));
  const std::string kept = path_ + kBeforeRebase.suffix;
  // A run that was killed behind its link has left that.
  const bool is_linked = upper_->is_named(kept);
  if (upper_->name_count() > (is_linked ? 2 : 1)) {
    return invalid(
        "{}: has another name, too, which would go on leading to the old upper; remove "
        "that, or write the new one elsewhere with -o",
        arguments_.upper);
  }
  if (arguments_.without_backup || is_linked) {
    return {};
  }
  if (!check_absent(kept)) {
    return invalid(
        "{}: exists already, of an earlier rebase perhaps; remove or rename it, or give "
        "--no-backup or -o",
        kept);
  }
  return {};
}

Result<std::unique_ptr<PosixFile>> RebaseRun::create_target() const {
  if (arguments_.is_dry_run) {
    return PosixFile::create_in_memory();
  }
  if (!replaces()) {
    UNIONFS_TRY(remove_leftovers(arguments_.output, kPurpose));
    UNIONFS_ASSIGN(auto target, PosixFile::create_for(arguments_.output, kPurpose));
    UNIONFS_TRY(target->set_mode(target->mode() & target->mode_for_data_of(*upper_) &
                                 new_->mode_for_data_in(*target)));
    return target;
  }
  UNIONFS_TRY(remove_leftovers(path_, kPurpose));
  UNIONFS_ASSIGN(auto target, PosixFile::create_for(path_, kPurpose));
  UNIONFS_TRY(target->take_looks_of(*upper_));
  return target;
}

Result<void> RebaseRun::put_in_place(PosixFile& target) {
  if (!replaces()) {
    return target.publish();
  }
  if (arguments_.without_backup) {
    return target.publish_instead_of(*upper_);
  }
  UNIONFS_ASSIGN(const KeepWay way, find_keep_way(path_, kBeforeRebase));
  if (way != KeepWay::kLink) {
    return unsupported(
        "{}: cannot be kept beside the new upper, because its file system has no "
        "hard links; give --no-backup, or -o",
        arguments_.upper);
  }
  UNIONFS_ASSIGN(kept_as_, target.publish_over(*upper_, way, kBeforeRebase));
  return {};
}

Result<int> RebaseRun::report(const RebaseOutcome& outcome) const {
  RebaseSummary summary{
      .old_lower = disk_ ? std::optional(RebasedLower{shown_level(arguments_.levels.back()),
                                                      &old_->volume(), outcome.old_merged_bytes})
                         : std::nullopt,
      .new_lower = {shown_level(arguments_.onto.back()), &new_->volume(), outcome.new_merged_bytes},
      .upper = arguments_.upper,
      .output = replaces() ? std::optional<std::string>() : arguments_.output,
      .kept_as = kept_as_,
      .session_blocks = disk_ ? disk_->session_block_count() : 0,
      .is_dry_run = arguments_.is_dry_run,
      .outcome = outcome};
  if (arguments_.as_json) {
    print_json(rebase_json(summary));
  } else {
    print_rebase(summary);
  }
  if (would_fail_) {
    return kExitFailure;
  }
  return outcome.report.has_undecided() ? kExitConflicts
         : outcome.report.has_limits()  ? kExitFailure
                                        : kExitSuccess;
}

// Patterns of both kinds, in the order in which they were given.
void add_patterns(CLI::App& command, RebasePolicy& policy, const char* name, Resolution resolution,
                  const char* description) {
  command
      .add_option_function<std::string>(
          name,
          [&policy, resolution](const std::string& pattern) {
            policy.patterns.push_back({pattern, resolution});
          },
          description)
      ->type_name("GLOB")
      ->trigger_on_parse();
}

void add_policy(CLI::App& command, RebasePolicy& policy) {
  command
      .add_option_function<std::string>(
          "--conflicts",
          [&policy](const std::string& value) {
            policy.conflicts = value == "ours"     ? Resolution::kOurs
                               : value == "theirs" ? Resolution::kTheirs
                               : value == "both"   ? Resolution::kBoth
                                                   : Resolution::kNone;
          },
          "Who decides what no pattern does")
      ->check(CLI::IsMember({"fail", "ours", "theirs", "both"}))
      ->type_name("fail|ours|theirs|both");
  add_patterns(
      command, policy, "--ours", Resolution::kOurs,
      "Decide conflicts of such paths for the layer; the first pattern that matches counts");
  add_patterns(command, policy, "--theirs", Resolution::kTheirs,
               "Decide conflicts of such paths for the new lower");
  command
      .add_option_function<std::string>(
          "--ours-tree", [&policy](const std::string& path) { policy.ours_trees.push_back(path); },
          "All below this path becomes as it was, also where the new lower has more")
      ->type_name("PATH")
      ->trigger_on_parse();
  command
      .add_option_function<std::string>(
          "--ids",
          [&policy](const std::string& value) {
            policy.ids = value == "names" ? IdPolicy::kNames : IdPolicy::kNumbers;
          },
          "What owners keep where a number has got another name")
      ->check(CLI::IsMember({"numbers", "names"}))
      ->type_name("numbers|names");
}

Result<int> run_rebase(const RebaseArguments& arguments) {
  return arguments.moves_chain ? rebase_chain(arguments) : RebaseRun(arguments).run();
}

}  // namespace

// What is wrong with an upper that cannot be read is told by whoever opens it.
Result<void> check_has_layer(const PosixFile& upper, const std::string& name,
                             const std::string& levels) {
  const Result<UpperState> state = read_upper_state(upper);
  if (!state || !state->area.is_void()) {
    return {};
  }
  const std::string arguments = fmt::format("{} {}", levels, std::string(shell_word(name)));
  if (state->area.is_frozen()) {
    return invalid(
        "{}: is frozen, and has no layer of its own that could be carried over; make one first: "
        "unionfs-img seal -o FILE {}",
        name, arguments);
  }
  return invalid(
      "{}: stands on a frozen session, and has no layer of its own that could be carried over; "
      "make "
      "one first: unionfs-img checkpoint {}",
      name, arguments);
}

Result<int> tell_of_rebase(const CommonArguments& images, const LevelPaths& onto) {
  RebaseArguments arguments;
  static_cast<CommonArguments&>(arguments) = images;
  arguments.onto = onto;
  arguments.is_dry_run = true;
  arguments.only_tells = true;
  return RebaseRun(arguments).run();
}

void add_rebase(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("rebase", "Carry the layer over to another lower");
  const auto arguments = std::make_shared<RebaseArguments>();
  add_levels(*command, "--onto", arguments->onto,
             "What the upper is to lie on: the new lower, then each sealed layer over it")
      ->required()
      ->type_name("NEW");
  command->add_flag("--without-old", arguments->is_without_old,
                    "The old lower is gone: carry what the layer alone proves");
  CLI::Option* chain = command->add_flag(
      "--chain", arguments->moves_chain,
      "Carry the layers below the upper over, too; all of them are written into the directory -o");
  add_policy(*command, arguments->policy);
  command->add_flag("--dry-run", arguments->is_dry_run, "Only say what would be done");
  CLI::Option* output = names_file(
      command->add_option("-o", arguments->output, "Write the new upper to this file; UPPER stays")
          ->type_name("FILE"));
  command
      ->add_flag("--no-backup", arguments->without_backup,
                 "Do not keep the old upper as UPPER.before-rebase")
      ->excludes(output);
  command
      ->add_option("-s,--size", arguments->size,
                   "Size of the new merged image, with K, M, G or T; default: as it was")
      ->type_name("SIZE")
      ->excludes(chain);
  command->add_flag("--verify", arguments->verifies_all,
                    "Compare all of the new lower with the new merged image as well");
  add_common(*command, *arguments, LowerArgument::kOptional);
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return run_rebase(*arguments); }; });
}

}  // namespace unionfs::img
