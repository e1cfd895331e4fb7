// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/tar_source.h"

#include <archive_entry.h>

#include <algorithm>
#include <limits>

#include "fsparse/ext2_format.h"
#include "overlay/sources/archive_reader.h"
#include "overlay/sources/device_numbers.h"
#include "overlay/sources/tar_attributes.h"
#include "overlay/sources/tree_builder.h"

namespace unionfs {
namespace {

constexpr std::string_view kWhiteoutPrefix = ".wh.";
constexpr std::string_view kOpaqueName = ".wh..wh..opq";
constexpr std::string_view kAufsPrefix = ".wh..wh.";

constexpr uint32_t kNanosecondsPerSecond = 1'000'000'000;
constexpr uint64_t kTarBlockBytes = 512;

// libarchive reads "-1.25" as -1 s and 250,000,000 ns, and means -1.25 s.
FileTime modification_time(archive_entry* entry) {
  FileTime time{archive_entry_mtime(entry), static_cast<uint32_t>(archive_entry_mtime_nsec(entry))};
  if (time.seconds < 0 && time.nanoseconds > 0 &&
      time.seconds != std::numeric_limits<int64_t>::min()) {
    --time.seconds;
    time.nanoseconds = kNanosecondsPerSecond - time.nanoseconds;
  }
  return time;
}

// Tells how long the stream was, and how long without the zeros at its end.
class MeasuredStream final : public ByteStream {
 public:
  explicit MeasuredStream(ByteStream& stream) : stream_(stream) {}

  const std::string& name() const override { return stream_.name(); }
  uint64_t length() const { return length_; }
  uint64_t data_length() const { return data_length_; }

  Result<size_t> read(ByteSpan buffer) override {
    UNIONFS_ASSIGN(const size_t got, stream_.read(buffer));
    for (size_t end = got; end > 0; --end) {
      if (buffer[end - 1] != std::byte{0}) {
        data_length_ = length_ + end;
        break;
      }
    }
    length_ += got;
    return got;
  }

 private:
  ByteStream& stream_;
  uint64_t length_ = 0;
  uint64_t data_length_ = 0;
};

// What is told once for the whole archive.
struct TarRemarks {
  uint64_t absolute = 0;
  uint64_t whiteout_names = 0;
  uint64_t aufs = 0;
};

class TarReader {
 public:
  TarReader(MeasuredStream& unpacked, TarRules rules, TarEnd end, SourceContext& context)
      : stream_(unpacked),
        rules_(rules),
        end_(end),
        context_(context),
        builder_(unpacked.name(), context),
        collector_(context) {}

  Result<FileTree> read() {
    UNIONFS_ASSIGN(reader_, ArchiveReader::open(stream_, ArchiveReader::Reads::kTar));
    while (true) {
      UNIONFS_ASSIGN(archive_entry* const entry,
                     reader_->next_entry(last_.empty() ? stream_.name() : where_() + " or behind"));
      if (entry == nullptr) {
        break;
      }
      UNIONFS_TRY(read_entry(entry));
    }
    UNIONFS_TRY(check_end());
    tell_remarks();
    collector_.tell_left_out(stream_.name());
    return builder_.finish();
  }

 private:
  std::string where_() const { return fmt::format("{}: {}", stream_.name(), quoted_name(last_)); }

  // ---- one entry ----
  Result<void> read_entry(archive_entry* entry);
  Result<bool> read_mark(const EntryPath& path, archive_entry* entry);
  Result<EntryPath> path_of(const char* text);
  Result<void> put_link(const EntryPath& path, const char* target);
  Result<FileState> state_of(archive_entry* entry);
  Result<void> put_owner(archive_entry* entry, FileState& state);
  Result<void> put_target(archive_entry* entry, FileState& state);
  Result<void> read_content(TreeFileId id, uint64_t size);
  Result<void> add_data(std::vector<ByteRange>& data, ByteRange range);

  // ---- the whole ----
  Result<void> check_end();
  void tell_remarks();

  MeasuredStream& stream_;
  const TarRules rules_;
  const TarEnd end_;
  SourceContext& context_;
  TreeBuilder builder_;
  AttributeCollector collector_;
  std::unique_ptr<ArchiveReader> reader_;
  std::string last_;  // the entry's name as the archive has it
  TarRemarks remarks_;
};

Result<EntryPath> TarReader::path_of(const char* text) {
  if (text == nullptr) {
    return corrupt("{}: an entry without a name", where_());
  }
  if (*text == '/') {
    ++remarks_.absolute;
  }
  return parse_entry_path(text, context_.limits, stream_.name());
}

Result<void> TarReader::read_entry(archive_entry* entry) {
  const char* name = archive_entry_pathname(entry);
  UNIONFS_ASSIGN(const EntryPath path, path_of(name));
  last_ = name;
  UNIONFS_ASSIGN(const bool is_mark, read_mark(path, entry));
  if (is_mark) {
    return {};
  }
  if (const char* target = archive_entry_hardlink(entry)) {
    return put_link(path, target);
  }
  TreeFile file;
  UNIONFS_ASSIGN(file.state, state_of(entry));
  const bool is_regular = file.state.is_regular();
  const uint64_t size = file.state.size_bytes;
  UNIONFS_ASSIGN(const TreeFileId id, builder_.put(path, std::move(file)));
  return is_regular ? read_content(id, size) : Result<void>();
}

Result<bool> TarReader::read_mark(const EntryPath& path, archive_entry* entry) {
  const bool has_prefix = std::ranges::any_of(
      path, [](const std::string& name) { return name.starts_with(kWhiteoutPrefix); });
  if (!has_prefix) {
    return false;
  }
  if (rules_ == TarRules::kPlain) {
    ++remarks_.whiteout_names;
    return false;
  }
  EntryPath marked = path;
  const std::string name = std::move(marked.back());
  marked.pop_back();
  const auto is_aufs = [](const std::string& part) { return part.starts_with(kAufsPrefix); };
  if (std::ranges::any_of(marked, is_aufs) || (is_aufs(name) && name != kOpaqueName)) {
    ++remarks_.aufs;
    return true;
  }
  if (std::ranges::any_of(
          marked, [](const std::string& part) { return part.starts_with(kWhiteoutPrefix); })) {
    return invalid("{}: lies below a whiteout", where_());
  }
  // aufs makes all whiteouts hard links of one file.
  const bool is_empty_file =
      archive_entry_hardlink(entry) != nullptr ||
      (archive_entry_filetype(entry) == AE_IFREG && archive_entry_size(entry) == 0);
  if (name == kWhiteoutPrefix || !is_empty_file) {
    return invalid("{}: {}", where_(),
                   is_empty_file ? "a whiteout of no name" : "a whiteout that is no empty file");
  }
  if (name == kOpaqueName) {
    UNIONFS_TRY(builder_.put_opaque(marked));
    return true;
  }
  marked.push_back(name.substr(kWhiteoutPrefix.size()));
  if (marked.back() == "." || marked.back() == "..") {
    return invalid("{}: a whiteout of no name", where_());
  }
  UNIONFS_TRY(builder_.put_whiteout(marked));
  return true;
}

Result<void> TarReader::put_link(const EntryPath& path, const char* target) {
  UNIONFS_ASSIGN(const EntryPath target_path, path_of(target));
  return builder_.put_link(path, target_path);
}

// ---- what an entry is ------------------------------------------------------------------

Result<FileState> TarReader::state_of(archive_entry* entry) {
  FileState state;
  const auto type = static_cast<uint16_t>(archive_entry_filetype(entry));
  state.mode = static_cast<uint16_t>(type | (archive_entry_perm(entry) & 07777));
  UNIONFS_TRY(put_owner(entry, state));
  state.modified = modification_time(entry);
  state.accessed = state.modified;
  state.changed = state.modified;
  unsigned long flags = 0;
  unsigned long cleared = 0;
  archive_entry_fflags(entry, &flags, &cleared);
  state.user_flags = static_cast<uint32_t>(flags & kUserFlags);
  switch (type) {
    case ext2::kModeRegular: {
      const int64_t size = archive_entry_size(entry);
      if (size < 0) {
        return corrupt("{}: the size {}", where_(), size);
      }
      state.size_bytes = static_cast<uint64_t>(size);
      break;
    }
    case ext2::kModeSymlink:
      UNIONFS_TRY(put_target(entry, state));
      break;
    case ext2::kModeCharDevice:
    case ext2::kModeBlockDevice:
      UNIONFS_TRY(put_device_numbers(state, static_cast<uint64_t>(archive_entry_rdevmajor(entry)),
                                     static_cast<uint64_t>(archive_entry_rdevminor(entry)),
                                     where_()));
      break;
    case ext2::kModeDirectory:
    case ext2::kModeFifo:
    case ext2::kModeSocket:
      break;
    default:
      return corrupt("{}: the unknown type {:#o}", where_(), type);
  }
  UNIONFS_TRY(put_entry_attributes(entry, state, collector_, where_()));
  return state;
}

Result<void> TarReader::put_owner(archive_entry* entry, FileState& state) {
  const int64_t user = archive_entry_uid(entry);
  const int64_t group = archive_entry_gid(entry);
  constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
  if (user < 0 || user > kMost || group < 0 || group > kMost) {
    return invalid("{}: the owner {}:{} is none that a file can have", where_(), user, group);
  }
  state.user_id = static_cast<uint32_t>(user);
  state.group_id = static_cast<uint32_t>(group);
  return {};
}

Result<void> TarReader::put_target(archive_entry* entry, FileState& state) {
  const char* target = archive_entry_symlink(entry);
  state.target = target == nullptr ? "" : target;
  if (state.target.empty()) {
    return invalid("{}: a symlink to nothing", where_());
  }
  if (state.target.size() > context_.limits.target_bytes) {
    return unsupported("{}: a symlink to a path of {} bytes; the limit is {}", where_(),
                       state.target.size(), context_.limits.target_bytes);
  }
  state.size_bytes = state.target.size();
  state.mode |= 0777;  // nobody asks for them, and programs write different ones
  return {};
}

// ---- contents --------------------------------------------------------------------------

Result<void> TarReader::add_data(std::vector<ByteRange>& data, ByteRange range) {
  const SourceLimits& limits = context_.limits;
  context_.used.content_bytes += range.length();
  if (context_.used.content_bytes > limits.content_bytes) {
    return unsupported("{}: more than {} bytes of contents in all, which is the limit", where_(),
                       limits.content_bytes);
  }
  if (!data.empty() && data.back().end == range.begin) {
    data.back().end = range.end;
    return {};
  }
  if (++context_.used.stored_ranges > limits.stored_ranges) {
    return unsupported("{}: more than {} pieces of files, which is the limit", where_(),
                       limits.stored_ranges);
  }
  data.push_back(range);
  return {};
}

Result<void> TarReader::read_content(TreeFileId id, uint64_t size) {
  if (size > context_.limits.file_bytes) {
    return unsupported("{}: a file of {} bytes; the limit is {}", where_(), size,
                       context_.limits.file_bytes);
  }
  const uint64_t place = context_.spool->end();
  std::vector<ByteRange> data;
  uint64_t reached = 0;
  while (true) {
    const void* bytes = nullptr;
    size_t length = 0;
    la_int64_t offset = 0;
    const int status = archive_read_data_block(reader_->handle(), &bytes, &length, &offset);
    if (status == ARCHIVE_EOF) {
      break;
    }
    if (status != ARCHIVE_OK) {
      return reader_->failure(where_());
    }
    const auto begin = static_cast<uint64_t>(offset);
    if (length == 0) {
      continue;
    }
    if (begin < reached || begin > size || length > size - begin) {
      return corrupt("{}: {} bytes at offset {} of {} are out of order", where_(), length, begin,
                     size);
    }
    reached = begin + length;
    UNIONFS_TRY(add_data(data, {begin, reached}));
    UNIONFS_TRY(context_.spool->append({static_cast<const std::byte*>(bytes), length}));
  }
  if (size > 0) {
    builder_.file(id).content = context_.spool->content(place, std::move(data), size);
    builder_.has_spooled(id, place);
  }
  return {};
}

// ---- the whole -------------------------------------------------------------------------

// libarchive takes the end of the bytes for the end of the archive.  A cut one would lose files.
Result<void> TarReader::check_end() {
  const auto end = static_cast<uint64_t>(archive_read_header_position(reader_->handle()));
  UNIONFS_TRY(drain_stream(stream_));
  if (end_ == TarEnd::kRequired && stream_.length() < end + kTarBlockBytes) {
    return corrupt("{}: is cut: the zeros at its end are missing", stream_.name());
  }
  if (stream_.data_length() > end && context_.warn) {
    context_.warn(
        fmt::format("{}: what lies behind the end of the archive is not read", stream_.name()));
  }
  return {};
}

void TarReader::tell_remarks() {
  if (!context_.warn) {
    return;
  }
  if (remarks_.absolute > 0) {
    context_.warn(
        fmt::format("{}: took the slash in front off {} names", stream_.name(), remarks_.absolute));
  }
  if (remarks_.whiteout_names > 0) {
    context_.warn(
        fmt::format("{}: {} names have \".wh.\" in front, as whiteouts of a layer have; they are "
                    "taken as files",
                    stream_.name(), remarks_.whiteout_names));
  }
  if (remarks_.aufs > 0) {
    context_.warn(fmt::format("{}: left out {} entries that aufs keeps for itself (.wh..wh.)",
                              stream_.name(), remarks_.aufs));
  }
}

}  // namespace

Result<FileTree> read_unpacked_tar(ByteStream& stream, TarRules rules, TarEnd end,
                                   SourceContext& context) {
  MeasuredStream measured(stream);
  return TarReader(measured, rules, end, context).read();
}

Result<FileTree> read_tar_stream(ByteStream& stream, TarRules rules, SourceContext& context) {
  UNIONFS_ASSIGN(const auto unpacked, unpack_stream(stream, context));
  return read_unpacked_tar(*unpacked, rules, TarEnd::kRequired, context);
}

Result<FileTree> read_tar(const std::string& path, TarRules rules, SourceContext& context) {
  UNIONFS_ASSIGN(const auto stream, open_stream(path, context));
  return read_tar_stream(*stream, rules, context);
}

}  // namespace unionfs
