// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sinks/oci_image.h"

#include <sys/stat.h>

#include <algorithm>

#include "overlay/sinks/digest.h"
#include "overlay/sinks/oci_json.h"

namespace unionfs {
namespace {

constexpr const char* kReferenceName = "org.opencontainers.image.ref.name";
constexpr const char* kManifestType = "application/vnd.oci.image.manifest.v1+json";
constexpr const char* kIndexType = "application/vnd.oci.image.index.v1+json";
constexpr const char* kConfigurationType = "application/vnd.oci.image.config.v1+json";
constexpr const char* kLayerType = "application/vnd.oci.image.layer.v1.tar";
constexpr const char* kMakerAnnotation = "unionfs-img.compression";
constexpr const char* kCreatedBy = "unionfs-img export";

std::string layer_type(Compression compression) {
  switch (compression) {
    case Compression::kGzip:
      return fmt::format("{}+gzip", kLayerType);
    case Compression::kZstd:
      return fmt::format("{}+zstd", kLayerType);
    case Compression::kNone:
      break;
  }
  return kLayerType;
}

Result<std::string> read_document(const std::string& path, const PosixFile& file) {
  if (file.size_bytes() > kMaxOciDocumentBytes) {
    return invalid("{}: has {} bytes, more than such a document may have", path, file.size_bytes());
  }
  std::string text(file.size_bytes(), '\0');
  UNIONFS_TRY(file.read(0, std::as_writable_bytes(std::span(text))));
  return text;
}

Result<OciJson> read_json(const std::string& path) {
  UNIONFS_ASSIGN(const auto file, PosixFile::open(path, FileLock::kNone));
  UNIONFS_ASSIGN(const std::string text, read_document(path, *file));
  return parse_oci_json(path, text);
}

Result<std::string> digest_of(const std::string& text) {
  DigestOutput digest(nullptr);
  UNIONFS_TRY(digest.add(std::as_bytes(std::span(text))));
  return digest.hex();
}

// A blob that a descriptor of `media_type` names.
Result<OciJson> read_blob(const std::string& path, const OciDescriptor& descriptor) {
  UNIONFS_ASSIGN(const auto file, PosixFile::open(path, FileLock::kNone));
  UNIONFS_ASSIGN(const std::string text, read_document(path, *file));
  UNIONFS_ASSIGN(const std::string digest, digest_of(text));
  if (digest != descriptor.digest || text.size() != descriptor.size_bytes) {
    return invalid("{}: has other bytes than its name and its size say", path);
  }
  return parse_oci_json(path, text);
}

Result<void> check_type(const std::string& file, const OciDescriptor& descriptor,
                        const char* wanted) {
  if (descriptor.media_type == wanted) {
    return {};
  }
  const bool is_index = descriptor.media_type == kIndexType;
  return unsupported("{}: {} where {} is expected; {}", file, quoted_name(descriptor.media_type),
                     wanted,
                     is_index ? "copy the image of one platform into a layout of its own"
                              : "\"skopeo copy --format=oci\" makes an image of OCI");
}

Result<void> check_new_tag(const std::string& tag) {
  const auto is_allowed = [](char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') ||
           std::string_view("-._:@+/").find(byte) != std::string::npos;
  };
  return !tag.empty() && std::ranges::all_of(tag, is_allowed)
             ? Result<void>()
             : invalid("{} is no name that an image can have", quoted_name(tag));
}

// The descriptor of the image that is chosen.
Result<OciJson> find_image(const std::string& file, const OciJson& index, const AddedImage& added) {
  UNIONFS_ASSIGN(const OciJson manifests, oci_array(file, index, "manifests"));
  std::vector<OciJson> found;
  for (const OciJson& manifest : manifests) {
    const std::string tag = oci_annotation(manifest, kReferenceName);
    if (tag == added.new_tag) {
      return invalid("{}: has an image {} already", file, quoted_name(tag));
    }
    if (added.base_tag.empty() || tag == added.base_tag) {
      found.push_back(manifest);
    }
  }
  const std::string wanted =
      added.base_tag.empty() ? std::string("image") : "image " + quoted_name(added.base_tag);
  if (found.empty()) {
    return invalid("{}: has no {}", file, wanted);
  }
  if (found.size() > 1) {
    return invalid("{}: has {} of that name: say which {} is meant", file, found.size(), wanted);
  }
  return found.front();
}

void add_to_configuration(OciJson& configuration, const LayerBlob& layer,
                          const std::string& created) {
  configuration["created"] = created;
  configuration["rootfs"]["diff_ids"].push_back("sha256:" + layer.diff_id);
  // Without one, one of this layer alone would be wrong.
  if (const auto history = configuration.find("history");
      history != configuration.end() && history->is_array()) {
    history->push_back({{"created", created}, {"created_by", kCreatedBy}});
  }
}

}  // namespace

struct OciImage::Documents {
  std::string index_path;
  std::unique_ptr<PosixFile> index_file;  // locked
  OciJson index;
  OciJson image;  // its descriptor in the index
  OciJson manifest;
  OciJson configuration;
};

OciImage::OciImage(AddedImage added, std::unique_ptr<Documents> documents)
    : added_(std::move(added)), documents_(std::move(documents)) {}
OciImage::~OciImage() = default;

std::string OciImage::blob_path(const std::string& digest) const {
  return fmt::format("{}/blobs/sha256/{}", added_.layout, digest);
}

Result<std::unique_ptr<OciImage>> OciImage::open(const AddedImage& added) {
  UNIONFS_TRY(check_new_tag(added.new_tag));
  std::unique_ptr<OciImage> image(new OciImage(added, std::make_unique<Documents>()));
  Documents& documents = *image->documents_;
  const std::string marker = added.layout + "/oci-layout";
  UNIONFS_ASSIGN(const OciJson layout, read_json(marker));
  UNIONFS_ASSIGN(const std::string version, oci_text(marker, layout, "imageLayoutVersion"));
  if (version != "1.0.0") {
    return unsupported("{}: is of version {}", marker, quoted_name(version));
  }
  documents.index_path = added.layout + "/index.json";
  UNIONFS_ASSIGN(documents.index_file, PosixFile::open(documents.index_path, FileLock::kExclusive));
  UNIONFS_ASSIGN(const std::string text,
                 read_document(documents.index_path, *documents.index_file));
  UNIONFS_ASSIGN(documents.index, parse_oci_json(documents.index_path, text));
  UNIONFS_ASSIGN(documents.image, find_image(documents.index_path, documents.index, added));
  UNIONFS_TRY(image->read_base());
  return image;
}

Result<void> OciImage::read_base() {
  Documents& documents = *documents_;
  UNIONFS_ASSIGN(const auto image, oci_descriptor(documents.index_path, documents.image));
  UNIONFS_TRY(check_type(documents.index_path, image, kManifestType));
  const std::string manifest = blob_path(image.digest);
  UNIONFS_ASSIGN(documents.manifest, read_blob(manifest, image));
  UNIONFS_ASSIGN(const OciJson config, oci_object(manifest, documents.manifest, "config"));
  UNIONFS_ASSIGN(const auto configuration, oci_descriptor(manifest, config));
  UNIONFS_TRY(check_type(manifest, configuration, kConfigurationType));
  const std::string path = blob_path(configuration.digest);
  UNIONFS_ASSIGN(documents.configuration, read_blob(path, configuration));
  UNIONFS_ASSIGN(const OciJson layers, oci_array(manifest, documents.manifest, "layers"));
  UNIONFS_ASSIGN(const OciJson root, oci_object(path, documents.configuration, "rootfs"));
  UNIONFS_ASSIGN(const OciJson diff_ids, oci_array(path, root, "diff_ids"));
  if (layers.size() != diff_ids.size()) {
    return invalid("{}: speaks of {} layers, and the manifest of {}", path, diff_ids.size(),
                   layers.size());
  }
  return {};
}

Result<std::unique_ptr<PosixFile>> OciImage::create_layer() const {
  return PosixFile::create_for(blob_path("layer"));
}

// A blob of that name has these bytes.
Result<void> OciImage::publish_blob(PosixFile& file, const std::string& digest,
                                    uint64_t size_bytes) const {
  const std::string path = blob_path(digest);
  struct stat status = {};
  if (::lstat(path.c_str(), &status) == -1) {
    return file.publish_as(path);
  }
  if (!S_ISREG(status.st_mode) || static_cast<uint64_t>(status.st_size) != size_bytes) {
    return invalid("{}: is there already, and cannot be what its name says", path);
  }
  return {};
}

Result<std::string> OciImage::add_document(const std::string& text) const {
  UNIONFS_ASSIGN(const std::string digest, digest_of(text));
  UNIONFS_ASSIGN(const auto file, create_layer());
  UNIONFS_TRY(file->write(0, std::as_bytes(std::span(text))));
  UNIONFS_TRY(publish_blob(*file, digest, text.size()));
  return digest;
}

Result<std::string> OciImage::add(PosixFile& file, const LayerBlob& layer, Compression compression,
                                  int64_t created) {
  UNIONFS_TRY(publish_blob(file, layer.digest, layer.size_bytes));
  add_to_configuration(documents_->configuration, layer, oci_time(created));
  const std::string configuration_text = documents_->configuration.dump();
  UNIONFS_ASSIGN(const std::string configuration_digest, add_document(configuration_text));

  OciJson& manifest = documents_->manifest;
  manifest["config"]["digest"] = "sha256:" + configuration_digest;
  manifest["config"]["size"] = configuration_text.size();
  OciJson descriptor = {{"mediaType", layer_type(compression)},
                        {"digest", "sha256:" + layer.digest},
                        {"size", layer.size_bytes}};
  if (const std::string maker = compression_maker(compression); !maker.empty()) {
    descriptor["annotations"][kMakerAnnotation] = maker;
  }
  manifest["layers"].push_back(std::move(descriptor));
  const std::string manifest_text = manifest.dump();
  UNIONFS_ASSIGN(std::string manifest_digest, add_document(manifest_text));

  OciJson image = documents_->image;
  image["digest"] = "sha256:" + manifest_digest;
  image["size"] = manifest_text.size();
  image["annotations"] = {{kReferenceName, added_.new_tag}};
  documents_->index["manifests"].push_back(std::move(image));
  UNIONFS_TRY(replace_index());
  return manifest_digest;
}

Result<void> OciImage::replace_index() {
  const std::string text = documents_->index.dump();
  UNIONFS_ASSIGN(const auto file, PosixFile::create_for(documents_->index_path));
  UNIONFS_TRY(file->take_looks_of(*documents_->index_file));
  UNIONFS_TRY(file->write(0, std::as_bytes(std::span(text))));
  return file->publish_instead_of(*documents_->index_file);
}

}  // namespace unionfs
