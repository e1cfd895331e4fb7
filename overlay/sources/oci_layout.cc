// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/oci_layout.h"

#include <nlohmann/json.hpp>

#include "overlay/sources/oci_json.h"
#include "overlay/sources/tar_source.h"
#include "overlay/sources/tree_builder.h"

namespace unionfs {
namespace {

constexpr std::string_view kLayoutFile = "oci-layout";
constexpr std::string_view kIndexFile = "index.json";

class DirectoryLayout final : public OciLayout {
 public:
  DirectoryLayout(std::string path, SourceContext& context)
      : path_(std::move(path)), context_(context) {}

  const std::string& name() const override { return path_; }
  Result<std::unique_ptr<ByteStream>> open(const std::string& path) override {
    return open_stream(path_ + "/" + path, context_);
  }

 private:
  const std::string path_;
  SourceContext& context_;
};

// A layout that came out of an archive.
class TreeLayout final : public OciLayout {
 public:
  TreeLayout(std::string name, FileTree tree, const SourceLimits& limits)
      : name_(std::move(name)), tree_(std::move(tree)), limits_(limits) {}

  const std::string& name() const override { return name_; }

  Result<std::unique_ptr<ByteStream>> open(const std::string& path) override {
    const std::string where = name_ + ": " + path;
    UNIONFS_ASSIGN(const EntryPath names, parse_entry_path(path, limits_, name_));
    TreeFileId id = kTreeRoot;
    for (const std::string& name : names) {
      const TreeName* found = tree_.find(id, name);
      if (found == nullptr) {
        return system_failure(ENOENT, where);
      }
      id = found->file;
    }
    const TreeFile& file = tree_.file(id);
    if (!file.state.is_regular()) {
      return invalid("{}: is no regular file", where);
    }
    return file.content == nullptr ? stream_in_memory(where, {})
                                   : stream_of_bytes(where, file.content);
  }

 private:
  const std::string name_;
  const FileTree tree_;
  const SourceLimits limits_;
};

Result<std::string> read_text(ByteStream& stream, size_t most_bytes) {
  UNIONFS_ASSIGN(const std::vector<std::byte> bytes, read_whole_stream(stream, most_bytes));
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Result<void> check_layout(OciLayout& layout, size_t most_bytes) {
  auto stream = layout.open(std::string(kLayoutFile));
  if (!stream) {
    return invalid("{}: is no OCI image layout: {}", layout.name(), stream.error().message);
  }
  UNIONFS_ASSIGN(const std::string text, read_text(**stream, most_bytes));
  UNIONFS_ASSIGN(const nlohmann::json content, parse_json(text, (*stream)->name()));
  UNIONFS_ASSIGN(const std::string version,
                 json_text(content, "imageLayoutVersion", (*stream)->name()));
  if (!version.starts_with("1.")) {
    return unsupported("{}: version {} of image layouts", (*stream)->name(), quoted_name(version));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<ByteStream>> OciLayout::open_blob(const BlobDigest& digest) {
  return open("blobs/" + digest.algorithm + "/" + digest.hexadecimal);
}

Result<std::string> OciLayout::read_blob(const BlobDescriptor& blob, size_t most_bytes) {
  UNIONFS_ASSIGN(const auto stream, open_blob(blob.digest));
  CheckedStream checked(*stream, blob.digest, blob.size_bytes);
  UNIONFS_ASSIGN(std::string text, read_text(checked, most_bytes));
  UNIONFS_TRY(checked.finish());
  return text;
}

Result<std::unique_ptr<OciLayout>> open_layout(const OciReference& reference,
                                               SourceContext& context) {
  std::unique_ptr<OciLayout> layout;
  if (reference.is_archive) {
    UNIONFS_ASSIGN(FileTree tree, read_tar(reference.path, TarRules::kPlain, context));
    layout = std::make_unique<TreeLayout>(reference.path, std::move(tree), context.limits);
  } else {
    layout = std::make_unique<DirectoryLayout>(reference.path, context);
  }
  UNIONFS_TRY(check_layout(*layout, context.limits.json_bytes));
  return layout;
}

Result<std::vector<ImageLayer>> find_layers(OciLayout& layout, const std::string& tag,
                                            const SourceLimits& limits) {
  constexpr int kMostIndices = 4;  // one within another
  UNIONFS_ASSIGN(const auto stream, layout.open(std::string(kIndexFile)));
  UNIONFS_ASSIGN(std::string text, read_text(*stream, limits.json_bytes));
  std::string where = stream->name();
  std::string wanted_tag = tag;
  BlobDescriptor image;
  for (int depth = 0;; ++depth) {
    if (depth == kMostIndices) {
      return unsupported("{}: more than {} indices lead to one another", layout.name(),
                         kMostIndices);
    }
    UNIONFS_ASSIGN(const auto images, parse_index(text, where));
    UNIONFS_ASSIGN(image, choose_image(images, wanted_tag, host_platform(), where));
    where = layout.name() + ": " + image.digest.text();
    UNIONFS_ASSIGN(text, layout.read_blob(image, limits.json_bytes));
    if (!is_index_type(image.media_type)) {
      break;
    }
    wanted_tag.clear();
  }
  UNIONFS_ASSIGN(const ImageManifest manifest, parse_manifest(text, limits, where));
  UNIONFS_ASSIGN(const std::string configuration,
                 layout.read_blob(manifest.configuration, limits.json_bytes));
  const std::string its_name = layout.name() + ": " + manifest.configuration.digest.text();
  UNIONFS_ASSIGN(const auto unpacked, parse_configuration(configuration, its_name));
  if (unpacked.size() != manifest.layers.size()) {
    return corrupt("{}: has {} layers, and its configuration tells of {}", where,
                   manifest.layers.size(), unpacked.size());
  }
  std::vector<ImageLayer> layers;
  for (size_t index = 0; index < unpacked.size(); ++index) {
    layers.push_back({manifest.layers[index], unpacked[index]});
  }
  return layers;
}

}  // namespace unionfs
