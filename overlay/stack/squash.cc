// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/squash.h"

#include <algorithm>
#include <vector>

#include "overlay/checkpoint/proof.h"
#include "overlay/disk.h"
#include "overlay/host/file_copy.h"
#include "overlay/host/process.h"
#include "overlay/stack/same_image.h"
#include "overlay/stack/seal.h"
#include "overlay/stack/touched_blocks.h"

namespace unionfs {
namespace {

constexpr uint64_t kSquashPieceBytes = uint64_t{1} << 20;

uint64_t count_of(const BlockSet& blocks) {
  uint64_t count = 0;
  (void)blocks.for_each([&count](BlockNumber) -> Result<void> {
    ++count;
    return {};
  });
  return count;
}

// Writes blocks of an image to a disk where that shows other bytes.
class DifferenceWriter {
 public:
  DifferenceWriter(const Volume& wanted, Disk& disk)
      : disk_(disk),
        wanted_image_(wanted.image()),
        used_(wanted),
        block_size_(wanted.layout().block_size_bytes),
        wanted_(kSquashPieceBytes),
        found_(kSquashPieceBytes) {}

  // They come in ascending order, and finish() is due at the end.  What is free means nothing.
  Result<void> add(BlockNumber block) {
    UNIONFS_ASSIGN(const bool is_used, used_.is_used(block));
    if (!is_used) {
      return {};
    }
    if (run_.end != block || run_.count() == kSquashPieceBytes / block_size_) {
      UNIONFS_TRY(finish());
      run_ = {block, block};
    }
    ++run_.end;
    return {};
  }

  Result<void> finish() {
    UNIONFS_TRY(write_differences(run_));
    run_ = {};
    return {};
  }

  // Whether it is used or not.
  Result<void> write_differences(BlockRange run) {
    const size_t length = run.count() * block_size_;
    const uint64_t offset = run.begin.value() * block_size_;
    UNIONFS_TRY(wanted_image_.read(offset, ByteSpan(wanted_).first(length)));
    UNIONFS_TRY(disk_.view().read(offset, ByteSpan(found_).first(length)));
    for (size_t at = 0; at < length;) {
      const BlockKind kind = kind_at(at);
      size_t end = at + block_size_;
      while (end < length && kind_at(end) == kind) {
        end += block_size_;
      }
      UNIONFS_TRY(write(kind, offset + at, ConstByteSpan(wanted_).subspan(at, end - at)));
      at = end;
    }
    return {};
  }

  uint64_t written_blocks() const { return written_blocks_; }

 private:
  enum class BlockKind : uint8_t { kSame, kZeros, kOther };

  BlockKind kind_at(size_t at) const {
    const ConstByteSpan wanted = ConstByteSpan(wanted_).subspan(at, block_size_);
    if (same_bytes(wanted, ConstByteSpan(found_).subspan(at, block_size_))) {
      return BlockKind::kSame;
    }
    return all_zeros(wanted) ? BlockKind::kZeros : BlockKind::kOther;
  }

  Result<void> write(BlockKind kind, uint64_t offset, ConstByteSpan bytes) {
    if (kind == BlockKind::kSame) {
      return {};
    }
    written_blocks_ += bytes.size() / block_size_;
    return kind == BlockKind::kZeros ? disk_.zero(offset, bytes.size(), {.may_trim = true})
                                     : disk_.write(offset, bytes);
  }

  Disk& disk_;
  const Image& wanted_image_;
  UsedNumbers used_;
  const uint32_t block_size_;
  BlockRange run_;
  std::vector<std::byte> wanted_;
  std::vector<std::byte> found_;
  uint64_t written_blocks_ = 0;
};

class Squash {
 public:
  Squash(const SquashSource& source, WritableFile& output, const SquashOptions& options,
         const std::atomic<bool>& is_cancelled)
      : source_(source),
        lowest_(source.lowest),
        top_(source.top),
        output_(output),
        options_(options),
        is_cancelled_(is_cancelled),
        above_(top_.geometry().merged()),
        touched_(top_.geometry().merged()),
        shown_("merged image of the layers", source.view) {}

  Result<SquashFigures> run() {
    find_touched();
    UNIONFS_ASSIGN(wanted_, Volume::open(wanted_file(), SuperblockUse::kMerged));
    UNIONFS_ASSIGN(boot_id_, read_boot_id());
    UNIONFS_TRY(copy_lowest());
    UNIONFS_TRY(grow());
    UNIONFS_TRY(make_layer());
    if (options_.is_compared) {
      UNIONFS_TRY(prove());
    }
    return figures_;
  }

 private:
  const Layout& layout() const { return top_.geometry().merged(); }

  const ReadableFile& wanted_file() const {
    return source_.mended != nullptr ? *source_.mended : shown_;
  }
  // The session of the lowest level is a part of what is shown, so the copy keeps it.
  bool keeps_session() const { return &lowest_ == &top_; }

  void find_touched() {
    for (const LayerOverLower* layer = &top_; layer != &lowest_; layer = layer->layer_below()) {
      add_touched_blocks(*layer, above_);
      add_touched_blocks(*layer, touched_);
    }
    add_touched_blocks(lowest_, touched_);
    for (const MergedView* view = &source_.view; view != nullptr; view = view->parent()) {
      add_written_blocks(*view, top_.geometry(), touched_);
      if (view->parent() != nullptr || !keeps_session()) {
        add_written_blocks(*view, top_.geometry(), above_);
      }
    }
    if (source_.mended_blocks != nullptr) {
      add_blocks(*source_.mended_blocks, top_.geometry(), touched_);
      add_blocks(*source_.mended_blocks, top_.geometry(), above_);
    }
    total_ = lowest_.upper_file().size_bytes() +
             (count_of(above_) + count_of(touched_)) * layout().block_size_bytes;
  }

  void show(uint64_t done) {
    if (options_.progress) {
      options_.progress(std::min(done, total_), total_);
    }
  }
  // The same of a part of the work that began at `done_`.
  void show_part(uint64_t done) { show(done_ + done); }

  Result<void> copy_lowest() {
    UNIONFS_TRY(copy_file(lowest_.upper_file(), output_, is_cancelled_,
                          [this](uint64_t done) { show_part(done); }));
    done_ = lowest_.upper_file().size_bytes();
    UNIONFS_TRY(unseal(output_));
    return keeps_session() ? Result<void>() : drop_session();
  }

  // What a frozen level below another layer has written is seen by nobody.
  Result<void> drop_session() {
    const StateArea& area = lowest_.area();
    UNIONFS_ASSIGN(const auto written,
                   SessionBitmap::open_for_reading(lowest_.upper_file(), area.durable_bitmap));
    const uint32_t block_size = lowest_.geometry().merged().block_size_bytes;
    const BlockNumber end(lowest_.geometry().merged().block_count);
    for (BlockNumber block(0); block < end;) {
      const SessionBitmap::BitRun run = written->run_at(block, end);
      for (; run.is_set && block < run.end; ++block) {
        if (lowest_.view().is_home_unused(block)) {
          UNIONFS_TRY(output_.punch(block.value() * block_size, block_size));
        }
      }
      block = run.end;
    }
    for (const FileRange& bits : {area.durable_bitmap, area.live_bitmap}) {
      UNIONFS_TRY(output_.punch(bits.offset, bits.length));
    }
    return {};
  }

  Result<std::unique_ptr<Disk>> load() {
    return Disk::load(lowest_.below(), output_, boot_id_, options_.log);
  }

  Result<void> grow() {
    if (lowest_.geometry().size_bytes() == top_.geometry().size_bytes()) {
      return {};
    }
    UNIONFS_ASSIGN(const Geometry larger,
                   Geometry::grow(lowest_.below().volume(), layout().size_bytes()));
    if (larger.merged() != layout()) {
      return unsupported("{}: grew in steps to a size that cannot be reached at once",
                         top_.upper_file().name());
    }
    UNIONFS_ASSIGN(const auto disk, load());
    return disk->grow(larger);
  }

  Result<void> make_layer() {
    UNIONFS_ASSIGN(const auto disk, load());
    UNIONFS_TRY(disk->attach(Access::kReadWrite));
    UNIONFS_TRY(write_all(*disk));
    UNIONFS_TRY(disk->close());
    if (disk->has_session()) {
      UNIONFS_ASSIGN(const CheckpointHints hints, find_hints());
      UNIONFS_ASSIGN(const CheckpointFigures figures,
                     disk->checkpoint(AskedBy::kPerson, is_cancelled_, hints));
      figures_.inodes_searched = figures.inodes_searched + figures.directories_searched;
    }
    return {};
  }

  Result<void> write_all(Disk& disk) {
    DifferenceWriter writer(*wanted_, disk);
    uint64_t count = 0;
    UNIONFS_TRY(above_.for_each([&](BlockNumber block) -> Result<void> {
      if (++count % 256 == 0) {
        UNIONFS_TRY(check_not_cancelled(is_cancelled_));
        show_part(count * layout().block_size_bytes);
      }
      return writer.add(block);
    }));
    UNIONFS_TRY(writer.finish());
    // The superblock, with the boot area before it, and the descriptors.
    for (BlockNumber block(0); block.value() <= layout().first_data_block; ++block) {
      UNIONFS_TRY(writer.write_differences({block, block + 1}));
    }
    for (uint32_t index = 0; index < layout().descriptor_block_count(); ++index) {
      const BlockNumber block = layout().primary_descriptor_block(index);
      UNIONFS_TRY(writer.write_differences({block, block + 1}));
    }
    done_ += count * layout().block_size_bytes;
    figures_.written_blocks = writer.written_blocks();
    return {};
  }

  // What the layers own is what was changed in place.
  Result<CheckpointHints> find_hints() const {
    CheckpointHints hints;
    const uint32_t per_group = layout().inodes_per_group;
    for (const LayerOverLower* layer = &top_; layer != &lowest_; layer = layer->layer_below()) {
      for (uint32_t number = 0; number < layer->geometry().merged().group_count(); ++number) {
        const ConstByteSpan own = layer->layer().own_inodes().of(GroupNumber(number));
        UNIONFS_TRY(for_each_set_bit(own, per_group, [&](uint64_t bit) -> Result<void> {
          const InodeNumber inode(static_cast<uint32_t>(uint64_t{number} * per_group + bit + 1));
          UNIONFS_ASSIGN(const InodeRecord record, top_.items().inode_at(inode));
          (record.is_directory() ? hints.directories : hints.inodes).push_back(inode);
          return {};
        }));
      }
    }
    return hints;
  }

  Result<void> prove() {
    UNIONFS_ASSIGN(const auto layer, LayerOverLower::load(lowest_.below(), output_, options_.log));
    UNIONFS_ASSIGN(const auto shown, MergedImage::open("squashed layer", layer->view()));
    add_touched_blocks(*layer, touched_);
    UNIONFS_TRY(prove_same_boot_area(*wanted_, shown->volume(), output_.name()));
    UNIONFS_TRY(prove_same_counters(*wanted_, shown->volume(), output_.name()));
    const BlockNumber end(layout().block_count);
    UNIONFS_TRY(prove_same(
        *wanted_, shown->volume(), layer->geometry(), layer->layer(), touched_,
        [&](BlockRange blocks) {
          figures_.proven_blocks += blocks.count();
          show_part(figures_.proven_blocks * layout().block_size_bytes);
          return SourcesRun{false, blocks.end};
        },
        is_cancelled_));
    show(total_);
    return {};
  }

  const SquashSource& source_;
  const LayerOverLower& lowest_;
  const LayerOverLower& top_;
  WritableFile& output_;
  const SquashOptions& options_;
  const std::atomic<bool>& is_cancelled_;
  BlockSet above_;    // touched by the layers above the lowest, and by sessions
  BlockSet touched_;  // by all of them
  const MergedFile shown_;
  std::optional<Volume> wanted_;
  std::string boot_id_;
  SquashFigures figures_;
  uint64_t total_ = 0;  // bytes of all parts of the work, for the progress
  uint64_t done_ = 0;   // of the parts before this one
};

// That the top stands on the lowest one, and both are layers.
Result<void> check_levels(const SquashSource& source) {
  for (const LayerOverLower* layer : {&source.lowest, &source.top}) {
    if (layer->area().is_void()) {
      return invalid("{}: is a session over a frozen level, and has no layer",
                     layer->upper_file().name());
    }
  }
  const LayerOverLower* layer = &source.top;
  while (layer != nullptr && layer != &source.lowest) {
    layer = layer->layer_below();
  }
  if (layer == nullptr) {
    return invalid("{}: does not stand on {}", source.top.upper_file().name(),
                   source.lowest.upper_file().name());
  }
  return {};
}

}  // namespace

Result<SquashFigures> squash_levels(const SquashSource& source, WritableFile& output,
                                    const SquashOptions& options,
                                    const std::atomic<bool>& is_cancelled) {
  UNIONFS_TRY(check_levels(source));
  return Squash(source, output, options, is_cancelled).run();
}

Result<SquashFigures> squash_layers(const LayerOverLower& lowest, const LayerOverLower& top,
                                    WritableFile& output, const SquashOptions& options,
                                    const std::atomic<bool>& is_cancelled) {
  return squash_levels({lowest, top, top.view()}, output, options, is_cancelled);
}

}  // namespace unionfs
