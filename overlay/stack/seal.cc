// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/seal.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "overlay/disk.h"
#include "overlay/upper/hash.h"
#include "overlay/upper/upper_state.h"

namespace unionfs {
namespace {

namespace format = upper_format;

void add_number(LongHash& hash, uint64_t number) {
  hash.add(bytes_of(Le64(number)));
}

Result<void> add_section(LongHash& hash, const ReadableFile& file, const FileRange& range) {
  add_number(hash, range.length);
  std::vector<std::byte> bytes(range.length);
  UNIONFS_TRY(file.read(range.offset, bytes));
  hash.add(bytes);
  return {};
}

// Calls visitor(BlockRange) -> Result<void> for ascending stretches of own blocks that are not
// translated, of at most `most` blocks.
template <typename Visitor>
Result<void> for_each_plain_run(const LayerOverLower& layer, uint64_t most, Visitor&& visitor) {
  const Layout& merged = layer.geometry().merged();
  const auto& translated = layer.layer().tables().translated;
  for (uint32_t number = 0; number < merged.group_count(); ++number) {
    const GroupNumber group(number);
    const ConstByteSpan own = layer.layer().own_blocks().of(group);
    const BlockRange blocks = merged.blocks_of(group);
    const uint64_t end = own.empty() ? 0 : blocks.end - blocks.begin;
    for (uint64_t at = find_set_bit(own, 0, end); at < end;) {
      const BlockNumber first = blocks.begin + at;
      uint64_t run_end = find_clear_bit(own, at, std::min(end, at + most));
      const size_t index = layer.layer().translated_at_or_after(first);
      if (index < translated.size()) {
        run_end = std::min<uint64_t>(run_end, translated[index].block - blocks.begin);
      }
      if (run_end > at) {
        UNIONFS_TRY(visitor(BlockRange{first, blocks.begin + run_end}));
      } else {
        ++run_end;
      }
      at = find_set_bit(own, run_end, end);
    }
  }
  return {};
}

Result<void> add_own_inodes(LongHash& hash, const LayerOverLower& layer, GroupNumber group) {
  const uint32_t per_group = layer.geometry().merged().inodes_per_group;
  const ConstByteSpan own = layer.layer().own_inodes().of(group);
  hash.add(own);
  return for_each_set_bit(own, per_group, [&](uint64_t bit) -> Result<void> {
    const InodeNumber inode(static_cast<uint32_t>(group.value() * per_group + bit + 1));
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(layer.upper(), inode));
    hash.add(record.bytes());
    return {};
  });
}

Result<format::Digest> metadata_digest_of(const LayerOverLower& layer,
                                          const std::atomic<bool>& is_cancelled) {
  const Layer& own = layer.layer();
  LongHash hash;
  hash.add(std::string_view("metadata"));
  for (uint32_t number = 0; number < layer.geometry().merged().group_count(); ++number) {
    const GroupNumber group(number);
    UNIONFS_TRY(check_not_cancelled(is_cancelled));
    if (own.own_blocks().has_any(group)) {
      hash.add(std::string_view("blocks"));
      add_number(hash, number);
      hash.add(own.own_blocks().of(group));
    }
    if (own.own_inodes().has_any(group)) {
      hash.add(std::string_view("inodes"));
      add_number(hash, number);
      UNIONFS_TRY(add_own_inodes(hash, layer, group));
    }
  }
  std::vector<std::byte> block(layer.geometry().merged().block_size_bytes);
  for (const TranslatedBlock& entry : own.tables().translated) {
    if (entry.kind != TranslatedKind::kXattrCount) {
      UNIONFS_TRY(layer.upper().read_block(entry.block, block));
      add_number(hash, entry.block.value());
      hash.add(block);
    }
  }
  return hash.value();
}

Result<format::Digest> content_digest_of(const LayerOverLower& layer,
                                         const std::atomic<bool>& is_cancelled) {
  constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
  const uint32_t block_size = layer.geometry().merged().block_size_bytes;
  std::vector<std::byte> bytes(kPieceBytes);
  LongHash hash;
  hash.add(std::string_view("content"));
  UNIONFS_TRY(for_each_plain_run(
      layer, kPieceBytes / block_size, [&](const BlockRange& blocks) -> Result<void> {
        UNIONFS_TRY(check_not_cancelled(is_cancelled));
        const uint64_t count = blocks.end - blocks.begin;
        const ByteSpan piece = ByteSpan(bytes).first(count * block_size);
        UNIONFS_TRY(layer.upper_file().read(blocks.begin.value() * block_size, piece));
        // Each block by itself, so that the size of a piece means nothing.
        for (uint64_t i = 0; i < count; ++i) {
          add_number(hash, (blocks.begin + i).value());
          hash.add(piece.subspan(i * block_size, block_size));
        }
        return {};
      }));
  return hash.value();
}

// Both slots: whoever falls back to the older one must find it sealed, too.
Result<void> write_sealed(WritableFile& upper, StateArea area, const format::Seal& seal) {
  area.features.incompat |= format::kIncompatSealed;
  area.seal = seal;
  for (uint32_t slot = 0; slot < format::kHeaderSlots; ++slot) {
    UNIONFS_TRY(write_state_header(upper, area));
    UNIONFS_TRY(upper.sync());
  }
  return {};
}

// Leaves the upper without a session.
Result<void> make_layer(const Below& below, WritableFile& upper, const LogSink& log,
                        const std::atomic<bool>& is_cancelled) {
  UNIONFS_ASSIGN(std::string boot_id, read_boot_id());
  UNIONFS_ASSIGN(auto disk, Disk::load(below, upper, boot_id, log));
  UNIONFS_TRY(disk->check_can_write());
  if (disk->has_journal()) {
    UNIONFS_TRY(disk->finish_checkpoint());
    UNIONFS_ASSIGN(disk, Disk::load(below, upper, std::move(boot_id), log));
  }
  UNIONFS_TRY(disk->attach(Access::kReadWrite));
  UNIONFS_TRY(disk->close());
  if (disk->has_session()) {
    UNIONFS_TRY(disk->checkpoint(AskedBy::kPerson, is_cancelled));
  }
  return {};
}

}  // namespace

Result<format::Digest> shape_digest_of(const LayerOverLower& layer) {
  const Volume& upper = layer.upper();
  LongHash hash;
  hash.add(std::string_view("shape"));
  hash.add(bytes_of(upper.superblock().raw()));
  std::vector<std::byte> block(upper.layout().block_size_bytes);
  for (uint32_t index = 0; index < upper.layout().descriptor_block_count(); ++index) {
    UNIONFS_TRY(upper.read_block(upper.layout().primary_descriptor_block(index), block));
    hash.add(block);
  }
  UNIONFS_TRY(add_section(hash, layer.upper_file(), layer.area().layer_tables));
  if (layer.area().has_lower_records()) {
    UNIONFS_TRY(add_section(hash, layer.upper_file(), layer.area().lower_records));
  }
  return hash.value();
}

Result<format::Seal> compute_seal(const LayerOverLower& layer,
                                  const std::atomic<bool>& is_cancelled) {
  format::Seal seal;
  UNIONFS_ASSIGN(seal.shape, shape_digest_of(layer));
  UNIONFS_ASSIGN(seal.metadata, metadata_digest_of(layer, is_cancelled));
  UNIONFS_ASSIGN(seal.content, content_digest_of(layer, is_cancelled));
  return seal;
}

Result<void> check_sealed(const LayerOverLower& layer) {
  const std::string& name = layer.upper_file().name();
  if (!layer.area().is_sealed()) {
    return invalid(
        "{}: is neither sealed nor frozen, so it may change, and nothing can stand on it; seal it "
        "first: unionfs-img seal",
        name);
  }
  UNIONFS_ASSIGN(const format::Digest shape, shape_digest_of(layer));
  if (shape != layer.area().seal.shape) {
    return corrupt(
        "{}: its superblock, descriptors or tables are not those that were sealed ({}, not {})",
        name, digest_text(shape), digest_text(layer.area().seal.shape));
  }
  return {};
}

Result<void> check_sealed_content(const LayerOverLower& layer,
                                  const std::atomic<bool>& is_cancelled) {
  UNIONFS_TRY(check_sealed(layer));
  UNIONFS_ASSIGN(const format::Seal seal, compute_seal(layer, is_cancelled));
  const auto compare = [&](const char* what, const format::Digest& found,
                           const format::Digest& sealed) -> Result<void> {
    if (found != sealed) {
      return corrupt("{}: its {} are not those that were sealed ({}, not {})",
                     layer.upper_file().name(), what, digest_text(found), digest_text(sealed));
    }
    return {};
  };
  UNIONFS_TRY(compare("inodes, directories and indirect blocks", seal.metadata,
                      layer.area().seal.metadata));
  return compare("blocks of files", seal.content, layer.area().seal.content);
}

Result<format::Seal> seal_upper(const Below& below, WritableFile& upper, const LogSink& log,
                                const std::atomic<bool>& is_cancelled) {
  UNIONFS_TRY(make_layer(below, upper, log, is_cancelled));
  UNIONFS_ASSIGN(const auto layer, LayerOverLower::load(below, upper, log));
  if (layer->has_journal()) {
    return corrupt("{}: its checkpoint was not brought home", upper.name());
  }
  UNIONFS_ASSIGN(const format::Seal seal, compute_seal(*layer, is_cancelled));
  UNIONFS_TRY(check_not_cancelled(is_cancelled));
  UNIONFS_TRY(write_sealed(upper, layer->area(), seal));
  return seal;
}

Result<void> unseal(WritableFile& copy) {
  UNIONFS_ASSIGN(UpperState state, read_upper_state(copy));
  if (state.has_journal()) {
    return corrupt("{}: has a checkpoint that was not brought home", copy.name());
  }
  StateArea area = state.area;
  area.features.incompat &=
      ~(format::kIncompatSealed | format::kIncompatFrozen | format::kIncompatFreezing);
  area.seal = {};
  area.freeze_id = {};
  area.flags = 0;
  ++area.session_number;  // no stamp speaks of the copy
  for (uint32_t slot = 0; slot < format::kHeaderSlots; ++slot) {
    UNIONFS_TRY(write_state_header(copy, area));
  }
  return {};
}

}  // namespace unionfs
