// SPDX-License-Identifier: BSD-3-Clause
#include "tools/make/export_arguments.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "overlay/host/posix_file.h"

namespace unionfs::img {
namespace {

struct NamedForm {
  const char* name;
  ExportForm form;
};
constexpr std::array<NamedForm, 4> kExportFormats = {{{"tar", {false, Compression::kNone}},
                                                      {"tar.gz", {false, Compression::kGzip}},
                                                      {"tar.zst", {false, Compression::kZstd}},
                                                      {"overlayfs", {true, Compression::kNone}}}};
constexpr std::array<NamedForm, 5> kExportSuffixes = {{{".tar", {false, Compression::kNone}},
                                                       {".tar.gz", {false, Compression::kGzip}},
                                                       {".tgz", {false, Compression::kGzip}},
                                                       {".tar.zst", {false, Compression::kZstd}},
                                                       {".tzst", {false, Compression::kZstd}}}};

Result<ExportForm> form_of(const ExportArguments& arguments) {
  for (const NamedForm& named : kExportFormats) {
    if (arguments.format == named.name) {
      return named.form;
    }
  }
  if (!arguments.image.empty()) {
    return ExportForm{false, Compression::kGzip};  // what every program can read
  }
  if (arguments.is_to_stdout()) {
    return ExportForm{};
  }
  for (const NamedForm& named : kExportSuffixes) {
    if (arguments.output.ends_with(named.name)) {
      return named.form;
    }
  }
  return invalid(
      "{}: ends neither in .tar, nor in .tar.gz or .tar.zst; say what it shall be with --format",
      arguments.output);
}

Result<void> check_stdout(const ExportArguments& arguments) {
  if (::isatty(STDOUT_FILENO) == 1) {
    return invalid("a layer is nothing for a terminal; lead the standard output elsewhere");
  }
  if (arguments.as_json) {
    return invalid("with - the standard output is the layer, so it cannot have JSON, too");
  }
  return {};
}

}  // namespace

Result<ExportForm> check_export(const ExportArguments& arguments) {
  if (arguments.image.empty() != arguments.new_tag.empty()) {
    return invalid("--image and --tag go together: the one image, and what the new one is called");
  }
  if (arguments.image.empty() == arguments.output.empty()) {
    return invalid("one of OUT and --image is needed, to say where the layer goes");
  }
  UNIONFS_ASSIGN(const ExportForm form, form_of(arguments));
  if (form.is_directory && (arguments.is_to_stdout() || !arguments.image.empty())) {
    return invalid("--format=overlayfs makes a directory, and needs its name");
  }
  if (arguments.is_to_stdout()) {
    UNIONFS_TRY(check_stdout(arguments));
  } else if (!arguments.output.empty()) {
    UNIONFS_TRY(check_absent(arguments.output));
    UNIONFS_TRY(check_can_appear(arguments.output));
  }
  return form;
}

AddedImage added_image(const ExportArguments& arguments) {
  struct stat status = {};
  const size_t colon = arguments.image.find(':', arguments.image.rfind('/') + 1);
  if (colon == std::string::npos || ::stat(arguments.image.c_str(), &status) == 0) {
    return {arguments.image, "", arguments.new_tag};
  }
  return {arguments.image.substr(0, colon), arguments.image.substr(colon + 1), arguments.new_tag};
}

}  // namespace unionfs::img
