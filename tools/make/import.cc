// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img import: an upper made of what somebody else calls a layer.
#include <unistd.h>

#include "overlay/host/posix_file.h"
#include "overlay/host/process.h"
#include "overlay/import/import_tree.h"
#include "overlay/sources/image_source.h"
#include "overlay/sources/nbd_image.h"
#include "overlay/sources/oci_source.h"
#include "overlay/sources/source.h"
#include "overlay/stack/chain.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/open_disk.h"
#include "tools/command_line/source_context.h"
#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

constexpr std::string_view kWholePrefix = "image:";
constexpr std::string_view kUpperPrefix = "upper:";

struct ImportArguments {
  LevelPaths levels;
  std::vector<std::string> files;  // the sources, then the upper
  std::string size;
  bool as_json = false;

  const std::string& upper() const { return files.back(); }
  size_t source_count() const { return files.size() - 1; }
};

// An argument that can only be an image; its prefix says which kind.
struct ImageArgument {
  std::string location;
  ImageMeaning meaning = ImageMeaning::kUnknown;
};

std::optional<ImageArgument> image_argument(const std::string& argument) {
  if (argument.starts_with(kWholePrefix)) {
    return ImageArgument{argument.substr(kWholePrefix.size()), ImageMeaning::kWhole};
  }
  if (argument.starts_with(kUpperPrefix)) {
    return ImageArgument{argument.substr(kUpperPrefix.size()), ImageMeaning::kUpper};
  }
  return is_nbd_uri(argument) ? std::optional(ImageArgument{argument}) : std::nullopt;
}

class ImportRun {
 public:
  explicit ImportRun(const ImportArguments& arguments) : arguments_(arguments) {}

  Result<int> run();

 private:
  Result<void> check_arguments();
  Result<SourceLayer> read_layer(const std::string& argument, SourceContext& context);
  Result<FileTree> read_layers();
  void report(const TreeImportOutcome& outcome, const PosixFile& upper) const;

  const ImportArguments& arguments_;
  std::unique_ptr<Chain> chain_;
  TreeImportOptions options_;
};

Result<int> ImportRun::run() {
  UNIONFS_TRY(check_arguments());
  UNIONFS_ASSIGN(const FileTree tree, read_layers());
  UNIONFS_ASSIGN(const auto upper, PosixFile::create_for(arguments_.upper()));
  UNIONFS_TRY(upper->set_mode(upper->mode() & chain_->mode_for_data_in(*upper)));
  UNIONFS_ASSIGN(const std::string boot_id, read_boot_id());
  const LogSink progress = ::isatty(STDERR_FILENO) == 1 ? LogSink(note) : LogSink();
  const std::atomic<bool> never{false};
  UNIONFS_ASSIGN(const TreeImportOutcome outcome, import_tree(tree, chain_->top(), *upper, options_,
                                                              boot_id, note, progress, never));
  UNIONFS_TRY(upper->publish());
  report(outcome, *upper);
  return kExitSuccess;
}

Result<void> ImportRun::check_arguments() {
  UNIONFS_TRY(check_sources(arguments_.files, "UPPER"));
  if (!arguments_.size.empty()) {
    UNIONFS_ASSIGN(options_.size_bytes, parse_size(arguments_.size));
  }
  UNIONFS_TRY(check_absent(arguments_.upper()));
  UNIONFS_TRY(check_can_appear(arguments_.upper()));
  UNIONFS_ASSIGN(chain_, Chain::open(arguments_.levels, FileLock::kShared, note));
  return {};
}

Result<SourceLayer> ImportRun::read_layer(const std::string& argument, SourceContext& context) {
  std::optional<ImageArgument> image = image_argument(argument);
  if (!image) {
    UNIONFS_ASSIGN(const NamedSource source, name_source(argument, LayerUse::kLayer));
    if (source.kind != SourceKind::kImage) {
      UNIONFS_ASSIGN(FileTree tree, read_source(source, LayerUse::kLayer, context));
      return SourceLayer{std::move(tree), false};
    }
    image = ImageArgument{source.path};
  }
  return read_image_layer(image->location, image->meaning, chain_->volume(), note);
}

// All sources over one another.
Result<FileTree> ImportRun::read_layers() {
  UNIONFS_ASSIGN(SourceContext context, make_source_context());
  if (arguments_.source_count() == 1) {
    UNIONFS_ASSIGN(SourceLayer layer, read_layer(arguments_.files.front(), context));
    options_.rules.are_inodes_of_lower = layer.are_inodes_of_lower;
    return std::move(layer.tree);
  }
  FileTree tree;
  for (size_t index = 0; index < arguments_.source_count(); ++index) {
    const std::string& argument = arguments_.files[index];
    UNIONFS_ASSIGN(SourceLayer layer, read_layer(argument, context));
    UNIONFS_TRY(lay_layer_over(tree, std::move(layer.tree), LayerUse::kLayer, argument));
  }
  return tree;
}

void ImportRun::report(const TreeImportOutcome& outcome, const PosixFile& upper) const {
  const ImportFigures& figures = outcome.figures;
  if (arguments_.as_json) {
    print_json(Json{{"upper", arguments_.upper()},
                    {"added", figures.added},
                    {"changed", figures.changed},
                    {"unchanged", figures.unchanged},
                    {"removed", figures.removed},
                    {"missing", figures.missing},
                    {"bytes-written", outcome.layer.bytes_written},
                    {"merged-size", outcome.merged_bytes},
                    {"disk-size", disk_bytes(upper)}});
    return;
  }
  fmt::print("{}: imported: {} added, {} changed, {} removed; {} written, merged size {}\n",
             printable(arguments_.upper()), figures.added, figures.changed, figures.removed,
             human_size(outcome.layer.bytes_written), human_size(outcome.merged_bytes));
  if (figures.missing != 0) {
    note(fmt::format("{}: {} deleted names are not in the lower", arguments_.upper(),
                     figures.missing));
  }
}

}  // namespace

void add_import(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("import", "Make an upper of a layer in another form");
  const auto arguments = std::make_shared<ImportArguments>();
  add_levels(*command, "-b,--lower", arguments->levels,
             "What is to be below the upper: the lower, then each sealed layer over it")
      ->required()
      ->type_name("LOWER");
  command
      ->add_option("-s,--size", arguments->size,
                   "Size of the merged image, with K, M, G or T; default: as of a new upper, or "
                   "what the files need")
      ->type_name("SIZE");
  add_output_format(*command, arguments->as_json);
  add_sources(*command, arguments->files, "UPPER",
              "SOURCE... UPPER: each source is laid over those before it; the last name is "
              "that of the new upper");
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return ImportRun(*arguments).run(); }; });
}

}  // namespace unionfs::img
