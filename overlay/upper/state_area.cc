// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/state_area.h"

#include <fmt/ranges.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "fsparse/printable.h"

namespace unionfs {
namespace {

namespace format = upper_format;

uint64_t checksum_of(format::Header header) {
  header.checksum = uint64_t{0};
  return XXH3_64bits(&header, sizeof(header));
}

format::Section encode(const FileRange& range) {
  return {range.offset, range.length};
}

FileRange decode(const format::Section& section) {
  return {section.offset, section.length};
}

struct NamedSection {
  const char* name;
  FileRange range;
};

// Sections lie one behind the other; `least` is where the next may begin.
Result<void> check_section(const ReadableFile& upper, const NamedSection& section,
                           uint64_t& least) {
  const FileRange& range = section.range;
  if (range.offset % format::kPageBytes != 0 || range.offset < least ||
      range.offset > upper.size_bytes() || range.length > upper.size_bytes() - range.offset) {
    return corrupt(
        "{}: state area: section {} at {} with {} bytes does not lie between {} and "
        "the end of the file ({} bytes)",
        upper.name(), section.name, range.offset, range.length, least, upper.size_bytes());
  }
  least = range.end();
  return {};
}

bool is_valid(const format::Header& header) {
  return header.magic == format::kHeaderMagic && checksum_of(header) == header.checksum;
}

// The valid slot with the higher generation.
Result<format::Header> newest_header(const ReadableFile& upper, uint64_t state_offset) {
  std::optional<format::Header> newest;
  for (uint32_t slot = 0; slot < format::kHeaderSlots; ++slot) {
    UNIONFS_ASSIGN(const auto header,
                   read_structure<format::Header>(upper, state_offset + slot * format::kPageBytes));
    if (is_valid(header) && (!newest || header.generation.value() > newest->generation.value())) {
      newest = header;
    }
  }
  if (!newest) {
    return corrupt("{}: state area at {}: neither header is valid", upper.name(), state_offset);
  }
  return *newest;
}

void append_unknown(std::vector<std::string>& names, uint32_t word, char letter) {
  for (int bit = 0; bit < 32; ++bit) {
    if ((word >> bit & 1) != 0) {
      names.push_back(fmt::format("FEATURE_{}{}", letter, bit));
    }
  }
}

void append_incompat(std::vector<std::string>& names, uint32_t word) {
  const std::pair<uint32_t, const char*> known[] = {
      {format::kIncompatLowerRecords, "lower_records"},
      {format::kIncompatParent, "parent"},
      {format::kIncompatSealed, "sealed"},
      {format::kIncompatVoid, "void"},
      {format::kIncompatFrozen, "frozen"},
      {format::kIncompatFreezing, "freezing"}};
  for (const auto& [bit, name] : known) {
    if ((word & bit) != 0) {
      names.emplace_back(name);
    }
  }
  append_unknown(names, word & ~format::kKnownIncompat, 'I');
}

StateFeatures features_of(const format::Header& raw) {
  return {raw.feature_compat, raw.feature_incompat, raw.feature_ro_compat, raw.reserved};
}

bool is_known_version(uint32_t version) {
  return version >= format::kOldestVersion && version <= format::kVersion;
}

// The parts of the header that must be zero, from one field up to another: an unknown
// feature without which one can read may use the reserved bytes.
struct HeaderPart {
  size_t begin;
  size_t end;
};

std::vector<HeaderPart> unused_parts_of(const format::Header& raw) {
  if (raw.version == format::kOldestVersion) {
    return {{offsetof(format::Header, feature_compat), sizeof(raw)}};
  }
  std::vector<HeaderPart> parts;
  const auto is_set = [&](uint32_t bit) { return (raw.feature_incompat & bit) != 0; };
  if (!is_set(format::kIncompatLowerRecords)) {
    parts.push_back({offsetof(format::Header, lower_records), offsetof(format::Header, parent)});
  }
  if (!is_set(format::kIncompatParent)) {
    parts.push_back({offsetof(format::Header, parent), offsetof(format::Header, seal)});
  }
  if (!is_set(format::kIncompatSealed)) {
    const bool has_id = is_set(format::kIncompatFrozen | format::kIncompatFreezing);
    const size_t used = has_id ? sizeof(format::Freeze::id) : 0;
    parts.push_back({offsetof(format::Header, seal) + used, offsetof(format::Header, reserved)});
  }
  const bool has_unknown = (raw.feature_compat & ~format::kKnownCompat) != 0 ||
                           (raw.feature_ro_compat & ~format::kKnownRoCompat) != 0;
  if (!has_unknown) {
    parts.push_back({offsetof(format::Header, reserved), sizeof(raw)});
  }
  return parts;
}

Result<void> check_unused(const std::string& name, const format::Header& raw) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&raw);
  for (const HeaderPart& part : unused_parts_of(raw)) {
    for (size_t at = part.begin; at < part.end; ++at) {
      if (bytes[at] != 0) {
        return unsupported("{}: state area: reserved byte {:#x} of the header is {:#x}, not 0",
                           name, at, bytes[at]);
      }
    }
  }
  return {};
}

// Whoever follows the name stays in one directory.
Result<void> check_parent_record(const std::string& name, const format::Header& raw) {
  const auto is_set = [&](uint32_t bit) { return (raw.feature_incompat & bit) != 0; };
  const bool is_void = is_set(format::kIncompatVoid);
  const bool is_frozen = is_set(format::kIncompatFrozen);
  const bool is_freezing = is_set(format::kIncompatFreezing);
  if (is_set(format::kIncompatSealed) && (is_void || is_frozen || is_freezing)) {
    return corrupt("{}: state area: is sealed, and void or frozen as well", name);
  }
  if (is_frozen && is_freezing) {
    return corrupt("{}: state area: is frozen, and is being frozen as well", name);
  }
  if (!is_set(format::kIncompatParent)) {
    return is_void ? Result<void>(corrupt("{}: state area: is void, but has no parent", name))
                   : Result<void>();
  }
  const auto kind = static_cast<format::ParentKind>(raw.parent.kind.value());
  if (kind != format::ParentKind::kSealed && kind != format::ParentKind::kFrozen &&
      kind != format::ParentKind::kLayer) {
    return unsupported("{}: state area: its parent is of kind {}, which is not known", name,
                       raw.parent.kind);
  }
  if (is_void != (kind == format::ParentKind::kFrozen)) {
    return corrupt("{}: state area: {}", name,
                   is_void ? "is void, but its parent is not frozen"
                           : "stands on a frozen session, but is not void");
  }
  const std::array<char, 180>& bytes = raw.parent.name;
  const auto end = std::find(bytes.begin(), bytes.end(), '\0');
  const std::string_view parent(bytes.data(), static_cast<size_t>(end - bytes.begin()));
  const bool has_rest = std::any_of(end, bytes.end(), [](char c) { return c != '\0'; });
  if (has_rest || parent == "." || parent == ".." || parent.find('/') != std::string_view::npos) {
    return corrupt("{}: state area: its parent's name is no file name", name);
  }
  return {};
}

// Refuses what a later program may have put there.
Result<void> check_known(const std::string& name, const format::Header& raw) {
  if (!is_known_version(raw.version)) {
    return unsupported("{}: state area: version {} is not known (this is version {})", name,
                       raw.version, format::kVersion);
  }
  if ((raw.flags & ~format::kKnownFlags) != 0) {
    return unsupported("{}: state area: unknown flags {:#x}", name,
                       raw.flags & ~format::kKnownFlags);
  }
  StateFeatures unknown;
  unknown.incompat =
      raw.version == format::kOldestVersion ? 0 : raw.feature_incompat & ~format::kKnownIncompat;
  if (unknown.incompat != 0) {
    return unsupported("{}: state area: needs features that are not known: {}", name,
                       fmt::join(names_of(unknown), ", "));
  }
  UNIONFS_TRY(check_unused(name, raw));
  return check_parent_record(name, raw);
}

// Each write of a header raises the one, each checkpoint the other: none wraps.
Result<void> check_counts(const std::string& name, const format::Header& raw) {
  constexpr uint64_t kEnd = uint64_t{1} << 63;
  if (raw.generation >= kEnd || raw.session_number >= kEnd) {
    return corrupt("{}: state area: generation {} or session number {} is not below {}", name,
                   raw.generation, raw.session_number, kEnd);
  }
  return {};
}

// Mark and header are of one version, except that a journal brings the mark
// home before the header.
Result<void> check_versions(const std::string& name, const format::Header& raw,
                            const StateMark& mark) {
  const bool is_on_the_way = raw.journal.length != 0 && mark.version > raw.version;
  if (mark.version != raw.version && !is_on_the_way) {
    return corrupt("{}: state area: is of version {}, but the superblock's mark of version {}",
                   name, raw.version, mark.version);
  }
  return {};
}

StateArea decode(const format::Header& raw) {
  StateArea area;
  area.offset = raw.state_offset;
  area.version = raw.version;
  area.features = features_of(raw);
  area.generation = raw.generation;
  area.session_number = raw.session_number;
  area.flags = raw.flags;
  area.merged_block_count = raw.merged_block_count;
  area.block_size_bytes = raw.block_size_bytes;
  area.lower = {raw.lower, raw.lower_free_blocks_count, raw.lower_free_inodes_count,
                raw.lower_used_dirs_count};
  area.parent = raw.parent;
  if (area.is_frozen() || area.is_freezing()) {
    area.freeze_id = raw.seal.shape;  // the same place
  } else {
    area.seal = raw.seal;
  }
  area.durable_bitmap = decode(raw.durable_bitmap);
  area.live_bitmap = decode(raw.live_bitmap);
  area.fixed_blocks = decode(raw.fixed_blocks);
  area.layer_tables = decode(raw.layer_tables);
  area.translated_blocks = decode(raw.translated_blocks);
  area.lower_records = decode(raw.lower_records);
  area.journal = decode(raw.journal);
  return area;
}

Result<void> check_places(const ReadableFile& upper, const StateArea& area) {
  uint64_t least = area.offset + format::kSectionsOffset;
  for (const NamedSection& section : {NamedSection{"durable bitmap", area.durable_bitmap},
                                      NamedSection{"live bitmap", area.live_bitmap},
                                      NamedSection{"fixed blocks", area.fixed_blocks},
                                      NamedSection{"layer tables", area.layer_tables},
                                      NamedSection{"translated blocks", area.translated_blocks}}) {
    UNIONFS_TRY(check_section(upper, section, least));
  }
  if (area.has_lower_records()) {
    UNIONFS_TRY(check_section(upper, {"lower records", area.lower_records}, least));
  }
  if (area.journal.length != 0) {
    UNIONFS_TRY(check_section(upper, {"journal", area.journal}, least));
  }
  return {};
}

}  // namespace

std::vector<std::string> names_of(const StateFeatures& features) {
  std::vector<std::string> names;
  append_unknown(names, features.compat, 'C');
  append_incompat(names, features.incompat);
  append_unknown(names, features.ro_compat, 'R');
  return names;
}

Result<std::optional<StateMark>> mark_of(const std::string& name,
                                         const ext2::Superblock& superblock) {
  format::Mark mark;
  std::memcpy(&mark, superblock.s_jnl_blocks.data(), sizeof(mark));
  if (mark.magic != format::kMarkMagic) {
    return std::optional<StateMark>();
  }
  if (!is_known_version(mark.version)) {
    return unsupported("{}: superblock: the mark's version {} is not known (this is version {})",
                       name, mark.version, format::kVersion);
  }
  if (mark.reserved != 0) {
    return unsupported("{}: superblock: the mark's reserved word is {:#x}, not 0", name,
                       mark.reserved);
  }
  return std::optional<StateMark>({mark.state_offset, mark.version});
}

Result<StateMark> required_mark_of(const std::string& name, const ext2::Superblock& superblock) {
  UNIONFS_ASSIGN(const auto mark, mark_of(name, superblock));
  if (!mark) {
    const bool is_upper = (superblock.s_feature_incompat & ext2::kIncompatWhiteout) != 0;
    return unsupported(
        "{}: is an ext2 image without a state area, so not an upper made by this program; {}", name,
        is_upper
            ? fmt::format("to import it, serve it once to a client that may write, or run: "
                          "unionfs-img checkpoint -b LOWER {}",
                          shell_word(name))
            : fmt::format("to make an upper of its files, run: unionfs-img import -b LOWER {} NEW",
                          shell_word(name)));
  }
  return *mark;
}

void set_mark(ext2::Superblock& superblock, uint64_t state_offset) {
  format::Mark mark = {};
  mark.magic = format::kMarkMagic;
  mark.state_offset = state_offset;
  mark.version = format::kVersion;
  std::memcpy(static_cast<void*>(superblock.s_jnl_blocks.data()), &mark, sizeof(mark));
}

void renew_mark(ext2::Superblock& superblock) {
  format::Mark mark;
  std::memcpy(&mark, superblock.s_jnl_blocks.data(), sizeof(mark));
  set_mark(superblock, mark.state_offset);
}

uint64_t bitmap_size_bytes(const Geometry& geometry) {
  return round_up(divide_round_up(geometry.merged().block_count, 8), format::kPageBytes);
}

StateArea plan_state_area(const Geometry& geometry, const LayerSections& sections,
                          uint64_t least_offset) {
  StateArea area;
  area.offset =
      round_up(std::max(geometry.size_bytes(), least_offset), format::kStateAlignmentBytes);
  area.merged_block_count = geometry.merged().block_count;
  area.block_size_bytes = geometry.merged().block_size_bytes;
  uint64_t next = area.offset + format::kSectionsOffset;
  const auto place = [&next](uint64_t length) {
    const FileRange range{next, length};
    next = round_up(range.end(), format::kPageBytes);
    return range;
  };
  const uint64_t block_size = geometry.merged().block_size_bytes;
  area.durable_bitmap = place(bitmap_size_bytes(geometry));
  area.live_bitmap = place(bitmap_size_bytes(geometry));
  area.fixed_blocks = place(geometry.fixed_block_count() * block_size);
  place_layer_sections(area, sections);
  return area;
}

std::vector<FileRange> StateArea::replaced_sections() const {
  std::vector<FileRange> sections = {live_bitmap, durable_bitmap, fixed_blocks, layer_tables,
                                     translated_blocks};
  if (has_lower_records()) {
    sections.push_back(lower_records);
  }
  return sections;
}

void place_layer_sections(StateArea& area, const LayerSections& sections) {
  const auto behind = [](const FileRange& range, uint64_t length) {
    return FileRange{round_up(range.end(), format::kPageBytes), length};
  };
  area.version = format::kVersion;
  area.features.incompat |= format::kIncompatLowerRecords;
  area.layer_tables = behind(area.fixed_blocks, sections.layer_tables_bytes);
  area.translated_blocks =
      behind(area.layer_tables, sections.translated_count * area.block_size_bytes);
  area.lower_records = behind(area.translated_blocks, sections.lower_records_bytes);
}

Result<StateArea> read_state_area(const ReadableFile& upper, const StateMark& mark) {
  const uint64_t state_offset = mark.state_offset;
  if (state_offset % format::kPageBytes != 0 || state_offset > upper.size_bytes() ||
      upper.size_bytes() - state_offset < format::kSectionsOffset) {
    return corrupt("{}: is cut short: its state area belongs at offset {}, but it is {} bytes long",
                   upper.name(), state_offset, upper.size_bytes());
  }
  UNIONFS_ASSIGN(const format::Header raw, newest_header(upper, state_offset));
  UNIONFS_TRY(check_known(upper.name(), raw));
  UNIONFS_TRY(check_counts(upper.name(), raw));
  if (raw.state_offset != state_offset) {
    return corrupt("{}: state area at {} says that it lies at {}", upper.name(), state_offset,
                   raw.state_offset);
  }
  UNIONFS_TRY(check_versions(upper.name(), raw, mark));
  const StateArea area = decode(raw);
  UNIONFS_TRY(check_places(upper, area));
  return area;
}

Result<void> check_may_write(const std::string& name, const StateArea& area) {
  StateFeatures unknown;
  unknown.ro_compat = area.features.ro_compat & ~format::kKnownRoCompat;
  if (unknown.ro_compat != 0) {
    return unsupported(
        "{}: state area: can only be read, with -r, because it has features that are not known: {}",
        name, fmt::join(names_of(unknown), ", "));
  }
  if (area.is_sealed() || area.is_frozen()) {
    return invalid(
        "{}: is a {}, which nobody writes any more; make an upper over it: give it before the "
        "upper, as a layer",
        name, area.is_sealed() ? "sealed layer" : "frozen level");
  }
  if (area.is_freezing()) {
    return invalid(
        "{}: a snapshot of it was cut off; serve the upper that it belongs to once to a client "
        "that may write",
        name);
  }
  return {};
}

Result<void> check_merged_size(const std::string& name, const StateArea& area,
                               const Layout& upper) {
  if (area.block_size_bytes != upper.block_size_bytes ||
      area.merged_block_count != upper.block_count) {
    return corrupt(
        "{}: state area: is for {} blocks of {} bytes, but the superblock says {} of "
        "{} bytes",
        name, area.merged_block_count, area.block_size_bytes, upper.block_count,
        upper.block_size_bytes);
  }
  if (area.offset < upper.size_bytes()) {
    return corrupt("{}: state area: lies at {}, inside the image of {} bytes", name, area.offset,
                   upper.size_bytes());
  }
  return {};
}

Result<void> check_sections(const std::string& name, const StateArea& area,
                            const Geometry& geometry) {
  const Layout& merged = geometry.merged();
  const uint64_t bitmap = bitmap_size_bytes(geometry);
  const uint64_t fixed = geometry.fixed_block_count() * merged.block_size_bytes;
  if (area.durable_bitmap.length != bitmap || area.live_bitmap.length != bitmap ||
      area.fixed_blocks.length != fixed) {
    return corrupt(
        "{}: state area: its bitmaps of {} and {} bytes and {} bytes of fixed blocks "
        "do not fit an image that needs {} and {}",
        name, area.durable_bitmap.length, area.live_bitmap.length, area.fixed_blocks.length, bitmap,
        fixed);
  }
  return {};
}

format::Header encode_header(const StateArea& area) {
  format::Header raw = {};
  raw.magic = format::kHeaderMagic;
  raw.version = area.version;
  raw.flags = area.flags;
  raw.state_offset = area.offset;
  raw.session_number = area.session_number;
  raw.merged_block_count = static_cast<uint32_t>(area.merged_block_count);
  raw.block_size_bytes = area.block_size_bytes;
  raw.lower = area.lower.identity;
  raw.lower_free_blocks_count = area.lower.free_blocks_count;
  raw.lower_free_inodes_count = area.lower.free_inodes_count;
  raw.lower_used_dirs_count = area.lower.used_dirs_count;
  raw.parent = area.parent;
  raw.seal = area.seal;
  if (area.is_frozen() || area.is_freezing()) {
    raw.seal = {area.freeze_id, {}, {}};
  }
  raw.durable_bitmap = encode(area.durable_bitmap);
  raw.live_bitmap = encode(area.live_bitmap);
  raw.fixed_blocks = encode(area.fixed_blocks);
  raw.layer_tables = encode(area.layer_tables);
  raw.translated_blocks = encode(area.translated_blocks);
  raw.lower_records = encode(area.lower_records);
  raw.journal = encode(area.journal);
  raw.feature_compat = area.features.compat;
  raw.feature_incompat = area.features.incompat;
  raw.feature_ro_compat = area.features.ro_compat;
  raw.reserved = area.features.bytes;
  return raw;
}

Result<void> write_header(ByteSink& upper, format::Header raw, uint64_t generation) {
  raw.generation = generation;
  raw.checksum = checksum_of(raw);
  const uint64_t slot = generation % format::kHeaderSlots;
  return upper.write(raw.state_offset + slot * format::kPageBytes,
                     std::as_bytes(std::span(&raw, 1)));
}

Result<void> write_state_header(WritableFile& upper, StateArea& area) {
  ++area.generation;
  return write_header(upper, encode_header(area), area.generation);
}

}  // namespace unionfs
