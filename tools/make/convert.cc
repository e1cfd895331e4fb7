// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img convert: the merged image as one plain ext2 file.
#include <algorithm>

#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/open_disk.h"
#include "tools/command_line/progress.h"
#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

struct ConvertArguments : CommonArguments {
  std::string output;
};

// Holes are kept, and stretches of zeros of this size become holes.
constexpr uint64_t kZeroGranuleBytes = 4096;
constexpr uint64_t kCopyBytes = 1024 * 1024;

class Copier {
 public:
  Copier(const MergedView& view, WritableFile& output)
      : view_(view), output_(output), progress_(output.name(), view.size_bytes()) {
    buffer_.resize(kCopyBytes);
  }

  Result<void> copy() {
    UNIONFS_TRY(output_.resize(view_.size_bytes()));
    Result<void> result;
    view_.for_each_extent(0, view_.size_bytes(),
                          [&](uint64_t offset, uint64_t length, bool is_hole) {
                            progress_.show(offset);
                            result = is_hole ? Result<void>() : copy_range(offset, length);
                            return result.has_value();
                          });
    return result;
  }

 private:
  Result<void> copy_range(uint64_t offset, uint64_t length) {
    while (length > 0) {
      const ByteSpan piece = ByteSpan(buffer_).first(std::min<uint64_t>(length, buffer_.size()));
      UNIONFS_TRY(view_.read(offset, piece));
      UNIONFS_TRY(write_sparse(offset, piece));
      offset += piece.size();
      length -= piece.size();
      progress_.show(offset);
    }
    return {};
  }

  Result<void> write_sparse(uint64_t offset, ConstByteSpan bytes) {
    while (!bytes.empty()) {
      // As many granules as are alike, in one write or none.
      const bool is_zero = starts_with_zeros(bytes);
      uint64_t length = granule_of(bytes);
      while (length < bytes.size() && starts_with_zeros(bytes.subspan(length)) == is_zero) {
        length += granule_of(bytes.subspan(length));
      }
      if (!is_zero) {
        UNIONFS_TRY(output_.write(offset, bytes.first(length)));
      }
      offset += length;
      bytes = bytes.subspan(length);
    }
    return {};
  }

  static uint64_t granule_of(ConstByteSpan bytes) {
    return std::min<uint64_t>(kZeroGranuleBytes, bytes.size());
  }
  static bool starts_with_zeros(ConstByteSpan bytes) {
    const ConstByteSpan granule = bytes.first(granule_of(bytes));
    return std::all_of(granule.begin(), granule.end(),
                       [](std::byte byte) { return byte == std::byte{0}; });
  }

  const MergedView& view_;
  WritableFile& output_;
  Progress progress_;
  std::vector<std::byte> buffer_;
};

Result<int> convert(const ConvertArguments& arguments) {
  UNIONFS_TRY(check_absent(arguments.output));
  UNIONFS_ASSIGN(const auto open, OpenDisk::open(arguments));
  UNIONFS_TRY(check_can_appear(arguments.output));
  UNIONFS_ASSIGN(const auto output, PosixFile::create_for(arguments.output));
  UNIONFS_TRY(Copier(open->disk().view(), *output).copy());
  UNIONFS_TRY(output->publish());
  ext2::Superblock raw;
  UNIONFS_TRY(open->disk().view().read(ext2::kSuperblockOffsetBytes,
                                       std::as_writable_bytes(std::span(&raw, 1))));
  const bool is_clean = (raw.s_state & ext2::kStateValid) != 0;
  if (!is_clean) {
    note(
        fmt::format("{}: the file system was not cleanly unmounted; run e2fsck", arguments.output));
  }
  if (arguments.as_json) {
    print_json(Json{{"output", arguments.output},
                    {"size", open->merged().size_bytes()},
                    {"disk-size", disk_bytes(*output)},
                    {"clean", is_clean}});
  }
  return kExitSuccess;
}

}  // namespace

void add_convert(CLI::App& app, Command& chosen) {
  CLI::App* command =
      app.add_subcommand("convert", "Write the merged image as one plain, sparse ext2 file");
  const auto arguments = std::make_shared<ConvertArguments>();
  add_common(*command, *arguments, LowerArgument::kRequired);
  command->add_option("OUTPUT", arguments->output, "The new file")->required()->type_name("");
  command->callback([arguments, &chosen] { chosen = [arguments] { return convert(*arguments); }; });
}

}  // namespace unionfs::img
