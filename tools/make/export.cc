// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img export: what a layer changes, in the forms of others.
#include <unistd.h>

#include <cstdio>

#include "overlay/changes/changed_tree.h"
#include "overlay/host/staged_directory.h"
#include "overlay/sinks/host_directory.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/open_disk.h"
#include "tools/command_line/progress.h"
#include "tools/command_line/since.h"
#include "tools/command_line/standard_stream.h"
#include "tools/command_line/text.h"
#include "tools/make/export_arguments.h"

namespace unionfs::img {
namespace {

// What one look has written, without its name yet.
struct Exported {
  std::unique_ptr<PosixFile> file;
  LayerBlob layer;
  std::unique_ptr<StagedDirectory> directory;
  OverlayfsReport overlayfs;
};

class ExportRun {
 public:
  explicit ExportRun(const ExportArguments& arguments) : arguments_(arguments) {}

  Result<int> run();

 private:
  Result<Exported> export_disk(OpenDisk& open);
  Result<void> check_may_export(const OpenDisk& open) const;
  Result<void> write(const FileTree& tree, Exported& exported);
  Result<void> write_layer(const FileTree& tree, OutputStream& out, Progress& progress,
                           Exported& exported) const;
  Result<void> publish(const Exported& exported);
  Json report_layer(const Exported& exported) const;
  Json report_directory(const Exported& exported) const;

  const ExportArguments& arguments_;
  ExportForm form_;
  int64_t mark_time_ = 0;
  std::unique_ptr<OciImage> image_;
  std::string manifest_digest_;
  StandardStream standard_output_;
};

Result<int> ExportRun::run() {
  UNIONFS_ASSIGN(form_, check_export(arguments_));
  UNIONFS_ASSIGN(const std::optional<int64_t> epoch, source_date_epoch());
  mark_time_ = epoch.value_or(0);
  if (!arguments_.image.empty()) {
    UNIONFS_ASSIGN(image_, OciImage::open(added_image(arguments_)));
  }
  UNIONFS_ASSIGN(const Exported exported,
                 look_at_disk<Exported>(
                     arguments_, [this](OpenDisk& open) { return export_disk(open); },
                     arguments_.is_live ? LookNeeds::kSameLayer : LookNeeds::kNoClient));
  UNIONFS_TRY(publish(exported));
  const Json facts = form_.is_directory ? report_directory(exported) : report_layer(exported);
  if (arguments_.as_json) {
    print_json(facts);
  }
  return kExitSuccess;
}

Result<void> ExportRun::check_may_export(const OpenDisk& open) const {
  if (open.is_in_use() && !arguments_.is_live) {
    return invalid(
        "{}: a server has it, or was killed: its session may be written to at this moment; "
        "--live exports it all the same",
        arguments_.upper);
  }
  if (standard_output_.has_begun()) {
    return invalid(
        "{}: became another layer while it was written to the standard output, where only a "
        "part of it is",
        arguments_.upper);
  }
  return {};
}

Result<Exported> ExportRun::export_disk(OpenDisk& open) {
  UNIONFS_TRY(check_may_export(open));
  UNIONFS_ASSIGN(const LayerInstead instead, layers_since(open.chain(), arguments_.since));
  Exported exported;
  const auto export_changes = [&](const ComparedTrees& trees) -> Result<void> {
    UNIONFS_ASSIGN(const FileTree tree, changed_tree(trees));
    return write(tree, exported);
  };
  UNIONFS_ASSIGN(Disk* const disk, open.layered());
  UNIONFS_TRY(visit_changes(*disk, ChangesUntil::kSession, export_changes, instead));
  return exported;
}

Result<void> ExportRun::write(const FileTree& tree, Exported& exported) {
  Progress progress(image_                      ? arguments_.new_tag
                    : arguments_.is_to_stdout() ? "standard output"
                                                : arguments_.output,
                    content_bytes_of(tree));
  if (form_.is_directory) {
    UNIONFS_ASSIGN(exported.directory, StagedDirectory::create_for(arguments_.output));
    const HostDirectoryOptions options = {.is_root = ::geteuid() == 0,
                                          .progress = [&](uint64_t done) { progress.show(done); }};
    UNIONFS_ASSIGN(exported.overlayfs,
                   write_overlayfs_directory(tree, exported.directory->hidden_path(), options));
    return {};
  }
  if (arguments_.is_to_stdout()) {
    return write_layer(tree, standard_output_, progress, exported);
  }
  if (image_) {
    UNIONFS_ASSIGN(exported.file, image_->create_layer());
  } else {
    UNIONFS_ASSIGN(exported.file, PosixFile::create_for(arguments_.output));
  }
  FileOutput out(*exported.file);
  return write_layer(tree, out, progress, exported);
}

Result<void> ExportRun::write_layer(const FileTree& tree, OutputStream& out, Progress& progress,
                                    Exported& exported) const {
  const LayerTarOptions options = {.has_nanoseconds = arguments_.has_nanoseconds,
                                   .mark_time = mark_time_,
                                   .progress = [&](uint64_t done) { progress.show(done); }};
  UNIONFS_ASSIGN(exported.layer, write_layer_blob(tree, options, form_.compression, out));
  return {};
}

Result<void> ExportRun::publish(const Exported& exported) {
  if (exported.directory) {
    return exported.directory->publish();
  }
  if (image_) {
    UNIONFS_ASSIGN(manifest_digest_,
                   image_->add(*exported.file, exported.layer, form_.compression, mark_time_));
    return {};
  }
  return exported.file ? exported.file->publish() : Result<void>();
}

// Notes on the way, and what JSON says.
Json ExportRun::report_layer(const Exported& exported) const {
  const LayerTarReport& written = exported.layer.report;
  Json left_out = Json::array();
  for (const std::string& path : written.sockets) {
    note(fmt::format("{}: is a socket, which a layer cannot have; left out", quoted_name(path)));
    left_out.push_back(printable(path));
  }
  Json facts{{"output", image_ ? arguments_.image : arguments_.output}};
  if (image_) {
    facts["tag"] = arguments_.new_tag;
    facts["manifest"] = "sha256:" + manifest_digest_;
  }
  facts["files"] = written.files;
  facts["whiteouts"] = written.whiteouts;
  facts["content-bytes"] = written.content_bytes;
  facts["size"] = exported.layer.size_bytes;
  facts["digest"] = "sha256:" + exported.layer.digest;
  facts["diff-id"] = "sha256:" + exported.layer.diff_id;
  facts["compression"] = compression_maker(form_.compression);
  facts["left-out"] = left_out;
  return facts;
}

Json ExportRun::report_directory(const Exported& exported) const {
  const HostDirectoryReport& written = exported.overlayfs.written;
  if (exported.overlayfs.has_user_marks) {
    note(fmt::format("{}: has marks as user attributes; mount it with -o userxattr",
                     arguments_.output));
  }
  for (const std::string& attribute : written.left_out_attributes) {
    note(fmt::format("{}: only root can set it; left out", attribute));
  }
  return Json{{"output", arguments_.output},
              {"files", written.files},
              {"whiteouts", written.whiteouts},
              {"content-bytes", written.content_bytes},
              {"user-marks", exported.overlayfs.has_user_marks},
              {"left-out", written.left_out_attributes}};
}

}  // namespace

void add_export(CLI::App& app, Command& chosen) {
  CLI::App* command =
      app.add_subcommand("export", "Write what changed against the lower as a layer of OCI");
  const auto arguments = std::make_shared<ExportArguments>();
  command
      ->add_option("--format", arguments->format,
                   "What is written; without it as OUT is called, and tar.gz into an image")
      ->check(CLI::IsMember({"tar", "tar.gz", "tar.zst", "overlayfs"}))
      ->type_name("FORMAT");
  command
      ->add_option("--image", arguments->image,
                   "Make an image with the layer on top of this one, in the same OCI layout")
      ->type_name("LAYOUT[:TAG]");
  command->add_option("--tag", arguments->new_tag, "What the new image is called")
      ->type_name("NEW");
  command->add_flag("--nanoseconds", arguments->has_nanoseconds,
                    "Times with what is below a second");
  command->add_flag("--live", arguments->is_live,
                    "Also while a server has it, as after pulling the plug at this moment");
  add_since(*command, arguments->since);
  add_common(*command, *arguments, LowerArgument::kRequired);
  names_file(
      command
          ->add_option("OUT", arguments->output,
                       "The new file or directory; -: the standard output; none with --image")
          ->type_name(""));
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return ExportRun(*arguments).run(); }; });
}

}  // namespace unionfs::img
