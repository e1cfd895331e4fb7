// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/journal_reader.h"

#include <algorithm>

#include "overlay/upper/hash.h"

namespace unionfs {

namespace format = upper_format;

template <typename... Args>
Failure JournalReader::damaged(fmt::format_string<Args...> format, Args&&... args) const {
  return corrupt("{}: state area: the journal of a checkpoint at {} {}", upper_.name(),
                 range_.offset, fmt::format(format, std::forward<Args>(args)...));
}

Result<JournalReader> JournalReader::open(const ReadableFile& upper, const StateArea& area) {
  JournalReader reader(upper, area.journal);
  UNIONFS_TRY(reader.check_head());
  UNIONFS_TRY(reader.check_checksum());
  uint64_t offset = area.journal.offset + sizeof(reader.head_);
  UNIONFS_TRY(reader.take_punches(offset));
  UNIONFS_TRY(reader.take_runs(offset));
  reader.cut_punches();
  return reader;
}

// Before anything is read whose length it says.
Result<void> JournalReader::check_head() {
  if (range_.length < sizeof(head_)) {
    return damaged("is too short: {} bytes", range_.length);
  }
  UNIONFS_ASSIGN(head_, read_structure<format::JournalHead>(upper_, range_.offset));
  if (head_.magic != format::kJournalMagic) {
    return damaged("has no magic");
  }
  const uint64_t count = uint64_t{head_.run_count} + head_.punch_count;
  if (count > (range_.length - sizeof(head_)) / sizeof(format::JournalRun)) {
    return damaged("has {} punches and {} runs, too many for its {} bytes", head_.punch_count,
                   head_.run_count, range_.length);
  }
  const bool has_records = (head_.header.feature_incompat & format::kIncompatLowerRecords) != 0;
  const format::Section& last =
      has_records ? head_.header.lower_records : head_.header.translated_blocks;
  if (head_.file_size > range_.offset || last.offset > head_.file_size ||
      last.length > head_.file_size - last.offset) {
    return damaged("leaves {} bytes of the file: not all before the journal, or not all of a layer",
                   head_.file_size);
  }
  if (head_.header.journal.length != 0) {
    return damaged("leads to another journal, at {}", head_.header.journal.offset);
  }
  return {};
}

Result<void> JournalReader::check_checksum() const {
  format::JournalHead head = head_;
  head.checksum = uint64_t{0};
  Hash hash;
  hash.add(bytes_of(head));
  std::vector<std::byte> piece;
  for (uint64_t offset = range_.offset + sizeof(head_); offset < range_.end();) {
    // A copy of an upper may have made holes of the zeros in a run, but what is between
    // two runs is never zero.
    const FileExtent extent = upper_.extent_at(offset);
    const uint64_t hole_end = extent.is_hole ? std::min(extent.end, range_.end()) : offset;
    if (hole_end - offset > kMaxJournalRunBytes) {
      return damaged("has a hole of {} bytes", hole_end - offset);
    }
    piece.resize(std::min(kMaxJournalRunBytes, range_.end() - offset));
    UNIONFS_TRY(upper_.read(offset, piece));
    hash.add(piece);
    offset += piece.size();
  }
  if (hash.value() != head_.checksum) {
    return damaged("has a wrong checksum");
  }
  return {};
}

// A range of the upper.  The journal lies behind everything else.
Result<FileRange> JournalReader::take(uint64_t& offset, const char* what) const {
  if (range_.end() - offset < sizeof(format::JournalRun)) {
    return damaged("ends too early");
  }
  UNIONFS_ASSIGN(const auto raw, read_structure<format::JournalRun>(upper_, offset));
  offset += sizeof(raw);
  if (raw.length == 0 || raw.offset > range_.offset || raw.length > range_.offset - raw.offset) {
    return damaged("has a {} of {} bytes at {}", what, raw.length, raw.offset);
  }
  return FileRange{raw.offset, raw.length};
}

// The order of punches means nothing; it is the memory's that they lie in order there.
Result<void> JournalReader::take_punches(uint64_t& offset) {
  for (uint32_t i = 0; i < head_.punch_count; ++i) {
    UNIONFS_ASSIGN(const FileRange range, take(offset, "punch"));
    punches_.push_back(range);
  }
  std::sort(punches_.begin(), punches_.end(),
            [](const FileRange& a, const FileRange& b) { return a.offset < b.offset; });
  for (size_t i = 1; i < punches_.size(); ++i) {
    if (punches_[i].offset < punches_[i - 1].end()) {
      return damaged("has two punches of the bytes at {}", punches_[i].offset);
    }
  }
  return {};
}

Result<void> JournalReader::take_runs(uint64_t& offset) {
  for (uint32_t i = 0; i < head_.run_count; ++i) {
    UNIONFS_ASSIGN(const FileRange home, take(offset, "run"));
    if (home.length > kMaxJournalRunBytes || home.length > range_.end() - offset) {
      return damaged("has a run of {} bytes at {}, too long", home.length, home.offset);
    }
    if (!runs_.empty() && home.offset < runs_.back().home.end()) {
      return damaged("has a run at {} behind one up to {}", home.offset, runs_.back().home.end());
    }
    runs_.push_back({home, offset});
    offset += home.length;
  }
  return {};
}

// Both lists ascend, so each is gone through once.
void JournalReader::cut_punches() {
  std::vector<FileRange> left;
  auto run = runs_.begin();
  for (const FileRange& punch : punches_) {
    uint64_t begin = punch.offset;
    while (run != runs_.end() && run->home.end() <= begin) {
      ++run;
    }
    while (run != runs_.end() && run->home.offset < punch.end()) {
      if (run->home.offset > begin) {
        left.push_back({begin, run->home.offset - begin});
      }
      begin = run->home.end();
      if (begin >= punch.end()) {
        break;  // it may reach into the next punch
      }
      ++run;
    }
    if (begin < punch.end()) {
      left.push_back({begin, punch.end() - begin});
    }
  }
  punches_ = std::move(left);
}

}  // namespace unionfs
