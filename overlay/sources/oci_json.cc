// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/oci_json.h"

#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <set>
#include <span>

#include "overlay/sources/oci_layout.h"

namespace unionfs {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 2> kIndexTypes = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json"};
constexpr std::array<std::string_view, 2> kManifestTypes = {
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json"};
constexpr std::array<std::string_view, 2> kConfigurationTypes = {
    "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"};
constexpr std::array<std::string_view, 9> kLayerTypes = {
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"};

bool is_one_of(std::string_view text, std::span<const std::string_view> list) {
  return std::ranges::find(list, text) != list.end();
}

// The machine's name as uname(2) has it, and as Go does.
struct MachineName {
  std::string_view kernel;
  std::string_view go;
};
constexpr std::array kMachineNames = {
    MachineName{"x86_64", "amd64"},    MachineName{"aarch64", "arm64"},
    MachineName{"armv7l", "arm"},      MachineName{"armv6l", "arm"},
    MachineName{"i686", "386"},        MachineName{"i386", "386"},
    MachineName{"mips64", "mips64le"}, MachineName{"loongarch64", "loong64"},
};

Result<BlobDescriptor> parse_descriptor(const json& value, std::string_view where) {
  BlobDescriptor blob;
  UNIONFS_ASSIGN(blob.media_type, json_text(value, "mediaType", where));
  UNIONFS_ASSIGN(const std::string digest, json_text(value, "digest", where));
  UNIONFS_ASSIGN(blob.digest, parse_digest(digest, where));
  UNIONFS_ASSIGN(blob.size_bytes, json_number(value, "size", where));
  if (const json* annotations = json_member(value, "annotations")) {
    blob.tag = json_text_or_none(*annotations, "org.opencontainers.image.ref.name");
  }
  if (const json* platform = json_member(value, "platform")) {
    blob.platform =
        json_text_or_none(*platform, "os") + "/" + json_text_or_none(*platform, "architecture");
  }
  return blob;
}

Result<std::vector<BlobDescriptor>> parse_descriptors(const json& list, std::string_view where) {
  std::vector<BlobDescriptor> blobs;
  for (const json& value : list) {
    UNIONFS_ASSIGN(BlobDescriptor blob, parse_descriptor(value, where));
    blobs.push_back(std::move(blob));
  }
  return blobs;
}

std::string list_text(const std::set<std::string>& list) {
  constexpr size_t kMostShown = 20;
  std::string text;
  size_t shown = 0;
  for (const std::string& one : list) {
    if (++shown > kMostShown) {
      return text + ", ...";
    }
    text += (text.empty() ? "" : ", ") + quoted_name(one);
  }
  return text.empty() ? "none" : text;
}

}  // namespace

// ---- values ----------------------------------------------------------------------------

Result<json> parse_json(std::string_view text, std::string_view where) {
  json value = json::parse(text.begin(), text.end(), nullptr, false);
  if (value.is_discarded()) {
    return corrupt("{}: is not JSON", where);
  }
  return value;
}

const json* json_member(const json& value, const char* name) {
  if (!value.is_object()) {
    return nullptr;
  }
  const auto found = value.find(name);
  return found == value.end() ? nullptr : &*found;
}

Result<std::string> json_text(const json& value, const char* name, std::string_view where) {
  const json* member = json_member(value, name);
  if (member == nullptr || !member->is_string()) {
    return corrupt("{}: has no text \"{}\"", where, name);
  }
  return member->get_ref<const std::string&>();
}

Result<uint64_t> json_number(const json& value, const char* name, std::string_view where) {
  const json* member = json_member(value, name);
  if (member == nullptr || !member->is_number_unsigned()) {
    return corrupt("{}: has no number \"{}\"", where, name);
  }
  return member->get<uint64_t>();
}

Result<const json*> json_list(const json& value, const char* name, std::string_view where) {
  const json* member = json_member(value, name);
  if (member == nullptr || !member->is_array()) {
    return corrupt("{}: has no list \"{}\"", where, name);
  }
  return member;
}

std::string json_text_or_none(const json& value, const char* name) {
  const json* member = json_member(value, name);
  return member != nullptr && member->is_string() ? member->get_ref<const std::string&>() : "";
}

bool is_index_type(std::string_view media_type) {
  return is_one_of(media_type, kIndexTypes);
}

std::string host_platform() {
  utsname host;
  const std::string machine = ::uname(&host) == 0 ? host.machine : "";
  const auto found = std::ranges::find(kMachineNames, machine, &MachineName::kernel);
  return "linux/" + (found == kMachineNames.end() ? machine : std::string(found->go));
}

// ---- images ----------------------------------------------------------------------------

Result<std::vector<BlobDescriptor>> parse_index(std::string_view text, std::string_view where) {
  UNIONFS_ASSIGN(const json index, parse_json(text, where));
  UNIONFS_ASSIGN(const json* list, json_list(index, "manifests", where));
  return parse_descriptors(*list, where);
}

Result<BlobDescriptor> choose_image(const std::vector<BlobDescriptor>& images,
                                    const std::string& tag, std::string_view platform,
                                    std::string_view where) {
  std::vector<const BlobDescriptor*> left;
  std::set<std::string> tags;
  std::set<std::string> platforms;
  for (const BlobDescriptor& image : images) {
    tags.insert(image.tag);
    if (tag.empty() || image.tag == tag) {
      left.push_back(&image);
      platforms.insert(image.platform);
    }
  }
  if (left.empty()) {
    return invalid("{}: has no image {}; the tags are {}", where, quoted_name(tag),
                   list_text(tags));
  }
  if (tag.empty() && tags.size() > 1) {
    return invalid("{}: has several images; name one of the tags {}", where, list_text(tags));
  }
  if (left.size() > 1) {
    const auto fits = std::ranges::find(left, platform, &BlobDescriptor::platform);
    if (fits == left.end()) {
      return invalid("{}: has no image for {}; there are {}", where, platform,
                     list_text(platforms));
    }
    left = {*fits};
  }
  const BlobDescriptor& chosen = *left.front();
  if (!is_index_type(chosen.media_type) && !is_one_of(chosen.media_type, kManifestTypes)) {
    return unsupported("{}: {} is no image that is known here, but of the type {}", where,
                       chosen.digest.text(), quoted_name(chosen.media_type));
  }
  return chosen;
}

Result<ImageManifest> parse_manifest(std::string_view text, const SourceLimits& limits,
                                     std::string_view where) {
  UNIONFS_ASSIGN(const json value, parse_json(text, where));
  UNIONFS_ASSIGN(const uint64_t version, json_number(value, "schemaVersion", where));
  if (version != 2) {
    return unsupported("{}: version {} of manifests", where, version);
  }
  const json* configuration = json_member(value, "config");
  if (configuration == nullptr) {
    return corrupt("{}: has no configuration", where);
  }
  ImageManifest manifest;
  UNIONFS_ASSIGN(manifest.configuration, parse_descriptor(*configuration, where));
  if (!is_one_of(manifest.configuration.media_type, kConfigurationTypes)) {
    return unsupported("{}: is no container image, but something of the type {}", where,
                       quoted_name(manifest.configuration.media_type));
  }
  UNIONFS_ASSIGN(const json* list, json_list(value, "layers", where));
  if (list->size() > limits.layers) {
    return unsupported("{}: has {} layers; the limit is {}", where, list->size(), limits.layers);
  }
  UNIONFS_ASSIGN(manifest.layers, parse_descriptors(*list, where));
  for (const BlobDescriptor& layer : manifest.layers) {
    if (!is_one_of(layer.media_type, kLayerTypes)) {
      return unsupported("{}: the layer {} is of the unknown type {}", where, layer.digest.text(),
                         quoted_name(layer.media_type));
    }
  }
  return manifest;
}

Result<std::vector<BlobDigest>> parse_configuration(std::string_view text, std::string_view where) {
  UNIONFS_ASSIGN(const json value, parse_json(text, where));
  const json* rootfs = json_member(value, "rootfs");
  if (rootfs == nullptr) {
    return corrupt("{}: has no \"rootfs\"", where);
  }
  UNIONFS_ASSIGN(const json* list, json_list(*rootfs, "diff_ids", where));
  std::vector<BlobDigest> digests;
  for (const json& one : *list) {
    if (!one.is_string()) {
      return corrupt("{}: a diff id that is no text", where);
    }
    UNIONFS_ASSIGN(BlobDigest digest, parse_digest(one.get_ref<const std::string&>(), where));
    digests.push_back(std::move(digest));
  }
  return digests;
}

}  // namespace unionfs
