// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/oci_source.h"

#include <sys/stat.h>

#include "overlay/sources/archive_reader.h"
#include "overlay/sources/oci_layout.h"
#include "overlay/sources/tar_source.h"

namespace unionfs {
namespace {

constexpr std::string_view kDirectoryPrefix = "oci:";
constexpr std::string_view kArchivePrefix = "oci-archive:";

bool is_there(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0;
}

Result<FileTree> read_layer(OciLayout& layout, const ImageLayer& layer, SourceContext& context) {
  UNIONFS_ASSIGN(const auto stream, layout.open_blob(layer.blob.digest));
  CheckedStream packed(*stream, layer.blob.digest, layer.blob.size_bytes);
  UNIONFS_ASSIGN(const auto unpacked, unpack_stream(packed, context));
  CheckedStream tar(*unpacked, layer.unpacked, {});
  UNIONFS_ASSIGN(FileTree tree,
                 read_unpacked_tar(tar, TarRules::kLayer, TarEnd::kOptional, context));
  UNIONFS_TRY(packed.finish());
  UNIONFS_TRY(tar.finish());
  return tree;
}

// A directory of the layer, over what the tree has of its name.
struct DirectoryPair {
  TreeFileId below;
  TreeFileId above;
  std::string path;
};

}  // namespace

Result<OciReference> parse_oci_reference(std::string_view argument) {
  const bool is_archive = argument.starts_with(kArchivePrefix);
  if (!is_archive && !argument.starts_with(kDirectoryPrefix)) {
    return invalid("{}: neither oci:DIRECTORY[:TAG] nor oci-archive:FILE[:TAG]", argument);
  }
  UNIONFS_ASSIGN(
      OciReference reference,
      split_reference(argument, is_archive ? kArchivePrefix.size() : kDirectoryPrefix.size()));
  reference.is_archive = is_archive;
  return reference;
}

Result<OciReference> split_reference(std::string_view argument, size_t prefix) {
  OciReference reference;
  const std::string rest(argument.substr(prefix));
  size_t colon = is_there(rest) ? std::string::npos : rest.find(':');
  const size_t first = colon;
  while (colon != std::string::npos && !is_there(rest.substr(0, colon))) {
    colon = rest.find(':', colon + 1);
    if (colon == std::string::npos) {
      colon = first;
      break;
    }
  }
  reference.path = rest.substr(0, colon);
  reference.tag = colon == std::string::npos ? "" : rest.substr(colon + 1);
  if (reference.path.empty()) {
    return invalid("{}: names no path", argument);
  }
  return reference;
}

Result<void> lay_layer_over(FileTree& tree, FileTree layer, LayerUse use, const std::string& name) {
  std::vector<DirectoryPair> open = {{kTreeRoot, kTreeRoot, ""}};
  while (!open.empty()) {
    const DirectoryPair pair = std::move(open.back());
    open.pop_back();
    for (const auto& [entry, above] : layer.file(pair.above).names) {
      const TreeName* below = tree.find(pair.below, entry);
      if (above.mark != TreeMark::kFile || below == nullptr || below->mark != TreeMark::kFile) {
        continue;
      }
      const TreeFile& directory = layer.file(above.file);
      if (!directory.state.is_directory() || directory.is_opaque) {
        continue;
      }
      const std::string path = pair.path + entry;
      if (tree.file(below->file).state.is_directory()) {
        open.push_back({below->file, above.file, path + "/"});
      } else if (directory.is_implied) {
        return invalid("{}: has names in {}, which is no directory in the layers below it", name,
                       quoted_name(path));
      }
    }
  }
  lay_over(tree, std::move(layer), use == LayerUse::kLayer);
  return {};
}

Result<FileTree> read_oci_image(const OciReference& reference, LayerUse use,
                                SourceContext& context) {
  UNIONFS_ASSIGN(const auto layout, open_layout(reference, context));
  UNIONFS_ASSIGN(const auto layers, find_layers(*layout, reference.tag, context.limits));
  FileTree tree;
  for (const ImageLayer& layer : layers) {
    UNIONFS_ASSIGN(FileTree next, read_layer(*layout, layer, context));
    UNIONFS_TRY(lay_layer_over(tree, std::move(next), use,
                               layout->name() + ": " + layer.blob.digest.text()));
  }
  return tree;
}

}  // namespace unionfs
