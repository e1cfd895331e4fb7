// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/ext4_source.h"

#include <algorithm>
#include <cstring>

#include "fsparse/ext2_format.h"
#include "overlay/host/posix_file.h"
#include "overlay/sources/ext4_image.h"
#include "overlay/sources/inode_tree.h"

namespace unionfs {
namespace {

// More of the superblock than fsparse needs: ext4's incompat feature and field of 64 bits, and
// the journal that was not played back (fs/ext4/ext4.h).
constexpr uint32_t kIncompatRecover = 0x0004;
constexpr uint32_t kIncompat64Bit = 0x0080;
constexpr uint64_t kBlocksCountHighOffset = 0x150;
constexpr uint32_t kMostLogBlockSize = 6;  // 64 KiB

class Ext4FileBytes final : public FileBytes {
 public:
  Ext4FileBytes(std::shared_ptr<Ext4Image> image, uint32_t inode, uint64_t size_bytes)
      : image_(std::move(image)), inode_(inode), size_bytes_(size_bytes) {}

  uint64_t size_bytes() const override { return size_bytes_; }

  Result<std::optional<ByteRange>> next_data(uint64_t offset) override {
    UNIONFS_ASSIGN(const std::vector<Ext4Run>* const runs, image_->runs_of(inode_, size_bytes_));
    auto run = first_behind(*runs, offset);
    if (run == runs->end()) {
      return std::optional<ByteRange>();
    }
    ByteRange range{std::max(run->begin, offset), run->end};
    for (++run; run != runs->end() && run->begin == range.end; ++run) {
      range.end = run->end;
    }
    return std::optional(range);
  }

  Result<void> read(uint64_t offset, ByteSpan buffer) override {
    UNIONFS_ASSIGN(const std::vector<Ext4Run>* const runs, image_->runs_of(inode_, size_bytes_));
    std::ranges::fill(buffer, std::byte{0});
    const uint64_t end = offset + buffer.size();
    for (auto run = first_behind(*runs, offset); run != runs->end() && run->begin < end; ++run) {
      const uint64_t from = std::max(offset, run->begin);
      const uint64_t to = std::min(end, run->end);
      UNIONFS_TRY(image_->image().read(run->place + (from - run->begin),
                                       buffer.subspan(from - offset, to - from)));
    }
    return {};
  }

 private:
  static std::vector<Ext4Run>::const_iterator first_behind(const std::vector<Ext4Run>& runs,
                                                           uint64_t offset) {
    return std::ranges::upper_bound(runs, offset, {}, &Ext4Run::end);
  }

  const std::shared_ptr<Ext4Image> image_;
  const uint32_t inode_;
  const uint64_t size_bytes_;
};

class Ext4Source final : public InodeSource {
 public:
  explicit Ext4Source(std::shared_ptr<Ext4Image> image) : image_(std::move(image)) {}

  const std::string& name() const override { return image_->image().name(); }

  Result<TreeFile> read_file(uint32_t inode) override {
    UNIONFS_ASSIGN(Ext4Inode read, image_->read_inode(inode));
    TreeFile file;
    file.state = std::move(read.state);
    if (!file.state.is_regular() || file.state.size_bytes == 0) {
      return file;
    }
    if (read.has_inline_data) {
      UNIONFS_ASSIGN(std::vector<std::byte> bytes, image_->read_inline_data(inode));
      file.content = bytes_in_memory(std::move(bytes));
    } else {
      file.content = std::make_shared<Ext4FileBytes>(image_, inode, file.state.size_bytes);
    }
    return file;
  }

  Result<std::vector<InodeName>> read_names(uint32_t directory) override {
    UNIONFS_ASSIGN(std::vector<Ext4Name> read, image_->read_names(directory));
    std::vector<InodeName> names;
    for (Ext4Name& name : read) {
      names.push_back({std::move(name.name), TreeMark::kFile, name.inode});
    }
    return names;
  }

 private:
  const std::shared_ptr<Ext4Image> image_;
};

Result<uint64_t> block_count_of(const Image& image, const ext2::Superblock& raw) {
  if ((raw.s_feature_incompat & kIncompat64Bit) == 0) {
    return uint64_t{raw.s_blocks_count};
  }
  UNIONFS_ASSIGN(const Le32 high, read_structure<Le32>(image, ext2::kSuperblockOffsetBytes +
                                                                  kBlocksCountHighOffset));
  return raw.s_blocks_count | uint64_t{high} << 32;
}

// What libext2fs does not look at, or would set memory aside for.
Result<void> check_superblock(const Image& image) {
  const std::string& name = image.name();
  UNIONFS_ASSIGN(const bool is_ext, is_ext2_family(image));
  if (!is_ext) {
    return corrupt("{}: is not an ext2, ext3 or ext4 image", name);
  }
  UNIONFS_ASSIGN(const auto raw,
                 read_structure<ext2::Superblock>(image, ext2::kSuperblockOffsetBytes));
  UNIONFS_ASSIGN(const uint64_t block_count, block_count_of(image, raw));
  if (raw.s_log_block_size > kMostLogBlockSize) {
    return corrupt("{}: superblock: s_log_block_size is {}", name, raw.s_log_block_size);
  }
  const uint64_t block_size = uint64_t{1024} << raw.s_log_block_size;
  if (block_count > image.size_bytes() / block_size) {
    return corrupt("{}: is cut short: {} bytes, but its superblock says {} blocks of {} bytes",
                   name, image.size_bytes(), block_count, block_size);
  }
  if (raw.s_rev_level != ext2::kGoodOldRevision &&
      (raw.s_feature_incompat & kIncompatRecover) != 0) {
    return unsupported(
        "{}: its journal was not played back; do it in a copy of the image, with: "
        "e2fsck -fy COPY",
        name);
  }
  if ((raw.s_state & ext2::kStateError) != 0) {
    return unsupported("{}: is marked as having errors; mend a copy of it with: e2fsck -fy COPY",
                       name);
  }
  if ((raw.s_state & ext2::kStateValid) == 0) {
    return unsupported(
        "{}: was not cleanly unmounted; unmount it, or mend a copy of it with: "
        "e2fsck -fy COPY",
        name);
  }
  return {};
}

Result<FileTree> read_all(std::shared_ptr<const Image> image) {
  UNIONFS_TRY(check_superblock(*image));
  UNIONFS_ASSIGN(std::shared_ptr<Ext4Image> opened, Ext4Image::open(std::move(image)));
  Ext4Source source(std::move(opened));
  return read_inode_tree(source, ext2::kRootInode);
}

}  // namespace

Result<bool> is_ext2_family(const Image& image) {
  if (image.size_bytes() < ext2::kSuperblockOffsetBytes + ext2::kSuperblockSizeBytes) {
    return false;
  }
  UNIONFS_ASSIGN(const auto raw,
                 read_structure<ext2::Superblock>(image, ext2::kSuperblockOffsetBytes));
  return raw.s_magic == ext2::kMagic;
}

Result<FileTree> read_ext4_image(std::shared_ptr<const Image> image) {
  UNIONFS_ASSIGN(FileTree tree, read_all(std::move(image)));
  drop_empty_lost_and_found(tree);
  return tree;
}

Result<FileTree> read_whole_image(std::shared_ptr<const Image> image) {
  UNIONFS_ASSIGN(FileTree tree, read_all(std::move(image)));
  for (TreeFileId id = 0; id < tree.file_count(); ++id) {
    tree.file(id).is_opaque = tree.file(id).state.is_directory();
  }
  return tree;
}

Result<FileTree> read_ext4_image(const std::string& path) {
  UNIONFS_ASSIGN(std::shared_ptr<const Image> image, PosixFile::open(path, FileLock::kShared));
  return read_ext4_image(std::move(image));
}

Result<FileTree> read_whole_image(const std::string& path) {
  UNIONFS_ASSIGN(std::shared_ptr<const Image> image, PosixFile::open(path, FileLock::kShared));
  return read_whole_image(std::move(image));
}

}  // namespace unionfs
