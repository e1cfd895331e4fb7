// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/journal.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "overlay/host/cancellation.h"
#include "overlay/host/zero_bytes.h"
#include "overlay/upper/hash.h"

namespace unionfs {
namespace {

namespace format = upper_format;

constexpr uint64_t kMaxRunBytes = uint64_t{1} << 20;

// Staged pages that follow one another, as runs of at most a mebibyte.
std::vector<FileRange> runs_of(const StagedFile& stage) {
  std::vector<FileRange> runs;
  for (const auto& [offset, page] : stage.pages()) {
    if (!runs.empty() && runs.back().end() == offset && runs.back().length < kMaxRunBytes) {
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

// Reads a journal twice: first to check it, then to act on it.
class Reader {
 public:
  using OnRun = std::function<Result<void>(uint64_t offset, ConstByteSpan bytes)>;
  using OnPunch = std::function<Result<void>(FileRange range)>;

  Reader(const ReadableFile& upper, const StateArea& area) : upper_(upper), area_(area) {}

  Result<format::JournalHead> check() {
    if (area_.journal.length < sizeof(format::JournalHead)) {
      return damaged("is too short");
    }
    UNIONFS_ASSIGN(head_, read_structure<format::JournalHead>(upper_, area_.journal.offset));
    if (head_.magic != format::kJournalMagic) {
      return damaged("has no magic");
    }
    Hash hash;
    format::JournalHead unsigned_head = head_;
    unsigned_head.checksum = uint64_t{0};
    hash.add(bytes_of(unsigned_head));
    std::vector<std::byte> piece;
    for (uint64_t offset = area_.journal.offset + sizeof(head_); offset < area_.journal.end();) {
      piece.resize(std::min<uint64_t>(kMaxRunBytes, area_.journal.end() - offset));
      UNIONFS_TRY(upper_.read(offset, piece));
      hash.add(piece);
      offset += piece.size();
    }
    if (hash.value() != head_.checksum) {
      return damaged("has a wrong checksum");
    }
    return head_;
  }

  // After check(); its bytes are the ones that were written.
  Result<void> visit(const OnPunch& on_punch, const OnRun& on_run) {
    uint64_t offset = area_.journal.offset + sizeof(head_);
    std::vector<std::byte> bytes;
    for (uint32_t i = 0; i < head_.punch_count; ++i) {
      UNIONFS_ASSIGN(const FileRange range, take(offset));
      UNIONFS_TRY(on_punch(range));
    }
    for (uint32_t i = 0; i < head_.run_count; ++i) {
      UNIONFS_ASSIGN(const FileRange run, take(offset));
      if (run.length > kMaxRunBytes + StagedFile::kPageBytes ||
          run.length > area_.journal.end() - offset) {
        return damaged("has a run that is too long");
      }
      bytes.resize(run.length);
      UNIONFS_TRY(upper_.read(offset, bytes));
      offset += run.length;
      UNIONFS_TRY(on_run(run.offset, bytes));
    }
    return {};
  }

 private:
  Failure damaged(const char* what) const {
    return corrupt("{}: state area: the journal of a checkpoint {}", upper_.name(), what);
  }

  Result<FileRange> take(uint64_t& offset) const {
    if (area_.journal.end() - offset < sizeof(format::JournalRun)) {
      return damaged("ends too early");
    }
    UNIONFS_ASSIGN(const auto raw, read_structure<format::JournalRun>(upper_, offset));
    offset += sizeof(raw);
    return FileRange{raw.offset, raw.length};
  }

  const ReadableFile& upper_;
  const StateArea& area_;
  format::JournalHead head_ = {};
};

// The state area moves: one sector leads to the new one, which knows the journal
// too, before the old one is overwritten.
Result<void> move_mark(WritableFile& upper, Reader& reader) {
  constexpr uint64_t kPlace = ext2::kSuperblockOffsetBytes;
  UNIONFS_TRY(reader.visit(
      [](FileRange) -> Result<void> { return {}; },
      [&](uint64_t offset, ConstByteSpan bytes) -> Result<void> {
        if (offset > kPlace || offset + bytes.size() < kPlace + ext2::kSectorSizeBytes) {
          return {};
        }
        return upper.write(kPlace, bytes.subspan(kPlace - offset, ext2::kSectorSizeBytes));
      }));
  return upper.sync();
}

Result<void> check_plan_not_cancelled(const JournalPlan& plan) {
  return plan.is_cancelled == nullptr ? Result<void>() : check_not_cancelled(*plan.is_cancelled);
}

// After the commit there is no way back, so space cannot be found missing then.
Result<void> allocate_homes(WritableFile& upper, const JournalPlan& plan,
                            const std::vector<FileRange>& runs) {
  for (const FileRange& run : runs) {
    UNIONFS_TRY(check_plan_not_cancelled(plan));
    Result<void> allocated = upper.allocate(run.offset, run.length);
    if (!allocated && allocated.error().error_number != EOPNOTSUPP) {
      return allocated;
    }
  }
  return {};
}

Result<FileRange> write_at_end(WritableFile& upper, const JournalPlan& plan) {
  const std::vector<FileRange> runs = runs_of(plan.stage);
  uint64_t length = sizeof(format::JournalHead) +
                    (runs.size() + plan.punches.size()) * sizeof(format::JournalRun);
  for (const FileRange& run : runs) {
    length += run.length;
  }
  const uint64_t offset =
      round_up(std::max(upper.size_bytes(), plan.file_size_bytes), format::kPageBytes);
  UNIONFS_TRY(upper.resize(offset + length));
  UNIONFS_TRY(allocate_homes(upper, plan, runs));

  format::JournalHead head = {};
  head.magic = format::kJournalMagic;
  head.file_size = plan.file_size_bytes;
  head.run_count = static_cast<uint32_t>(runs.size());
  head.punch_count = static_cast<uint32_t>(plan.punches.size());
  head.header = plan.header;
  Writer writer(upper, offset);
  UNIONFS_TRY(writer.append(bytes_of(head)));
  std::vector<std::byte> bytes;
  for (const FileRange& range : plan.punches) {
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
  Reader reader(upper, area);
  UNIONFS_ASSIGN(const format::JournalHead head, reader.check());
  if (head.header.state_offset != area.offset) {
    UNIONFS_TRY(move_mark(upper, reader));
  }
  UNIONFS_TRY(reader.visit(
      [&](FileRange range) {
        return zero_bytes(upper, range.offset, range.length, ZeroWay::kPunch);
      },
      [&](uint64_t offset, ConstByteSpan bytes) { return upper.write(offset, bytes); }));
  UNIONFS_TRY(upper.sync());
  UNIONFS_TRY(write_header(upper, head.header, area.generation + 1));
  UNIONFS_TRY(upper.sync());
  return upper.resize(head.file_size);
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
  Reader reader(upper, area);
  UNIONFS_ASSIGN(const format::JournalHead head, reader.check());
  // The ranges to punch mean nothing to the new layer, so they may stay.
  UNIONFS_TRY(reader.visit(
      [](FileRange) -> Result<void> { return {}; },
      [&](uint64_t offset, ConstByteSpan bytes) { return stage.write(offset, bytes); }));
  return write_header(stage, head.header, area.generation + 1);
}

}  // namespace unionfs
