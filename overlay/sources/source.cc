// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/source.h"

#include <archive_entry.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "fsparse/ext2_format.h"
#include "overlay/sources/archive_reader.h"
#include "overlay/sources/directory_source.h"
#include "overlay/sources/docker_archive.h"
#include "overlay/sources/tar_source.h"
#include "overlay/sources/tree_builder.h"

namespace unionfs {
namespace {

struct KindPrefix {
  std::string_view prefix;
  SourceKind kind;
};
constexpr std::array kKindPrefixes = {KindPrefix{"dir:", SourceKind::kDirectory},
                                      KindPrefix{"overlayfs:", SourceKind::kOverlayfsDirectory},
                                      KindPrefix{"tar:", SourceKind::kTar}};

constexpr std::string_view kDockerPrefix = "docker-archive:";

// What files begin with: RFC 1952, RFC 8878, the .xz file format.
constexpr std::array<std::string_view, 3> kPackedMagics = {std::string_view("\x1f\x8b", 2),
                                                           std::string_view("\x28\xb5\x2f\xfd", 4),
                                                           std::string_view("\xfd"
                                                                            "7zXZ\0",
                                                                            6)};

// POSIX.1-2001, ustar: where the sum of the header's bytes is, with spaces in its own place.
constexpr size_t kTarHeaderBytes = 512;
constexpr size_t kTarSumOffset = 148;
constexpr size_t kTarSumBytes = 8;

bool is_tar_header(std::string_view header) {
  if (header.size() < kTarHeaderBytes || header[0] == '\0') {
    return false;
  }
  uint32_t sum = 0;
  uint32_t said = 0;
  for (size_t index = 0; index < kTarHeaderBytes; ++index) {
    const bool is_sum = index >= kTarSumOffset && index < kTarSumOffset + kTarSumBytes;
    sum += is_sum ? ' ' : static_cast<unsigned char>(header[index]);
    if (is_sum && header[index] >= '0' && header[index] <= '7') {
      said = said * 8 + static_cast<uint32_t>(header[index] - '0');
    }
  }
  return sum == said;
}

// A context to have a look with.
SourceContext looking_context() {
  SourceContext context;
  context.limits.unpacked_bytes = uint64_t{1} << 30;
  return context;
}

Result<bool> is_archive(const std::string& path) {
  SourceContext context = looking_context();
  UNIONFS_ASSIGN(const auto stream, open_stream(path, context));
  std::string header(kTarHeaderBytes, '\0');
  size_t length = 0;
  while (length < header.size()) {
    const ByteSpan rest = std::as_writable_bytes(std::span(header)).subspan(length);
    UNIONFS_ASSIGN(const size_t got, stream->read(rest));
    if (got == 0) {
      break;
    }
    length += got;
  }
  header.resize(length);
  return is_tar_header(header) ||
         std::ranges::any_of(kPackedMagics, [&](auto magic) { return header.starts_with(magic); });
}

// Of the first entry that is no directory: whether only an image layout has such a file.
bool is_of_layout(const EntryPath& path) {
  if (path.size() == 1) {
    return path[0] == "oci-layout" || path[0] == "index.json";
  }
  constexpr size_t kDigestCharacters = 64;
  return path.size() == 3 && path[0] == "blobs" && path[1].starts_with("sha") &&
         path[2].size() >= kDigestCharacters &&
         path[2].find_first_not_of("0123456789abcdef") == std::string::npos;
}

// What an archive holds, by its first file.  Errors show when the archive is read.
Result<SourceKind> kind_of_archive(const std::string& path) {
  SourceContext context = looking_context();
  UNIONFS_ASSIGN(const auto stream, open_stream(path, context));
  UNIONFS_ASSIGN(const auto unpacked, unpack_stream(*stream, context));
  UNIONFS_ASSIGN(const auto reader, ArchiveReader::open(*unpacked, ArchiveReader::Reads::kTar));
  archive_entry* entry = nullptr;
  do {
    UNIONFS_ASSIGN(entry, reader->next_entry(path));
  } while (entry != nullptr && archive_entry_filetype(entry) == AE_IFDIR);
  const char* name = entry == nullptr ? nullptr : archive_entry_pathname(entry);
  UNIONFS_ASSIGN(const EntryPath names,
                 parse_entry_path(name == nullptr ? "" : name, context.limits, path));
  const bool is_regular = entry != nullptr && archive_entry_filetype(entry) == AE_IFREG;
  if (is_regular && is_of_layout(names)) {
    return SourceKind::kOciArchive;
  }
  const bool is_link = entry != nullptr && archive_entry_filetype(entry) == AE_IFLNK;
  return (is_regular || is_link) && is_of_docker_archive(names) ? SourceKind::kDockerArchive
                                                                : SourceKind::kTar;
}

SourceKind kind_of_directory(const std::string& path, LayerUse use) {
  struct stat status;
  if (::stat((path + "/oci-layout").c_str(), &status) == 0 && S_ISREG(status.st_mode)) {
    return SourceKind::kOciDirectory;
  }
  return use == LayerUse::kWholeTree ? SourceKind::kDirectory : SourceKind::kOverlayfsDirectory;
}

// Of a pipe it cannot be seen beforehand.
Result<void> check_no_image(const FileTree& tree, const std::string& path) {
  const auto has = [&](std::string_view name) { return tree.find(kTreeRoot, name) != nullptr; };
  const bool is_docker = has("manifest.json") && has("repositories");
  if (path != "-" || (!is_docker && !(has("oci-layout") && has("index.json")))) {
    return {};
  }
  return invalid(
      "the standard input is an archive of a container image, which cannot be read from a pipe; "
      "save it to a file, and name that");
}

}  // namespace

Result<NamedSource> name_source(std::string_view argument, LayerUse use) {
  for (const KindPrefix& known : kKindPrefixes) {
    if (argument.starts_with(known.prefix)) {
      return NamedSource{known.kind, std::string(argument.substr(known.prefix.size())), ""};
    }
  }
  if (argument.starts_with("oci:") || argument.starts_with("oci-archive:")) {
    UNIONFS_ASSIGN(OciReference reference, parse_oci_reference(argument));
    return NamedSource{reference.is_archive ? SourceKind::kOciArchive : SourceKind::kOciDirectory,
                       std::move(reference.path), std::move(reference.tag)};
  }
  if (argument.starts_with(kDockerPrefix)) {
    UNIONFS_ASSIGN(OciReference reference, split_reference(argument, kDockerPrefix.size()));
    return NamedSource{SourceKind::kDockerArchive, std::move(reference.path),
                       std::move(reference.tag)};
  }
  NamedSource source{SourceKind::kTar, std::string(argument), ""};
  struct stat status;
  if (source.path == "-") {
    return source;
  }
  if (::stat(source.path.c_str(), &status) == -1) {
    return system_failure(errno, source.path);
  }
  if (S_ISDIR(status.st_mode)) {
    source.kind = kind_of_directory(source.path, use);
    return source;
  }
  if (!S_ISREG(status.st_mode)) {
    source.kind = S_ISBLK(status.st_mode) ? SourceKind::kImage : SourceKind::kTar;
    return source;
  }
  UNIONFS_ASSIGN(const bool is_packed_or_tar, is_archive(source.path));
  if (!is_packed_or_tar) {
    source.kind = SourceKind::kImage;
  } else {
    source.kind = kind_of_archive(source.path).value_or(SourceKind::kTar);
  }
  return source;
}

Result<FileTree> read_source(const NamedSource& source, LayerUse use, SourceContext& context) {
  const bool is_archive_of_images = source.kind == SourceKind::kOciArchive;
  switch (source.kind) {
    case SourceKind::kDirectory:
      return read_directory(source.path, context);
    case SourceKind::kOverlayfsDirectory:
      return read_overlayfs_directory(source.path, context);
    case SourceKind::kTar: {
      UNIONFS_ASSIGN(
          FileTree tree,
          read_tar(source.path, use == LayerUse::kWholeTree ? TarRules::kPlain : TarRules::kLayer,
                   context));
      UNIONFS_TRY(check_no_image(tree, source.path));
      return tree;
    }
    case SourceKind::kOciDirectory:
    case SourceKind::kOciArchive:
      return read_oci_image({source.path, is_archive_of_images, source.tag}, use, context);
    case SourceKind::kDockerArchive:
      return read_docker_archive(source.path, source.tag, use, context);
    case SourceKind::kImage:
      break;
  }
  return invalid("{}: is neither a directory nor an archive", source.path);
}

}  // namespace unionfs
