// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img convert: the merged image as one plain ext2 file.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/open_disk.h"
#include "tools/command_line/progress.h"
#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

struct ConvertArguments : CommonArguments {
  std::string output;
  bool is_live = false;
};

// What the client's file system says of itself.
Result<bool> is_clean(OpenDisk& open) {
  ext2::Superblock raw;
  UNIONFS_TRY(open.disk().view().read(ext2::kSuperblockOffsetBytes,
                                      std::as_writable_bytes(std::span(&raw, 1))));
  return (raw.s_state & ext2::kStateValid) != 0;
}

// Where the image goes, in ascending order and without a gap.
class ImageOutput {
 public:
  virtual ~ImageOutput() = default;
  virtual Result<void> add_data(uint64_t offset, ConstByteSpan bytes) = 0;
  virtual Result<void> add_hole(uint64_t offset, uint64_t length) = 0;
};

// Holes stay, and stretches of zeros of this size become holes.
constexpr uint64_t kZeroGranuleBytes = 4096;
constexpr uint64_t kCopyBytes = 1024 * 1024;

class SparseOutput final : public ImageOutput {
 public:
  // Of zeros up to its size.
  explicit SparseOutput(WritableFile& file) : file_(file) {}

  Result<void> add_data(uint64_t offset, ConstByteSpan bytes) override {
    while (!bytes.empty()) {
      // As many granules as are alike, in one write or none.
      const bool is_zero = starts_with_zeros(bytes);
      uint64_t length = granule_of(bytes);
      while (length < bytes.size() && starts_with_zeros(bytes.subspan(length)) == is_zero) {
        length += granule_of(bytes.subspan(length));
      }
      if (!is_zero) {
        UNIONFS_TRY(file_.write(offset, bytes.first(length)));
      }
      offset += length;
      bytes = bytes.subspan(length);
    }
    return {};
  }
  Result<void> add_hole(uint64_t, uint64_t) override { return {}; }

 private:
  static uint64_t granule_of(ConstByteSpan bytes) {
    return std::min<uint64_t>(kZeroGranuleBytes, bytes.size());
  }
  static bool starts_with_zeros(ConstByteSpan bytes) {
    return all_zeros(bytes.first(granule_of(bytes)));
  }

  WritableFile& file_;
};

// Has no holes.
class StandardOutput final : public ImageOutput {
 public:
  Result<void> add_data(uint64_t, ConstByteSpan bytes) override {
    if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size()) {
      return system_failure(errno, "cannot write to the standard output");
    }
    return {};
  }
  Result<void> add_hole(uint64_t offset, uint64_t length) override {
    static const std::vector<std::byte> zeros(kCopyBytes);
    while (length > 0) {
      const uint64_t piece = std::min<uint64_t>(zeros.size(), length);
      UNIONFS_TRY(add_data(offset, ConstByteSpan(zeros).first(piece)));
      length -= piece;
    }
    return {};
  }
};

class Copier {
 public:
  Copier(const MergedView& view, ImageOutput& output, const std::string& name)
      : view_(view), output_(output), progress_(name, view.size_bytes()) {
    buffer_.resize(kCopyBytes);
  }

  Result<void> copy() {
    Result<void> result;
    view_.for_each_extent(
        0, view_.size_bytes(), [&](uint64_t offset, uint64_t length, bool is_hole) {
          progress_.show(offset);
          result = is_hole ? output_.add_hole(offset, length) : copy_range(offset, length);
          return result.has_value();
        });
    return result;
  }

 private:
  Result<void> copy_range(uint64_t offset, uint64_t length) {
    while (length > 0) {
      const ByteSpan piece = ByteSpan(buffer_).first(std::min<uint64_t>(length, buffer_.size()));
      UNIONFS_TRY(view_.read(offset, piece));
      UNIONFS_TRY(output_.add_data(offset, piece));
      offset += piece.size();
      length -= piece.size();
      progress_.show(offset);
    }
    return {};
  }

  const MergedView& view_;
  ImageOutput& output_;
  Progress progress_;
  std::vector<std::byte> buffer_;
};

// What was written, of one look.
struct Converted {
  std::unique_ptr<PosixFile> file;  // without its name yet; nullptr: the standard output
  uint64_t size_bytes = 0;
  bool is_clean = false;
};

Result<void> check_may_convert(const ConvertArguments& arguments, const OpenDisk& open) {
  if (open.is_in_use() && !arguments.is_live) {
    return invalid(
        "{}: a server has it, or was killed: its session may be written to at this moment; "
        "--live converts it all the same",
        arguments.upper);
  }
  return {};
}

Result<Converted> convert_to_file(const ConvertArguments& arguments, OpenDisk& open) {
  UNIONFS_TRY(check_may_convert(arguments, open));
  Converted converted;
  UNIONFS_ASSIGN(converted.file, PosixFile::create_for(arguments.output));
  converted.size_bytes = open.merged().size_bytes();
  UNIONFS_TRY(converted.file->resize(converted.size_bytes));
  SparseOutput output(*converted.file);
  UNIONFS_TRY(Copier(open.disk().view(), output, arguments.output).copy());
  UNIONFS_ASSIGN(converted.is_clean, is_clean(open));
  return converted;
}

// What was written cannot be taken back, so there is no second look.
Result<Converted> convert_to_stdout(const ConvertArguments& arguments, OpenDisk& open,
                                    bool& has_begun) {
  UNIONFS_TRY(check_may_convert(arguments, open));
  if (std::exchange(has_begun, true)) {
    return invalid(
        "{}: became another layer while it was written to the standard output, where only a "
        "part of it is",
        arguments.upper);
  }
  StandardOutput output;
  UNIONFS_TRY(Copier(open.disk().view(), output, "standard output").copy());
  Converted converted;
  converted.size_bytes = open.merged().size_bytes();
  UNIONFS_ASSIGN(converted.is_clean, is_clean(open));
  return converted;
}

Result<void> check_output(const ConvertArguments& arguments) {
  if (arguments.output != "-") {
    UNIONFS_TRY(check_absent(arguments.output));
    return check_can_appear(arguments.output);
  }
  if (::isatty(STDOUT_FILENO) == 1) {
    return invalid("an image is nothing for a terminal; lead the standard output elsewhere");
  }
  if (arguments.as_json) {
    return invalid("with - the standard output is the image, so it cannot have JSON, too");
  }
  return {};
}

Result<int> convert(const ConvertArguments& arguments) {
  UNIONFS_TRY(check_output(arguments));
  bool has_begun = false;
  UNIONFS_ASSIGN(const Converted converted,
                 look_at_disk<Converted>(
                     arguments,
                     [&](OpenDisk& open) {
                       return arguments.output == "-"
                                  ? convert_to_stdout(arguments, open, has_begun)
                                  : convert_to_file(arguments, open);
                     },
                     arguments.is_live ? LookNeeds::kSameLayer : LookNeeds::kNoClient));
  if (converted.file) {
    UNIONFS_TRY(converted.file->publish());
  }
  if (!converted.is_clean) {
    note(
        fmt::format("{}: the file system was not cleanly unmounted; run e2fsck", arguments.output));
  }
  if (arguments.as_json) {
    print_json(Json{{"output", arguments.output},
                    {"size", converted.size_bytes},
                    {"disk-size", disk_bytes(*converted.file)},
                    {"clean", converted.is_clean}});
  }
  return kExitSuccess;
}

}  // namespace

void add_convert(CLI::App& app, Command& chosen) {
  CLI::App* command =
      app.add_subcommand("convert", "Write the merged image as one plain, sparse ext2 file");
  const auto arguments = std::make_shared<ConvertArguments>();
  command->add_flag("--live", arguments->is_live,
                    "Also while a server has it, as after pulling the plug at this moment");
  add_common(*command, *arguments, LowerArgument::kRequired);
  names_file(
      command->add_option("OUTPUT", arguments->output, "The new file; -: the standard output")
          ->required()
          ->type_name(""));
  command->callback([arguments, &chosen] { chosen = [arguments] { return convert(*arguments); }; });
}

}  // namespace unionfs::img
