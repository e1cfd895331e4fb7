// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/journal.h"

#include <algorithm>
#include <array>

#include "overlay/host/cancellation.h"
#include "overlay/host/zero_bytes.h"
#include "overlay/upper/hash.h"
#include "overlay/upper/journal_reader.h"

namespace unionfs {
namespace {

namespace format = upper_format;

// Staged pages that follow one another, as runs of at most a mebibyte.
std::vector<FileRange> runs_of(const StagedFile& stage) {
  std::vector<FileRange> runs;
  for (const auto& [offset, page] : stage.pages()) {
    if (!runs.empty() && runs.back().end() == offset && runs.back().length < kMaxJournalRunBytes) {
      runs.back().length += page.size();
    } else {
      runs.push_back({offset, page.size()});
    }
  }
  return runs;
}

// Writes one structure after another, hashing them.
class Writer {
 public:
  Writer(WritableFile& file, uint64_t offset) : file_(file), offset_(offset) {}

  Result<void> append(ConstByteSpan bytes) {
    hash_.add(bytes);
    UNIONFS_TRY(file_.write(offset_, bytes));
    offset_ += bytes.size();
    return {};
  }
  uint64_t checksum() const { return hash_.value(); }
  uint64_t offset() const { return offset_; }

 private:
  WritableFile& file_;
  uint64_t offset_;
  Hash hash_;
};

// The state area moves: one sector leads to the new one, which knows the journal
// too, before the old one is overwritten.
Result<void> move_mark(WritableFile& upper, const JournalReader& journal) {
  constexpr uint64_t kPlace = ext2::kSuperblockOffsetBytes;
  for (const JournaledRun& run : journal.runs()) {
    if (run.home.offset <= kPlace && kPlace + ext2::kSectorSizeBytes <= run.home.end()) {
      std::array<std::byte, ext2::kSectorSizeBytes> sector;
      UNIONFS_TRY(upper.read(run.source + (kPlace - run.home.offset), sector));
      UNIONFS_TRY(upper.write(kPlace, sector));
    }
  }
  return upper.sync();
}

Result<void> check_plan_not_cancelled(const JournalPlan& plan) {
  return plan.is_cancelled == nullptr ? Result<void>() : check_not_cancelled(*plan.is_cancelled);
}

// A hole reads as zeros, before and after.
Result<void> write_holes(WritableFile& upper, const FileRange& range) {
  for (uint64_t offset = range.offset; offset < range.end();) {
    const FileExtent extent = upper.extent_at(offset);
    const uint64_t end = std::min(std::max(extent.end, offset + 1), range.end());
    if (extent.is_hole) {
      UNIONFS_TRY(zero_bytes(upper, offset, end - offset, ZeroWay::kWrite));
    }
    offset = end;
  }
  return {};
}

Result<void> take_space(WritableFile& upper, const FileRange& range) {
  Result<void> allocated = upper.allocate(range.offset, range.length);
  if (!allocated && allocated.error().error_number == EOPNOTSUPP) {
    return write_holes(upper, range);
  }
  return allocated;
}

// After the commit there is no way back, so space cannot be found missing then: neither
// for the bytes that go home nor, where the state area moves, for its headers.
Result<void> take_space_of_homes(WritableFile& upper, const JournalPlan& plan,
                                 const std::vector<FileRange>& runs) {
  UNIONFS_TRY(
      take_space(upper, {plan.header.state_offset, format::kHeaderSlots * format::kPageBytes}));
  for (const FileRange& run : runs) {
    UNIONFS_TRY(check_plan_not_cancelled(plan));
    UNIONFS_TRY(take_space(upper, run));
  }
  return {};
}

Result<FileRange> write_at_end(WritableFile& upper, const JournalPlan& plan) {
  const std::vector<FileRange> runs = runs_of(plan.stage);
  std::vector<FileRange> punches = plan.punches;
  std::erase_if(punches, [](const FileRange& range) { return range.length == 0; });
  uint64_t length =
      sizeof(format::JournalHead) + (runs.size() + punches.size()) * sizeof(format::JournalRun);
  for (const FileRange& run : runs) {
    length += run.length;
  }
  const uint64_t offset =
      round_up(std::max(upper.size_bytes(), plan.file_size_bytes), format::kPageBytes);
  UNIONFS_TRY(upper.resize(offset + length));
  UNIONFS_TRY(take_space_of_homes(upper, plan, runs));

  format::JournalHead head = {};
  head.magic = format::kJournalMagic;
  head.file_size = plan.file_size_bytes;
  head.run_count = static_cast<uint32_t>(runs.size());
  head.punch_count = static_cast<uint32_t>(punches.size());
  head.header = plan.header;
  Writer writer(upper, offset);
  UNIONFS_TRY(writer.append(bytes_of(head)));
  std::vector<std::byte> bytes;
  for (const FileRange& range : punches) {
    UNIONFS_TRY(writer.append(bytes_of(format::JournalRun{range.offset, range.length})));
  }
  for (const FileRange& run : runs) {
    UNIONFS_TRY(check_plan_not_cancelled(plan));
    bytes.resize(run.length);
    UNIONFS_TRY(plan.stage.read(run.offset, bytes));
    UNIONFS_TRY(writer.append(bytes_of(format::JournalRun{run.offset, run.length})));
    UNIONFS_TRY(writer.append(bytes));
  }
  head.checksum = writer.checksum();
  UNIONFS_TRY(upper.write(offset, bytes_of(head)));
  UNIONFS_TRY(upper.sync());
  UNIONFS_TRY(check_plan_not_cancelled(plan));
  return FileRange{offset, length};
}

}  // namespace

Result<FileRange> write_journal(WritableFile& upper, const JournalPlan& plan) {
  const uint64_t size_bytes = upper.size_bytes();
  Result<FileRange> journal = write_at_end(upper, plan);
  if (!journal) {
    // If it failed because the host's disk is full, the client needs the space.
    (void)upper.resize(size_bytes);
  }
  return journal;
}

Result<void> commit_journal(WritableFile& upper, StateArea& area, const FileRange& journal) {
  area.journal = journal;
  UNIONFS_TRY(write_state_header(upper, area));
  return upper.sync();
}

Result<void> replay_journal(WritableFile& upper, const StateArea& area) {
  UNIONFS_ASSIGN(const JournalReader journal, JournalReader::open(upper, area));
  if (journal.header().state_offset != area.offset) {
    UNIONFS_TRY(move_mark(upper, journal));
  }
  for (const FileRange& range : journal.punches()) {
    UNIONFS_TRY(zero_bytes(upper, range.offset, range.length, ZeroWay::kPunch));
  }
  std::vector<std::byte> bytes;
  for (const JournaledRun& run : journal.runs()) {
    bytes.resize(run.home.length);
    UNIONFS_TRY(upper.read(run.source, bytes));
    UNIONFS_TRY(upper.write(run.home.offset, bytes));
  }
  UNIONFS_TRY(upper.sync());
  UNIONFS_TRY(write_header(upper, journal.header(), area.generation + 1));
  UNIONFS_TRY(upper.sync());
  return upper.resize(journal.file_size_bytes());
}

Result<void> finish_journal(WritableFile& upper, const StateArea& area) {
  // What goes home overwrites the session, so the journal must count before that.
  // Header and superblock are written once more because after a failed sync the host
  // takes what it has in its cache for durable, and would not write it.
  const uint64_t slot = area.generation % format::kHeaderSlots;
  const uint64_t header_offset = area.offset + slot * format::kPageBytes;
  UNIONFS_ASSIGN(const auto header, read_structure<format::Header>(upper, header_offset));
  UNIONFS_TRY(upper.write(header_offset, bytes_of(header)));
  UNIONFS_ASSIGN(const auto superblock,
                 read_structure<ext2::Superblock>(upper, ext2::kSuperblockOffsetBytes));
  UNIONFS_TRY(upper.write(ext2::kSuperblockOffsetBytes, bytes_of(superblock)));
  UNIONFS_TRY(upper.sync());
  return replay_journal(upper, area);
}

Result<void> stage_journal(StagedFile& stage, const ReadableFile& upper, const StateArea& area) {
  UNIONFS_ASSIGN(const JournalReader journal, JournalReader::open(upper, area));
  // A journal of ours punches nothing that means something to the new layer.  Whatever a
  // journal punches, though, is shown as it will be read when it is home.
  auto punch = journal.punches().begin();
  const auto show_punches_before = [&](uint64_t offset) {
    for (; punch != journal.punches().end() && punch->offset < offset; ++punch) {
      stage.show_zeros(punch->offset, punch->length);
    }
  };
  for (const JournaledRun& run : journal.runs()) {
    show_punches_before(run.home.offset);
    stage.show(run.home.offset, run.home.length, run.source);
  }
  show_punches_before(UINT64_MAX);
  stage.resize(journal.file_size_bytes());
  return write_header(stage, journal.header(), area.generation + 1);
}

}  // namespace unionfs
