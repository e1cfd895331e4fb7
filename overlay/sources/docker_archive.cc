// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/docker_archive.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "overlay/sources/archive_reader.h"
#include "overlay/sources/oci_json.h"
#include "overlay/sources/oci_layout.h"
#include "overlay/sources/tar_source.h"

namespace unionfs {
namespace {

constexpr std::string_view kManifestFile = "manifest.json";
constexpr size_t kIdCharacters = 64;  // of a SHA-256 in hexadecimal
constexpr int kMostArchiveLinks = 8;  // symlinks, one to the next

struct DockerImage {
  std::string configuration;        // paths in the archive
  std::vector<std::string> layers;  // bottom first
  std::vector<std::string> tags;    // "name:tag"
};

bool is_id(std::string_view text) {
  return text.size() == kIdCharacters &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// The texts of a list; nothing where it is null.
Result<std::vector<std::string>> texts_of(const nlohmann::json& image, const char* name,
                                          std::string_view where) {
  std::vector<std::string> texts;
  const nlohmann::json* member = json_member(image, name);
  if (member == nullptr || member->is_null()) {
    return texts;
  }
  UNIONFS_ASSIGN(const nlohmann::json* list, json_list(image, name, where));
  for (const nlohmann::json& text : *list) {
    if (!text.is_string()) {
      return corrupt("{}: something in \"{}\" is no text", where, name);
    }
    texts.push_back(text.get_ref<const std::string&>());
  }
  return texts;
}

Result<std::vector<DockerImage>> parse_docker_manifest(std::string_view text,
                                                       const SourceLimits& limits,
                                                       std::string_view where) {
  UNIONFS_ASSIGN(const nlohmann::json list, parse_json(text, where));
  if (!list.is_array()) {
    return corrupt("{}: is no list of images", where);
  }
  std::vector<DockerImage> images;
  for (const nlohmann::json& value : list) {
    DockerImage image;
    UNIONFS_ASSIGN(image.configuration, json_text(value, "Config", where));
    UNIONFS_ASSIGN(image.layers, texts_of(value, "Layers", where));
    UNIONFS_ASSIGN(image.tags, texts_of(value, "RepoTags", where));
    if (image.layers.size() > limits.layers) {
      return unsupported("{}: has {} layers; the limit is {}", where, image.layers.size(),
                         limits.layers);
    }
    images.push_back(std::move(image));
  }
  return images;
}

Result<DockerImage> choose_docker_image(const std::vector<DockerImage>& images,
                                        const std::string& tag, std::string_view where) {
  if (tag.empty() && images.size() == 1) {
    return images.front();
  }
  std::string tags;
  for (const DockerImage& image : images) {
    for (const std::string& known : image.tags) {
      if (!tag.empty() && known == tag) {
        return image;
      }
      tags += (tags.empty() ? "" : ", ") + quoted_name(known);
    }
  }
  tags = tags.empty() ? "none" : tags;
  if (tag.empty()) {
    return invalid("{}: has {} images; name one of the tags {}", where, images.size(), tags);
  }
  return invalid("{}: has no image {}; the tags are {}", where, quoted_name(tag), tags);
}

// The files of the archive.
class DockerArchive {
 public:
  DockerArchive(std::string name, FileTree tree, SourceContext& context)
      : name_(std::move(name)), tree_(std::move(tree)), context_(context) {}

  Result<FileTree> read(const std::string& tag, LayerUse use) {
    const std::string manifest = name_ + ": " + std::string(kManifestFile);
    UNIONFS_ASSIGN(const std::string text, text_of(std::string(kManifestFile)));
    UNIONFS_ASSIGN(const auto images, parse_docker_manifest(text, context_.limits, manifest));
    UNIONFS_ASSIGN(const DockerImage image, choose_docker_image(images, tag, manifest));
    UNIONFS_ASSIGN(const std::string configuration, text_of(image.configuration));
    UNIONFS_ASSIGN(const auto unpacked,
                   parse_configuration(configuration, name_ + ": " + image.configuration));
    if (unpacked.size() != image.layers.size()) {
      return corrupt("{}: has {} layers, and its configuration tells of {}", manifest,
                     image.layers.size(), unpacked.size());
    }
    FileTree tree;
    for (size_t index = 0; index < unpacked.size(); ++index) {
      UNIONFS_ASSIGN(FileTree layer, layer_of(image.layers[index], unpacked[index]));
      UNIONFS_TRY(lay_layer_over(tree, std::move(layer), use, name_ + ": " + image.layers[index]));
    }
    return tree;
  }

 private:
  Result<std::string> text_of(const std::string& path) {
    UNIONFS_ASSIGN(const auto stream, open(path));
    UNIONFS_ASSIGN(const auto bytes, read_whole_stream(*stream, context_.limits.json_bytes));
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  Result<FileTree> layer_of(const std::string& path, const BlobDigest& digest) {
    UNIONFS_ASSIGN(const auto packed, open(path));
    UNIONFS_ASSIGN(const auto unpacked, unpack_stream(*packed, context_));
    CheckedStream tar(*unpacked, digest, {});
    UNIONFS_ASSIGN(FileTree tree,
                   read_unpacked_tar(tar, TarRules::kLayer, TarEnd::kOptional, context_));
    UNIONFS_TRY(tar.finish());
    return tree;
  }

  Result<std::unique_ptr<ByteStream>> open(const std::string& path) {
    const std::string where = name_ + ": " + path;
    UNIONFS_ASSIGN(EntryPath names, parse_entry_path(path, context_.limits, name_));
    for (int links = 0; links < kMostArchiveLinks; ++links) {
      const TreeFile* file = find(names);
      if (file == nullptr) {
        return system_failure(ENOENT, where);
      }
      if (file->state.type() == ext2::kModeSymlink) {
        UNIONFS_TRY(follow(file->state.target, names, where));
        continue;
      }
      if (!file->state.is_regular()) {
        return invalid("{}: is no regular file", where);
      }
      return file->content == nullptr ? stream_in_memory(where, {})
                                      : stream_of_bytes(where, file->content);
    }
    return invalid("{}: more than {} symlinks lead to one another", where, kMostArchiveLinks);
  }

  // Nothing, if there is no such file.
  const TreeFile* find(const EntryPath& names) const {
    TreeFileId id = kTreeRoot;
    for (const std::string& name : names) {
      const TreeName* found = tree_.find(id, name);
      if (found == nullptr) {
        return nullptr;
      }
      id = found->file;
    }
    return &tree_.file(id);
  }

  // Where a symlink of that path leads to.
  Result<void> follow(std::string_view target, EntryPath& names, const std::string& where) const {
    names.pop_back();
    while (target.starts_with("../") && !names.empty()) {
      names.pop_back();
      target.remove_prefix(3);
    }
    UNIONFS_ASSIGN(const EntryPath rest, parse_entry_path(target, context_.limits, where));
    names.insert(names.end(), rest.begin(), rest.end());
    return {};
  }

  const std::string name_;
  const FileTree tree_;
  SourceContext& context_;
};

}  // namespace

bool is_of_docker_archive(const EntryPath& path) {
  constexpr std::array kOfLayer = {"VERSION", "json", "layer.tar"};
  constexpr std::array kEndings = {"", ".json", ".tar", ".tar.gz"};
  constexpr std::string_view kAlgorithm = "sha256:";
  if (path.size() == 2) {
    return is_id(path[0]) && std::ranges::find(kOfLayer, path[1]) != kOfLayer.end();
  }
  if (path.size() != 1) {
    return false;
  }
  std::string_view name = path[0];
  name.remove_prefix(name.starts_with(kAlgorithm) ? kAlgorithm.size() : 0);
  return name == kManifestFile || name == "repositories" ||
         (is_id(name.substr(0, kIdCharacters)) &&
          std::ranges::find(kEndings, name.substr(kIdCharacters)) != kEndings.end());
}

Result<FileTree> read_docker_archive(const std::string& path, const std::string& tag, LayerUse use,
                                     SourceContext& context) {
  UNIONFS_ASSIGN(FileTree tree, read_tar(path, TarRules::kPlain, context));
  return DockerArchive(path, std::move(tree), context).read(tag, use);
}

}  // namespace unionfs
