// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/image_source.h"

#include <array>

#include "overlay/changes/foreign_tree.h"
#include "overlay/host/posix_file.h"
#include "overlay/sources/ext4_source.h"
#include "overlay/sources/jffs2_source.h"
#include "overlay/sources/nbd_image.h"
#include "overlay/sources/upper_source.h"

namespace unionfs {
namespace {

// docs/interop/qcow2.txt of QEMU: the magic number, "QFI" and 0xfb.
constexpr std::array<std::byte, 4> kQcow2Magic = {std::byte{'Q'}, std::byte{'F'}, std::byte{'I'},
                                                  std::byte{0xfb}};

Result<bool> is_qcow2(const Image& image) {
  if (image.size_bytes() < kQcow2Magic.size()) {
    return false;
  }
  UNIONFS_ASSIGN(const auto magic, (read_structure<std::array<std::byte, 4>>(image, 0)));
  return magic == kQcow2Magic;
}

// Of an image whose superblock only libext2fs may know how to read.
Result<ImageMeaning> meaning_of(const Image& image, const Volume& lower) {
  UNIONFS_ASSIGN(const auto superblock,
                 read_structure<ext2::Superblock>(image, ext2::kSuperblockOffsetBytes));
  if ((superblock.s_feature_incompat & ext2::kIncompatWhiteout) != 0) {
    return ImageMeaning::kUpper;
  }
  if (superblock.s_uuid == lower.superblock().raw().s_uuid) {
    return ImageMeaning::kWhole;
  }
  const Result<ForeignTree> tree = ForeignTree::open(image);
  const bool has_marks = tree && !find_overlayfs_marks(*tree).empty();
  return has_marks ? ImageMeaning::kUpper : ImageMeaning::kUnknown;
}

}  // namespace

Result<std::shared_ptr<const Image>> open_image_source(const std::string& location) {
  if (is_nbd_uri(location)) {
    return open_nbd_image(location);
  }
  UNIONFS_ASSIGN(auto file, PosixFile::open(location, FileLock::kShared));
  UNIONFS_ASSIGN(const bool needs_qemu, is_qcow2(*file));
  if (needs_qemu) {
    file.reset();
    return open_qcow2_image(location);
  }
  return std::shared_ptr<const Image>(std::move(file));
}

Result<SourceLayer> read_image_layer(const std::string& location, ImageMeaning meaning,
                                     const Volume& lower, const LogSink& notes) {
  UNIONFS_ASSIGN(const std::shared_ptr<const Image> image, open_image_source(location));
  SourceLayer layer;
  UNIONFS_ASSIGN(const bool is_ext2, is_ext2_family(*image));
  if (!is_ext2) {
    UNIONFS_ASSIGN(const bool is_flash, is_jffs2(*image));
    if (!is_flash) {
      return invalid(
          "{}: is no directory, no archive, no container image, and no image of ext2, ext3, ext4 "
          "or "
          "jffs2",
          image->name());
    }
    UNIONFS_ASSIGN(layer.tree, read_jffs2_image(image, notes));
    return layer;
  }
  if (meaning == ImageMeaning::kUnknown) {
    UNIONFS_ASSIGN(meaning, meaning_of(*image, lower));
  }
  switch (meaning) {
    case ImageMeaning::kUpper: {
      UNIONFS_ASSIGN(layer.tree, read_foreign_upper(image));
      return layer;
    }
    case ImageMeaning::kWhole: {
      UNIONFS_ASSIGN(const auto superblock,
                     read_structure<ext2::Superblock>(*image, ext2::kSuperblockOffsetBytes));
      layer.are_inodes_of_lower = superblock.s_uuid == lower.superblock().raw().s_uuid;
      UNIONFS_ASSIGN(layer.tree, read_whole_image(image));
      return layer;
    }
    case ImageMeaning::kUnknown:
      break;
  }
  return invalid(
      "{0}: is another file system than the lower, without marks of an upper; say image:{0} if it "
      "is all that the disk shall show, or upper:{0} if it lies over the lower",
      image->name());
}

}  // namespace unionfs
