// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/support/mend.h"

#include <xxhash.h>

#include <cstring>

#include "fsparse/ext2_format.h"

namespace unionfs::fuzzing {
namespace {

using testing::MemoryFile;
using upper_format::Header;
using upper_format::JournalHead;
using upper_format::JournalRun;
using upper_format::LayerTablesHead;
using upper_format::Mark;
using upper_format::Section;

bool is_inside(const MemoryFile& upper, uint64_t offset, uint64_t length) {
  return offset <= upper.size_bytes() && length <= upper.size_bytes() - offset;
}

// XXH3-64 of `bytes` with the eight at `checksum_at` zero, put there.
void put_checksum(ByteSpan bytes, size_t checksum_at) {
  const Le64 zero = uint64_t{0};
  std::memcpy(bytes.data() + checksum_at, &zero, sizeof(zero));
  const Le64 checksum = XXH3_64bits(bytes.data(), bytes.size());
  std::memcpy(bytes.data() + checksum_at, &checksum, sizeof(checksum));
}

// The tables lie at the start of `room`, which is longer.
void mend_tables(ByteSpan room) {
  LayerTablesHead head;
  if (room.size() < sizeof(head)) {
    return;
  }
  std::memcpy(&head, room.data(), sizeof(head));
  const uint64_t length =
      sizeof(head) + uint64_t{head.translated_count} * sizeof(upper_format::TranslatedBlock) +
      uint64_t{head.kept_inode_count} * sizeof(upper_format::KeptInode) +
      uint64_t{head.kept_xattr_count} * sizeof(upper_format::KeptXattr) +
      uint64_t{head.group_counters_count} * sizeof(upper_format::GroupCounters) +
      (uint64_t{head.block_whiteout_count} + head.inode_whiteout_count) *
          sizeof(upper_format::WhiteoutRun);
  if (length <= room.size()) {
    put_checksum(room.first(length), offsetof(LayerTablesHead, checksum));
  }
}

// The tables of the new layer, where a run of the journal has all of them.
void mend_tables_in_journal(MemoryFile& upper, const Section& journal, const JournalHead& head) {
  const uint64_t tables = head.header.layer_tables.offset;
  uint64_t offset = journal.offset + sizeof(head);
  const uint64_t end = journal.offset + journal.length;
  const uint64_t count = uint64_t{head.punch_count} + head.run_count;
  for (uint64_t index = 0; index < count && offset + sizeof(JournalRun) <= end; ++index) {
    const auto run = upper.get<JournalRun>(offset);
    offset += sizeof(run);
    if (index < head.punch_count) {
      continue;
    }
    if (run.length > end - offset) {
      return;
    }
    if (tables >= run.offset && tables - run.offset < run.length) {
      const uint64_t skip = tables - run.offset;
      mend_tables(upper.bytes(offset + skip, run.length - skip));
    }
    offset += run.length;
  }
}

// Without records, which would tell another lower.
void make_layer_of(Header& header, const upper_format::LowerIdentity& lower) {
  header.lower = lower;
  header.feature_incompat = header.feature_incompat & ~upper_format::kIncompatLowerRecords;
  header.lower_records = {};
  header.lower_free_blocks_count = 0U;
  header.lower_free_inodes_count = 0U;
  header.lower_used_dirs_count = 0U;
}

void mend_journal(MemoryFile& upper, const Section& journal,
                  const std::optional<upper_format::LowerIdentity>& lower) {
  if (journal.length < sizeof(JournalHead) || !is_inside(upper, journal.offset, journal.length)) {
    return;
  }
  auto head = upper.get<JournalHead>(journal.offset);
  if (lower) {
    make_layer_of(head.header, *lower);
    upper.put(journal.offset, head);
  }
  mend_tables_in_journal(upper, journal, head);
  put_checksum(upper.bytes(journal.offset, journal.length), offsetof(JournalHead, checksum));
}

void mend_header(MemoryFile& upper, uint64_t place,
                 const std::optional<upper_format::LowerIdentity>& lower) {
  auto header = upper.get<Header>(place);
  if (header.magic != upper_format::kHeaderMagic) {
    return;
  }
  if (lower) {
    make_layer_of(header, *lower);
  }
  upper.put(place, header);
  put_checksum(upper.bytes(place, sizeof(header)), offsetof(Header, checksum));
  const Section& tables = header.layer_tables;
  if (is_inside(upper, tables.offset, tables.length)) {
    mend_tables(upper.bytes(tables.offset, tables.length));
  }
  const Section& records = header.lower_records;
  if (records.length >= sizeof(upper_format::LowerRecordsHead) &&
      is_inside(upper, records.offset, records.length)) {
    put_checksum(upper.bytes(records.offset, records.length),
                 offsetof(upper_format::LowerRecordsHead, checksum));
  }
  mend_journal(upper, header.journal, lower);
}

}  // namespace

void mend_upper(MemoryFile& upper, const std::optional<upper_format::LowerIdentity>& lower) {
  if (!is_inside(upper, ext2::kSuperblockOffsetBytes, sizeof(ext2::Superblock))) {
    return;
  }
  const auto superblock = upper.get<ext2::Superblock>(ext2::kSuperblockOffsetBytes);
  Mark mark;
  std::memcpy(&mark, superblock.s_jnl_blocks.data(), sizeof(mark));
  for (uint32_t slot = 0; slot < upper_format::kHeaderSlots; ++slot) {
    const uint64_t place = mark.state_offset + slot * upper_format::kPageBytes;
    if (place >= mark.state_offset && is_inside(upper, place, sizeof(Header))) {
      mend_header(upper, place, lower);
    }
  }
}

}  // namespace unionfs::fuzzing
