// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/disk.h"

#include "overlay/upper/grow.h"

namespace unionfs {
namespace {

using upper_format::kFlagInUse;
using upper_format::kFlagUnproven;

// The upper's ext2 part must have the merged geometry, to the last descriptor:
// one numbering for lower, upper and merged.
Result<void> check_same_geometry(const Volume& upper, const Geometry& geometry) {
  const Layout& merged = geometry.merged();
  const Layout& found = upper.layout();
  if (found.block_size_bytes != merged.block_size_bytes ||
      found.block_count != merged.block_count ||
      found.blocks_per_group != merged.blocks_per_group ||
      found.inodes_per_group != merged.inodes_per_group ||
      found.inode_size_bytes != merged.inode_size_bytes ||
      found.has_meta_groups != merged.has_meta_groups ||
      found.first_meta_group != merged.first_meta_group) {
    return corrupt(
        "{}: superblock: its geometry ({} blocks of {} bytes, {} and {} a group) is not "
        "the merged image's ({} blocks of {} bytes, {} and {} a group)",
        upper.name(), found.block_count, found.block_size_bytes, found.blocks_per_group,
        found.inodes_per_group, merged.block_count, merged.block_size_bytes,
        merged.blocks_per_group, merged.inodes_per_group);
  }
  for (uint32_t number = 0; number < merged.group_count(); ++number) {
    const Group& wanted = geometry.groups()[number];
    const Group& group = upper.group(GroupNumber(number));
    if (group.block_bitmap != wanted.block_bitmap || group.inode_bitmap != wanted.inode_bitmap ||
        group.inode_table != wanted.inode_table) {
      return corrupt(
          "{}: group {}: its bitmaps and inode table are not where the merged image "
          "has them",
          upper.name(), number);
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Disk>> Disk::load(const Volume& lower, const ReadableFile& lower_file,
                                         WritableFile& upper, std::string boot_id, LogSink log) {
  std::unique_ptr<Disk> disk(
      new Disk(lower, lower_file, upper, std::move(boot_id), std::move(log)));
  UNIONFS_TRY(disk->load_layer());
  return disk;
}

Result<void> Disk::load_layer() {
  const std::string& name = upper_file_.name();
  UNIONFS_ASSIGN(UpperState state, read_upper_state(upper_file_));
  stage_ = std::move(state.stage);
  journal_area_ = state.journal_area;
  const StateHeader& header = state.header;
  area_ = header.area;
  UNIONFS_ASSIGN(const auto identity, identity_of(lower_));
  if (!is_same_lower(area_.lower, identity)) {
    return invalid("{}: belongs to another lower ({}), not to {} ({})", name, describe(area_.lower),
                   lower_.name(), describe(identity));
  }
  UNIONFS_ASSIGN(geometry_,
                 Geometry::grow(lower_, header.merged_block_count * header.block_size_bytes));
  UNIONFS_TRY(check_sections(name, header, *geometry_));
  UNIONFS_ASSIGN(upper_, Volume::open(*state.file, SuperblockUse::kUpper));
  UNIONFS_TRY(check_same_geometry(*upper_, *geometry_));
  UNIONFS_ASSIGN(LayerTables tables,
                 read_layer_tables(*state.file, area_.layer_tables, geometry_->merged()));
  if (tables.translated.size() * geometry_->merged().block_size_bytes !=
      area_.translated_blocks.length) {
    return corrupt("{}: state area: {} translated blocks, but {} bytes for them", name,
                   tables.translated.size(), area_.translated_blocks.length);
  }
  UNIONFS_ASSIGN(layer_, Layer::load(*upper_, *geometry_, std::move(tables)));
  synthesis_.emplace(lower_, *upper_, *geometry_, *layer_);
  view_.emplace(*synthesis_, lower_file_, *state.file, area_, reader_);
  return {};
}

Result<void> Disk::open(bool read_only) {
  const std::lock_guard<std::mutex> guard(open_mutex_);
  if (begun_session_.load() != nullptr || (read_only && reading_bitmap_ != nullptr)) {
    return {};
  }
  return read_only ? show_to_readers() : begin_session();
}

Result<void> Disk::show_to_readers() {
  if (has_journal()) {
    reading_bitmap_ = SessionBitmap::make_empty(bitmap_size_bytes(*geometry_));
    view_->set_bitmap(reading_bitmap_.get());
    return {};
  }
  UNIONFS_ASSIGN(const bool live, is_live_current(upper_file_, area_, boot_id_));
  UNIONFS_ASSIGN(reading_bitmap_,
                 SessionBitmap::open_for_reading(upper_file_,
                                                 live ? area_.live_bitmap : area_.durable_bitmap));
  view_->set_bitmap(reading_bitmap_.get());
  return {};
}

// It has begun when begun_session_ is set; whatever fails before, the next client
// tries all of it anew.
Result<void> Disk::begin_session() {
  const uint32_t flags = area_.flags;
  Result<void> begun = try_to_begin();
  if (!begun) {
    area_.flags = flags;
  }
  return begun;
}

Result<void> Disk::try_to_begin() {
  session_.reset();
  UNIONFS_ASSIGN(const bool live, is_live_current(upper_file_, area_, boot_id_));
  UNIONFS_ASSIGN(stamp_, LiveStamp::map(upper_file_, area_));
  if (!live) {
    // While the live bitmap is made anew it must not pass for a current one.
    stamp_->clear();
  }
  UNIONFS_ASSIGN(auto bitmap, SessionBitmap::open_for_writing(upper_file_, area_.live_bitmap,
                                                              area_.durable_bitmap, live));
  view_->set_bitmap(bitmap.get());
  writing_bitmap_ = std::move(bitmap);
  if (!live && (area_.flags & kFlagInUse) != 0 && !writing_bitmap_->is_empty()) {
    area_.flags |= kFlagUnproven;
  }
  area_.flags |= kFlagInUse;
  UNIONFS_TRY(write_state_header(upper_file_, area_, *geometry_));
  if (Result<void> synced = upper_file_.sync(); !synced) {
    // The host may have dropped what the last server wrote and did not flush.
    stamp_->clear();
    return synced;
  }
  if (upper_file_.size_bytes() > area_.end()) {
    // The journal of a checkpoint that died before its commit.
    UNIONFS_TRY(upper_file_.resize(area_.end()));
  }
  UNIONFS_ASSIGN(first_superblock_, read_superblock());
  session_ = std::make_unique<Session>(
      upper_file_, area_, *view_, *writing_bitmap_, [this] { stamp_->clear(); }, log_);
  session_->start();
  stamp_->write(area_.session_number, boot_id_);
  begun_session_.store(session_.get(), std::memory_order_release);
  return {};
}

Result<void> Disk::read(uint64_t offset, ByteSpan buffer) const {
  const Session* session = begun_session_.load(std::memory_order_acquire);
  return session != nullptr ? session->read(offset, buffer) : view_->read(offset, buffer);
}

Result<void> Disk::flush() {
  Session* session = begun_session_.load(std::memory_order_acquire);
  return session != nullptr ? session->flush() : Result<void>();
}

Result<void> Disk::close() {
  if (begun_session_.load() == nullptr) {
    return {};
  }
  session_->stop();
  UNIONFS_TRY(session_->flush());
  area_.flags &= ~kFlagInUse;
  UNIONFS_TRY(write_state_header(upper_file_, area_, *geometry_));
  return session_->sync();
}

// ---- checkpoints -------------------------------------------------------------

bool Disk::has_session() const {
  return begun_session_.load() != nullptr && !writing_bitmap_->is_empty();
}

Result<void> Disk::grow(const Geometry& larger) {
  return grow_layer({*upper_, upper_file_, *geometry_, *layer_, area_}, larger);
}

Result<ext2::Superblock> Disk::read_superblock() const {
  ext2::Superblock raw;
  UNIONFS_TRY(
      view_->read(ext2::kSuperblockOffsetBytes, std::as_writable_bytes(std::span(&raw, 1))));
  return raw;
}

// After a power loss the valid flag may be newer than what it speaks for, until
// it was set once more: by a mount and its unmount, or by e2fsck.
Result<void> Disk::check_proven() const {
  if ((area_.flags & kFlagUnproven) == 0) {
    return {};
  }
  UNIONFS_ASSIGN(const ext2::Superblock now, read_superblock());
  const bool was_valid = (first_superblock_.s_state & ext2::kStateValid) != 0;
  if (now.s_lastcheck != first_superblock_.s_lastcheck || !was_valid ||
      now.s_mtime != first_superblock_.s_mtime) {
    return {};
  }
  return unsupported(
      "power was lost during this session and the image has not been checked or "
      "mounted since");
}

Result<CheckpointFigures> Disk::checkpoint(bool by_itself, const std::atomic<bool>& is_cancelled) {
  if (by_itself) {
    UNIONFS_TRY(check_proven());
  }
  return make_checkpoint({lower_, lower_file_, *upper_, upper_file_, *geometry_, *layer_, *view_,
                          *writing_bitmap_, area_, is_cancelled});
}

uint64_t Disk::session_block_count() const {
  return reading_bitmap_->count_set(BlockNumber(geometry_->merged().block_count));
}

Result<std::unique_ptr<NextLayer>> Disk::next_layer() {
  static const std::atomic<bool> is_cancelled{false};
  return NextLayer::build({lower_, lower_file_, *upper_, upper_file_, *geometry_, *layer_, *view_,
                           *reading_bitmap_, area_, is_cancelled});
}

}  // namespace unionfs
