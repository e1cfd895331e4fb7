// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/overlay.h"

#include "overlay/layer_create.h"

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
    return corrupt("{}: superblock: its geometry ({} blocks of {} bytes, {} and {} a group) is not "
                   "the merged image's ({} blocks of {} bytes, {} and {} a group)",
                   upper.name(), found.block_count, found.block_size_bytes,
                   found.blocks_per_group, found.inodes_per_group, merged.block_count,
                   merged.block_size_bytes, merged.blocks_per_group, merged.inodes_per_group);
  }
  for (uint32_t number = 0; number < merged.group_count(); ++number) {
    const Group& wanted = geometry.groups()[number];
    const Group& group = upper.group(GroupNumber(number));
    if (group.block_bitmap != wanted.block_bitmap || group.inode_bitmap != wanted.inode_bitmap ||
        group.inode_table != wanted.inode_table) {
      return corrupt("{}: group {}: its bitmaps and inode table are not where the merged image "
                     "has them",
                     upper.name(), number);
    }
  }
  return {};
}

}  // namespace

Overlay::~Overlay() = default;

Result<std::unique_ptr<Overlay>> Overlay::prepare(OverlayOptions options) {
  std::unique_ptr<Overlay> overlay(new Overlay(std::move(options)));
  UNIONFS_ASSIGN(overlay->boot_id_, read_boot_id());
  UNIONFS_TRY(overlay->open_lower());
  UNIONFS_TRY(overlay->open_upper());
  return overlay;
}

Result<void> Overlay::open_lower() {
  UNIONFS_ASSIGN(lower_file_, PosixFile::open(options_.lower_path, FileLock::kShared));
  UNIONFS_ASSIGN(lower_, Volume::open(*lower_file_, SuperblockUse::kLower));
  UNIONFS_ASSIGN(identity_, identity_of(*lower_));
  return {};
}

// An existing upper is opened and checked; of one that is not there yet only
// the geometry is known.
Result<void> Overlay::open_upper() {
  if (!options_.upper_path.empty()) {
    auto opened = PosixFile::open(options_.upper_path, FileLock::kExclusive);
    if (!opened && opened.error().error_number == EBUSY) {
      UNIONFS_ASSIGN(auto again, PosixFile::open(options_.upper_path, FileLock::kShared));
      if (again->is_same_file(*lower_file_)) {
        return invalid("{}: is given as the lower and as the upper", options_.upper_path);
      }
      return Failure(std::move(opened).error());
    }
    if (!opened && opened.error().error_number != ENOENT) {
      return Failure(std::move(opened).error());
    }
    if (opened) {
      upper_file_ = std::move(*opened);
      return load_layer();
    }
  }
  const uint64_t size_bytes =
      options_.size_bytes.value_or(Geometry::default_size_bytes(lower_->layout()));
  UNIONFS_ASSIGN(geometry_, Geometry::grow(*lower_, size_bytes));
  return {};
}

Result<void> Overlay::load_layer() {
  const std::string& name = upper_file_->name();
  UNIONFS_ASSIGN(upper_, Volume::open(*upper_file_, SuperblockUse::kUpper));
  const ext2::Superblock& superblock = upper_->superblock().raw();
  const std::optional<uint64_t> state_offset = state_offset_of(superblock);
  if (!state_offset) {
    return unsupported("{}: is an ext2 image without a state area, so not an upper made by this "
                       "program; uppers made elsewhere are not taken yet",
                       name);
  }
  UNIONFS_ASSIGN(const StateHeader header, read_state_header(*upper_file_, *state_offset));
  area_ = header.area;
  if (!is_same_lower(area_.lower, identity_)) {
    return invalid("{}: belongs to another lower ({}), not to {} ({})", name,
                   describe(area_.lower), lower_->name(), describe(identity_));
  }
  UNIONFS_ASSIGN(geometry_,
                 Geometry::grow(*lower_, header.merged_block_count * header.block_size_bytes));
  UNIONFS_TRY(check_sections(name, header, *geometry_));
  UNIONFS_TRY(check_same_geometry(*upper_, *geometry_));
  UNIONFS_TRY(check_size_option());
  std::vector<std::byte> bytes(area_.layer_tables.length);
  UNIONFS_TRY(upper_file_->read(area_.layer_tables.offset, bytes));
  UNIONFS_ASSIGN(LayerTables tables, decode_layer_tables(name, bytes, *geometry_));
  if (tables.translated.size() * geometry_->merged().block_size_bytes !=
      area_.translated_blocks.length) {
    return corrupt("{}: state area: {} translated blocks, but {} bytes for them", name,
                   tables.translated.size(), area_.translated_blocks.length);
  }
  UNIONFS_ASSIGN(layer_, Layer::load(*upper_, *geometry_, std::move(tables)));
  synthesis_.emplace(*lower_, *upper_, *geometry_, *layer_);
  view_.emplace(*synthesis_, *lower_file_, *upper_file_, area_, reader_);
  return {};
}

Result<void> Overlay::check_size_option() const {
  if (!options_.size_bytes) {
    return {};
  }
  const uint32_t block_size = geometry_->merged().block_size_bytes;
  UNIONFS_ASSIGN(const Layout wanted,
                 grown_layout(lower_->layout(), *options_.size_bytes / block_size));
  if (wanted.block_count == geometry_->merged().block_count) {
    return {};
  }
  return invalid("{}: has a merged size of {} bytes; it cannot be {} to {} bytes",
                 upper_file_->name(), geometry_->size_bytes(),
                 wanted.block_count < geometry_->merged().block_count ? "shrunk" : "grown",
                 wanted.size_bytes());
}

Result<void> Overlay::create_upper(bool read_only) {
  std::unique_ptr<PosixFile> file;
  const bool is_named = !read_only && !options_.upper_path.empty();
  if (read_only) {
    UNIONFS_ASSIGN(file, PosixFile::create_in_memory());
  } else if (is_named) {
    UNIONFS_ASSIGN(file, PosixFile::create_for(options_.upper_path));
  } else {
    UNIONFS_ASSIGN(file, PosixFile::create_temporary(options_.temporary_directory));
  }
  UNIONFS_TRY(create_layer(*file, *lower_, *geometry_));
  if (is_named) {
    UNIONFS_TRY(file->publish());
  }
  // The size is settled now; load_layer() reads it back from the header.
  upper_file_ = std::move(file);
  return load_layer();
}

Result<void> Overlay::open(bool read_only) {
  const std::lock_guard<std::mutex> guard(open_mutex_);
  if (session_ != nullptr || (read_only && reading_bitmap_ != nullptr)) {
    return {};
  }
  if (upper_file_ == nullptr) {
    UNIONFS_TRY(create_upper(read_only));
    is_upper_in_memory_ = read_only;
  }
  if (!read_only && is_upper_in_memory_) {
    return invalid("the first client was read-only, so no upper was made to write to");
  }
  return read_only ? show_to_readers() : begin_session();
}

Result<void> Overlay::show_to_readers() {
  UNIONFS_ASSIGN(const bool live, is_live_current(*upper_file_, area_, boot_id_));
  UNIONFS_ASSIGN(reading_bitmap_,
                 SessionBitmap::open_for_reading(
                     *upper_file_, live ? area_.live_bitmap : area_.durable_bitmap));
  view_->set_bitmap(reading_bitmap_.get());
  return {};
}

Result<void> Overlay::begin_session() {
  UNIONFS_TRY(upper_file_->make_writable());
  UNIONFS_ASSIGN(const bool live, is_live_current(*upper_file_, area_, boot_id_));
  UNIONFS_ASSIGN(stamp_, LiveStamp::map(*upper_file_, area_));
  if (!live) {
    // While the live bitmap is made anew it must not pass for a current one.
    stamp_->clear();
  }
  UNIONFS_ASSIGN(writing_bitmap_,
                 SessionBitmap::open_for_writing(*upper_file_, area_.live_bitmap,
                                                 area_.durable_bitmap, live));
  if (!live && (area_.flags & kFlagInUse) != 0 && !writing_bitmap_->is_empty()) {
    area_.flags |= kFlagUnproven;
  }
  area_.flags |= kFlagInUse;
  UNIONFS_TRY(write_state_header(*upper_file_, area_, *geometry_));
  UNIONFS_TRY(upper_file_->sync());
  stamp_->write(area_.session_number, boot_id_);
  view_->set_bitmap(writing_bitmap_.get());
  session_ = std::make_unique<Session>(
      *upper_file_, area_, *view_, *writing_bitmap_, [this] { stamp_->clear(); }, options_.log);
  session_->start();
  open_session_.store(session_.get(), std::memory_order_release);
  return {};
}

Result<void> Overlay::read(uint64_t offset, ByteSpan buffer) const {
  const Session* session = open_session_.load(std::memory_order_acquire);
  return session != nullptr ? session->read(offset, buffer) : view_->read(offset, buffer);
}

Result<void> Overlay::close() {
  if (session_ == nullptr) {
    return {};
  }
  session_->stop();
  UNIONFS_TRY(session_->flush());
  area_.flags &= ~kFlagInUse;
  UNIONFS_TRY(write_state_header(*upper_file_, area_, *geometry_));
  return upper_file_->sync();
}

}  // namespace unionfs
