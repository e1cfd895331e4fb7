// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img mkbase: a lower made of anything.
#include <charconv>
#include <memory>
#include <optional>
#include <utility>

#include "overlay/base/make_base.h"
#include "overlay/host/posix_file.h"
#include "overlay/sources/ext4_source.h"
#include "overlay/sources/oci_source.h"
#include "overlay/sources/source.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/open_disk.h"
#include "tools/command_line/progress.h"
#include "tools/command_line/source_context.h"
#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

struct MkbaseArguments {
  std::vector<std::string> files;  // the sources, then the lower
  std::string size;
  std::string inode_ratio;
  std::string uuid;
  BaseOptions options;
  bool as_json = false;

  const std::string& lower() const { return files.back(); }
};

// "8-4-4-4-12" hexadecimal digits.
Result<std::array<uint8_t, 16>> parse_uuid(const std::string& text) {
  std::array<uint8_t, 16> bytes = {};
  std::string digits;
  for (size_t at = 0; at < text.size(); ++at) {
    const bool is_border = at == 8 || at == 13 || at == 18 || at == 23;
    if (is_border != (text[at] == '-')) {
      digits.clear();
      break;
    }
    digits += is_border ? "" : text.substr(at, 1);
  }
  bool is_right = text.size() == uuid_text(bytes).size() && digits.size() == 2 * bytes.size();
  for (size_t index = 0; is_right && index < bytes.size(); ++index) {
    const char* pair = digits.data() + 2 * index;
    is_right = std::from_chars(pair, pair + 2, bytes[index], 16).ptr == pair + 2;
  }
  if (!is_right) {
    return invalid("{} is not a UUID, as 01234567-89ab-cdef-0123-456789abcdef", quoted_name(text));
  }
  return bytes;
}

Result<BaseOptions> base_options(const MkbaseArguments& arguments) {
  BaseOptions options = arguments.options;
  if (!arguments.size.empty()) {
    UNIONFS_ASSIGN(options.size_bytes, parse_size(arguments.size));
  }
  if (!arguments.inode_ratio.empty()) {
    UNIONFS_ASSIGN(options.inode_ratio_bytes, parse_size(arguments.inode_ratio));
  }
  if (!arguments.uuid.empty()) {
    UNIONFS_ASSIGN(options.uuid, parse_uuid(arguments.uuid));
  }
  UNIONFS_ASSIGN(options.epoch, source_date_epoch());
  return options;
}

Result<FileTree> read_tree(const std::string& argument, SourceContext& context) {
  UNIONFS_ASSIGN(const NamedSource source, name_source(argument, LayerUse::kWholeTree));
  if (source.kind == SourceKind::kImage) {
    return read_ext4_image(source.path);
  }
  return read_source(source, LayerUse::kWholeTree, context);
}

// All sources over one another.
Result<FileTree> read_trees(const MkbaseArguments& arguments) {
  UNIONFS_ASSIGN(SourceContext context, make_source_context());
  FileTree tree;
  for (size_t index = 0; index + 1 < arguments.files.size(); ++index) {
    const std::string& argument = arguments.files[index];
    UNIONFS_ASSIGN(FileTree layer, read_tree(argument, context));
    UNIONFS_TRY(lay_layer_over(tree, std::move(layer), LayerUse::kWholeTree, argument));
  }
  return tree;
}

void print_facts(const MkbaseArguments& arguments, const BaseFacts& facts, const PosixFile& lower) {
  if (arguments.as_json) {
    print_json(Json{{"lower", arguments.lower()},
                    {"size", facts.size_bytes},
                    {"block-size", arguments.options.block_size_bytes},
                    {"blocks", facts.block_count},
                    {"free-blocks", facts.free_block_count},
                    {"inodes", facts.inode_count},
                    {"free-inodes", facts.free_inode_count},
                    {"uuid", uuid_text(facts.uuid)},
                    {"disk-size", disk_bytes(lower)}});
  } else {
    fmt::print("{}: made, {} ({} bytes), UUID {}\n", printable(arguments.lower()),
               human_size(facts.size_bytes), facts.size_bytes, uuid_text(facts.uuid));
  }
}

Result<int> mkbase(const MkbaseArguments& arguments) {
  UNIONFS_TRY(check_sources(arguments.files, "LOWER"));
  UNIONFS_ASSIGN(BaseOptions options, base_options(arguments));
  if (arguments.lower() == "-") {
    return invalid("an image with holes is nothing for the standard output; name a file");
  }
  UNIONFS_TRY(check_absent(arguments.lower()));
  UNIONFS_TRY(check_can_appear(arguments.lower()));
  UNIONFS_ASSIGN(FileTree tree, read_trees(arguments));
  UNIONFS_ASSIGN(const auto lower, PosixFile::create_for(arguments.lower()));
  std::optional<Progress> progress;
  options.progress = [&](uint64_t done_bytes, uint64_t total_bytes) {
    if (!progress) {
      progress.emplace(arguments.lower(), total_bytes);
    }
    progress->show(done_bytes);
  };
  UNIONFS_ASSIGN(const BaseFacts facts, make_base(std::move(tree), *lower, options));
  progress.reset();
  UNIONFS_TRY(lower->publish());
  if (facts.rounded_path) {
    note(
        fmt::format("{}: inodes of {} bytes have no room for parts of seconds, such as those of {}",
                    arguments.lower(), options.inode_size_bytes, quoted_name(*facts.rounded_path)));
  }
  print_facts(arguments, facts, *lower);
  return kExitSuccess;
}

void add_image_options(CLI::App& command, MkbaseArguments& arguments) {
  BaseOptions& options = arguments.options;
  command
      .add_option("-s,--size", arguments.size,
                  "Size of the image, with K, M, G or T; default: what the files need")
      ->type_name("SIZE");
  command.add_option("--block-size", options.block_size_bytes, "1024, 2048 or 4096 bytes")
      ->capture_default_str()
      ->type_name("BYTES");
  command.add_option("--inode-size", options.inode_size_bytes, "128, 256 or more bytes")
      ->capture_default_str()
      ->type_name("BYTES");
  command
      .add_option("--inode-ratio", arguments.inode_ratio,
                  "Bytes of the image for each inode; default: 16K")
      ->type_name("SIZE");
  command.add_option("--label", options.label, "Name of the file system, 16 bytes at most")
      ->type_name("TEXT");
  command.add_option("--uuid", arguments.uuid, "Default: a hash of the content")->type_name("UUID");
}

}  // namespace

void add_mkbase(CLI::App& app, Command& chosen) {
  CLI::App* command =
      app.add_subcommand("mkbase", "Make a lower of directories, archives or other images");
  const auto arguments = std::make_shared<MkbaseArguments>();
  add_image_options(*command, *arguments);
  add_output_format(*command, arguments->as_json);
  add_sources(*command, arguments->files, "LOWER",
              "SOURCE... LOWER: each source is laid over those before it; the last name is "
              "that of the new image");
  command->callback([arguments, &chosen] { chosen = [arguments] { return mkbase(*arguments); }; });
}

}  // namespace unionfs::img
