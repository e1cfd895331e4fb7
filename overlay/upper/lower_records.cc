// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/lower_records.h"

#include <algorithm>
#include <cstring>

#include "overlay/upper/hash.h"

namespace unionfs {
namespace {

namespace format = upper_format;

template <typename T>
void append_record(std::vector<std::byte>& bytes, const T& value) {
  const ConstByteSpan more = bytes_of(value);
  bytes.insert(bytes.end(), more.begin(), more.end());
}

template <typename Record, typename Number>
const Record* find_by(const std::vector<Record>& records, Number Record::*key, Number wanted) {
  const auto found =
      std::lower_bound(records.begin(), records.end(), wanted,
                       [key](const Record& record, Number number) { return record.*key < number; });
  return found != records.end() && (*found).*key == wanted ? &*found : nullptr;
}

// Reads the arrays one after the other, a piece of each at a time, and stops at the
// first number that is out of order.
class LowerRecordsReader {
 public:
  LowerRecordsReader(const Image& upper, FileRange range) : upper_(upper), next_(range.offset) {}

  Result<format::LowerRecordsHead> take_head() {
    UNIONFS_ASSIGN(const auto head, read_structure<format::LowerRecordsHead>(upper_, next_));
    next_ += sizeof(head);
    format::LowerRecordsHead hashed = head;
    hashed.checksum = uint64_t{0};
    hash_.add(bytes_of(hashed));
    return head;
  }

  // Calls take(raw, number) for each; `field` is where the raw record has its number, which
  // is one of `numbers` and above the one before.
  template <typename Raw, typename Take>
  Result<void> take_array(const char* what, uint32_t count, Le32 Raw::*field, FileRange numbers,
                          Take take) {
    constexpr uint32_t kRecordsInPiece = 1024;
    std::vector<Raw> piece;
    uint64_t least = numbers.offset;
    for (uint32_t taken = 0; taken < count; taken += static_cast<uint32_t>(piece.size())) {
      piece.resize(std::min(kRecordsInPiece, count - taken));
      const ByteSpan bytes = std::as_writable_bytes(std::span(piece));
      UNIONFS_TRY(upper_.read(next_, bytes));
      next_ += bytes.size();
      hash_.add(bytes);
      for (const Raw& raw : piece) {
        const uint32_t value = raw.*field;
        if (value < least || value >= numbers.end()) {
          return corrupt("{}: state area: lower records: {} {} is out of order or out of range",
                         upper_.name(), what, value);
        }
        least = value + uint64_t{1};
        UNIONFS_TRY(take(raw, value));
      }
    }
    return {};
  }

  uint64_t checksum() const { return hash_.value(); }

 private:
  const Image& upper_;
  uint64_t next_;
  Hash hash_;
};

Result<void> take_records(const std::string& name, LowerRecordsReader& reader,
                          const format::LowerRecordsHead& head, const Layout& lower,
                          LowerRecords& records) {
  UNIONFS_TRY(reader.take_array(
      "inode", head.inode_count, &format::LowerInode::inode, {1, lower.inode_count()},
      [&](const format::LowerInode& raw, uint32_t number) -> Result<void> {
        if (raw.flags == 0U || (raw.flags & ~format::kKnownLowerInodeFlags) != 0U) {
          return corrupt("{}: state area: lower records: inode {} has flags {:#x}", name, raw.inode,
                         raw.flags);
        }
        records.inodes.push_back({InodeNumber(number), raw.flags, raw.metadata, raw.content});
        return {};
      }));
  UNIONFS_TRY(reader.take_array(
      "group", head.group_count, &format::LowerGroup::group, {0, lower.group_count()},
      [&](const format::LowerGroup& raw, uint32_t number) -> Result<void> {
        records.groups.push_back({GroupNumber(number), raw.bitmaps});
        return {};
      }));
  const uint64_t first = lower.first_data_block + uint64_t{1};
  return reader.take_array("xattr block", head.xattr_count, &format::LowerXattr::block,
                           {first, lower.block_count - first},
                           [&](const format::LowerXattr& raw, uint32_t number) -> Result<void> {
                             records.xattrs.push_back({BlockNumber(number), raw.content});
                             return {};
                           });
}

}  // namespace

const LowerInode* find_record(const LowerRecords& records, InodeNumber inode) {
  return find_by(records.inodes, &LowerInode::inode, inode);
}

const LowerGroup* find_record(const LowerRecords& records, GroupNumber group) {
  return find_by(records.groups, &LowerGroup::group, group);
}

const LowerXattr* find_record(const LowerRecords& records, BlockNumber block) {
  return find_by(records.xattrs, &LowerXattr::block, block);
}

std::vector<std::byte> encode_lower_records(const LowerRecords& records) {
  format::LowerRecordsHead head = {};
  head.magic = format::kLowerRecordsMagic;
  head.inode_count = static_cast<uint32_t>(records.inodes.size());
  head.group_count = static_cast<uint32_t>(records.groups.size());
  head.xattr_count = static_cast<uint32_t>(records.xattrs.size());
  std::vector<std::byte> bytes;
  bytes.reserve(sizeof(head) + records.inodes.size() * sizeof(format::LowerInode) +
                records.groups.size() * sizeof(format::LowerGroup) +
                records.xattrs.size() * sizeof(format::LowerXattr));
  append_record(bytes, head);
  for (const LowerInode& record : records.inodes) {
    append_record(bytes, format::LowerInode{record.inode.value(), record.flags, record.metadata,
                                            record.content});
  }
  for (const LowerGroup& record : records.groups) {
    append_record(bytes, format::LowerGroup{record.group.value(), record.bitmaps});
  }
  for (const LowerXattr& record : records.xattrs) {
    append_record(bytes,
                  format::LowerXattr{static_cast<uint32_t>(record.block.value()), record.content});
  }
  head.checksum = XXH3_64bits(bytes.data(), bytes.size());  // its own field is zero so far
  std::memcpy(bytes.data(), &head, sizeof(head));
  return bytes;
}

Result<LowerRecords> read_lower_records(const Image& upper, FileRange range, const Layout& lower) {
  const std::string& name = upper.name();
  if (range.length < sizeof(format::LowerRecordsHead)) {
    return corrupt("{}: state area: lower records of {} bytes are too short", name, range.length);
  }
  LowerRecordsReader reader(upper, range);
  UNIONFS_ASSIGN(const format::LowerRecordsHead head, reader.take_head());
  if (head.magic != format::kLowerRecordsMagic) {
    return corrupt("{}: state area: lower records have no magic", name);
  }
  if (head.reserved != 0U) {
    return corrupt("{}: state area: lower records: reserved word is {:#x}, not 0", name,
                   head.reserved);
  }
  const uint64_t wanted = sizeof(head) + uint64_t{head.inode_count} * sizeof(format::LowerInode) +
                          uint64_t{head.group_count} * sizeof(format::LowerGroup) +
                          uint64_t{head.xattr_count} * sizeof(format::LowerXattr);
  if (wanted != range.length) {
    return corrupt("{}: state area: lower records of {} bytes, but their counts make {}", name,
                   range.length, wanted);
  }
  LowerRecords records;
  UNIONFS_TRY(take_records(name, reader, head, lower, records));
  if (reader.checksum() != head.checksum) {
    return corrupt("{}: state area: lower records: checksum is {:#018x}, not {:#018x}", name,
                   reader.checksum(), head.checksum);
  }
  return records;
}

}  // namespace unionfs
