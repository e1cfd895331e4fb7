// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/base/base_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "fsparse/inode.h"
#include "fsparse/xattr_form.h"
#include "overlay/base/block_map_form.h"
#include "overlay/base/buffered_writer.h"
#include "overlay/base/file_blocks.h"

namespace unionfs {
namespace {

// The kernel's old encoding of a device's numbers, or where they are too large its new one.
void put_device(const FileState& state, ext2::Inode& raw) {
  if (state.device_major < 256 && state.device_minor < 256) {
    raw.i_block[0] = state.device_major << 8 | state.device_minor;
  } else {
    raw.i_block[1] =
        (state.device_minor & 0xff) | state.device_major << 8 | (state.device_minor & ~0xffU) << 12;
  }
}

// The kernel lets nobody set others on what is neither a file nor a directory, and e2fsck takes
// some for damage.
constexpr uint32_t kFlagsOfOthers = 0x000000C0;  // EXT2_NODUMP_FL, EXT2_NOATIME_FL

class BaseWriter {
 public:
  BaseWriter(const BasePlan& plan, const BaseLayout& layout, const BaseOptions& options,
             WritableFile& out)
      : plan_(plan),
        layout_(layout),
        options_(options),
        out_(out),
        superblock_(constant_superblock(options)),
        inodes_(out),
        names_(out),
        small_(out),
        large_(out) {}

  Result<void> run() {
    UNIONFS_TRY(out_.resize(layout_.layout().size_bytes()));
    UNIONFS_TRY(walk_tree(tree(), [this](const TreeVisit& visit) -> Result<void> {
      return visit.is_first_name ? write_file(visit.name.file, visit.path) : Result<void>();
    }));
    UNIONFS_TRY(inodes_.flush());
    UNIONFS_TRY(names_.flush());
    UNIONFS_TRY(small_.flush());
    UNIONFS_TRY(large_.flush());
    return write_groups(plan_, layout_, options_, out_);
  }

 private:
  const FileTree& tree() const { return plan_.ready.tree; }
  uint64_t offset_of(DataPosition position) const {
    return layout_.layout().offset_of(layout_.block_at(position));
  }

  Result<void> write_file(TreeFileId id, const std::string& path) {
    const TreeFile& file = tree().file(id);
    const BaseInode& planned = plan_.inodes[id];
    InodeRecord record(planned.number, std::vector<std::byte>(options_.inode_size_bytes),
                       options_.block_size_bytes);
    put_state(file, planned, record);
    UNIONFS_TRY(write_attributes(file.state, planned, record));
    switch (file.state.type()) {
      case ext2::kModeDirectory:
        UNIONFS_TRY(write_directory(id, path, record));
        break;
      case ext2::kModeSymlink:
        UNIONFS_TRY(write_target(file.state.target, planned, record));
        break;
      case ext2::kModeRegular:
        UNIONFS_TRY(write_content(file, planned, path, record));
        break;
      case ext2::kModeCharDevice:
      case ext2::kModeBlockDevice:
        put_device(file.state, record.raw());
        break;
      default:
        break;
    }
    return inodes_.write(inode_offset(layout_.layout(), layout_.groups(), planned.number),
                         record.bytes());
  }

  // All but size, content and attributes.
  void put_state(const TreeFile& file, const BaseInode& planned, InodeRecord& record) {
    if (options_.inode_size_bytes > ext2::kGoodOldInodeSizeBytes) {
      const Le16 extra_size(ext2::kUsualExtraSizeBytes);
      std::memcpy(record.bytes().data() + ext2::kGoodOldInodeSizeBytes, &extra_size,
                  sizeof(extra_size));
    }
    put_metadata(file.state, record);
    ext2::Inode& raw = record.raw();
    if (!file.state.is_regular() && !file.state.is_directory()) {
      raw.i_flags = raw.i_flags & kFlagsOfOthers;
    }
    raw.i_links_count = static_cast<uint16_t>(planned.links_count);
    raw.i_generation = planned.generation;
    const uint64_t blocks = planned.names.count + planned.maps.count + planned.data.count +
                            (planned.attribute_block ? 1 : 0);
    raw.i_blocks =
        static_cast<uint32_t>(blocks * (options_.block_size_bytes / ext2::kSectorSizeBytes));
  }

  Result<void> write_attributes(const FileState& state, const BaseInode& planned,
                                InodeRecord& record) {
    const PlacedAttributes placed =
        place_attributes(state.attributes, attribute_room(options_), options_.block_size_bytes)
            .value();
    put_inode_attributes(record.bytes().last(static_cast<size_t>(attribute_room(options_))),
                         placed.in_inode);
    if (!planned.attribute_block) {
      return {};
    }
    const BaseAttributeBlock& block = plan_.attribute_blocks[*planned.attribute_block];
    record.raw().i_file_acl = static_cast<uint32_t>(layout_.block_at(block.place.begin).value());
    if (*planned.attribute_block != next_attribute_block_) {
      return {};  // whoever came first has written it
    }
    ++next_attribute_block_;
    return names_.write(
        offset_of(block.place.begin),
        make_xattr_block(placed.in_block, options_.block_size_bytes, block.reference_count));
  }

  BlockMapForm map_form(const BaseInode& planned, const std::string& path) {
    return BlockMapForm(
        layout_.layout().pointers_per_block(),
        [this, &path, next = planned.maps.begin,
         end = planned.maps.end()]() mutable -> Result<BlockNumber> {
          if (next == end) {
            return has_changed(path);
          }
          const BlockNumber block = layout_.block_at(next);
          ++next;
          return block;
        },
        [this](BlockNumber block, ConstByteSpan bytes) {
          return out_.write(layout_.layout().offset_of(block), bytes);
        });
  }

  Result<void> write_directory(TreeFileId id, const std::string& path, InodeRecord& record) {
    const BaseInode& planned = plan_.inodes[id];
    UNIONFS_ASSIGN(const DirectoryBlocks made,
                   directory_blocks(superblock_, path,
                                    planned_directory(plan_.ready, plan_.inodes, id, options_)));
    assert(made.blocks.size() == planned.names.count);
    BlockMapForm map = map_form(planned, path);
    for (size_t index = 0; index < made.blocks.size(); ++index) {
      const BlockNumber block = layout_.block_at(planned.names.begin + index);
      UNIONFS_TRY(map.add(FileBlock(index), block));
      UNIONFS_TRY(names_.write(layout_.layout().offset_of(block), made.blocks[index]));
    }
    UNIONFS_TRY(map.finish());
    record.raw().i_block = map.slots();
    record.raw().i_size = static_cast<uint32_t>(made.blocks.size() * options_.block_size_bytes);
    if (made.has_index) {
      record.raw().i_flags = record.raw().i_flags | ext2::kFlagIndex;
    }
    return {};
  }

  Result<void> write_target(const std::string& target, const BaseInode& planned,
                            InodeRecord& record) {
    ext2::Inode& raw = record.raw();
    raw.i_size = static_cast<uint32_t>(target.size());
    if (is_fast_target(target)) {
      std::memcpy(raw.i_block.data(), target.data(), target.size());
      return {};
    }
    std::vector<std::byte> block(options_.block_size_bytes);
    std::memcpy(block.data(), target.data(), target.size());
    raw.i_block[0] = static_cast<uint32_t>(layout_.block_at(planned.names.begin).value());
    return names_.write(offset_of(planned.names.begin), block);
  }

  Result<void> write_content(const TreeFile& file, const BaseInode& planned,
                             const std::string& path, InodeRecord& record) {
    const uint64_t size = file.content ? file.content->size_bytes() : 0;
    record.raw().i_size = static_cast<uint32_t>(size);
    record.raw().i_size_high = static_cast<uint32_t>(size >> 32);
    ContentDigest digest;
    DataPosition next = planned.data.begin;
    BufferedWriter& data = is_large_file(planned.data.count, options_) ? large_ : small_;
    BlockMapForm map = map_form(planned, path);
    if (file.content) {
      UNIONFS_TRY(for_each_block_run(*file.content, options_.block_size_bytes, buffer_,
                                     [&](FileBlock first, ConstByteSpan bytes) -> Result<void> {
                                       digest.add(first.value() * options_.block_size_bytes, bytes);
                                       return next + bytes.size() / options_.block_size_bytes >
                                                      planned.data.end()
                                                  ? has_changed(path)
                                                  : write_run(first, bytes, next, data, map);
                                     }));
    }
    if (digest.value(size) != planned.digest) {
      return has_changed(path);
    }
    UNIONFS_TRY(map.finish());
    record.raw().i_block = map.slots();
    show_progress(size);
    return {};
  }

  // Since the plan was made.
  static Failure has_changed(const std::string& path) {
    return invalid("{}: was changed while it was read", quoted_name(path));
  }

  // Moves `next` on.
  Result<void> write_run(FileBlock first, ConstByteSpan bytes, DataPosition& next,
                         BufferedWriter& data, BlockMapForm& map) {
    const uint64_t count = bytes.size() / options_.block_size_bytes;
    Result<void> result;
    layout_.for_each_range(next, next + count, [&](BlockRange range) {
      const uint64_t length = range.count() * options_.block_size_bytes;
      for (BlockNumber block = range.begin; result && block < range.end; ++block, ++first) {
        result = map.add(first, block);
      }
      if (result) {
        result = data.write(layout_.layout().offset_of(range.begin), bytes.first(length));
      }
      bytes = bytes.subspan(length);
    });
    next += count;
    return result;
  }

  void show_progress(uint64_t bytes) {
    done_bytes_ += bytes;
    if (options_.progress) {
      options_.progress(plan_.ready.content_bytes + done_bytes_, 2 * plan_.ready.content_bytes);
    }
  }

  const BasePlan& plan_;
  const BaseLayout& layout_;
  const BaseOptions& options_;
  WritableFile& out_;
  const ext2::Superblock superblock_;
  // Each is filled in ascending order.
  BufferedWriter inodes_;
  BufferedWriter names_;
  BufferedWriter small_;
  BufferedWriter large_;
  uint32_t next_attribute_block_ = 0;
  std::vector<std::byte> buffer_;
  uint64_t done_bytes_ = 0;
};

}  // namespace

Result<void> write_base(const BasePlan& plan, const BaseLayout& layout, const BaseOptions& options,
                        WritableFile& out) {
  return BaseWriter(plan, layout, options, out).run();
}

}  // namespace unionfs
