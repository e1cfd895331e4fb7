// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/state_area.h"

#include <xxhash.h>

#include <cstring>

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

}  // namespace

Result<std::optional<uint64_t>> state_offset_of(const std::string& name,
                                                const ext2::Superblock& superblock) {
  format::Mark mark;
  std::memcpy(&mark, superblock.s_jnl_blocks.data(), sizeof(mark));
  if (mark.magic != format::kMarkMagic) {
    return std::optional<uint64_t>();
  }
  if (mark.version != format::kVersion) {
    return unsupported("{}: superblock: the mark's version {} is not known (this is version {})",
                       name, mark.version, format::kVersion);
  }
  return std::optional<uint64_t>(mark.state_offset.value());
}

Result<uint64_t> required_state_offset_of(const std::string& name,
                                          const ext2::Superblock& superblock) {
  UNIONFS_ASSIGN(const auto state_offset, state_offset_of(name, superblock));
  if (!state_offset) {
    return unsupported(
        "{}: is an ext2 image without a state area, so not an upper made by this "
        "program; to import it, serve it once to a client that may write, or run: "
        "unionfs-img checkpoint -b LOWER {}",
        name, name);
  }
  return *state_offset;
}

void set_mark(ext2::Superblock& superblock, uint64_t state_offset) {
  format::Mark mark = {};
  mark.magic = format::kMarkMagic;
  mark.state_offset = state_offset;
  mark.version = format::kVersion;
  std::memcpy(static_cast<void*>(superblock.s_jnl_blocks.data()), &mark, sizeof(mark));
}

uint64_t bitmap_size_bytes(const Geometry& geometry) {
  return round_up(divide_round_up(geometry.merged().block_count, 8), format::kPageBytes);
}

StateArea plan_state_area(const Geometry& geometry, uint64_t layer_tables_bytes,
                          uint64_t translated_count, uint64_t least_offset) {
  StateArea area;
  area.offset =
      round_up(std::max(geometry.size_bytes(), least_offset), format::kStateAlignmentBytes);
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
  area.layer_tables = place(layer_tables_bytes);
  area.translated_blocks = place(translated_count * block_size);
  return area;
}

Result<StateHeader> read_state_header(const ReadableFile& upper, uint64_t state_offset) {
  if (state_offset % format::kPageBytes != 0 || state_offset > upper.size_bytes() ||
      upper.size_bytes() - state_offset < format::kSectionsOffset) {
    return corrupt("{}: is cut short: its state area belongs at offset {}, but it is {} bytes long",
                   upper.name(), state_offset, upper.size_bytes());
  }
  UNIONFS_ASSIGN(const format::Header raw, newest_header(upper, state_offset));
  if (raw.version != format::kVersion) {
    return unsupported("{}: state area: version {} is not known (this is version {})", upper.name(),
                       raw.version, format::kVersion);
  }
  if (raw.state_offset != state_offset) {
    return corrupt("{}: state area at {} says that it lies at {}", upper.name(), state_offset,
                   raw.state_offset);
  }
  StateHeader header;
  header.merged_block_count = raw.merged_block_count;
  header.block_size_bytes = raw.block_size_bytes;
  StateArea& area = header.area;
  area.offset = state_offset;
  area.generation = raw.generation;
  area.session_number = raw.session_number;
  area.flags = raw.flags;
  area.lower = raw.lower;
  area.durable_bitmap = decode(raw.durable_bitmap);
  area.live_bitmap = decode(raw.live_bitmap);
  area.fixed_blocks = decode(raw.fixed_blocks);
  area.layer_tables = decode(raw.layer_tables);
  area.translated_blocks = decode(raw.translated_blocks);
  area.journal = decode(raw.journal);
  uint64_t least = state_offset + format::kSectionsOffset;
  for (const NamedSection& section : {NamedSection{"durable bitmap", area.durable_bitmap},
                                      NamedSection{"live bitmap", area.live_bitmap},
                                      NamedSection{"fixed blocks", area.fixed_blocks},
                                      NamedSection{"layer tables", area.layer_tables},
                                      NamedSection{"translated blocks", area.translated_blocks}}) {
    UNIONFS_TRY(check_section(upper, section, least));
  }
  if (area.journal.length != 0) {
    UNIONFS_TRY(check_section(upper, {"journal", area.journal}, least));
  }
  return header;
}

Result<void> check_merged_size(const std::string& name, const StateHeader& header,
                               const Layout& upper) {
  if (header.block_size_bytes != upper.block_size_bytes ||
      header.merged_block_count != upper.block_count) {
    return corrupt(
        "{}: state area: is for {} blocks of {} bytes, but the superblock says {} of "
        "{} bytes",
        name, header.merged_block_count, header.block_size_bytes, upper.block_count,
        upper.block_size_bytes);
  }
  if (header.area.offset < upper.size_bytes()) {
    return corrupt("{}: state area: lies at {}, inside the image of {} bytes", name,
                   header.area.offset, upper.size_bytes());
  }
  return {};
}

Result<void> check_sections(const std::string& name, const StateHeader& header,
                            const Geometry& geometry) {
  const Layout& merged = geometry.merged();
  const uint64_t bitmap = bitmap_size_bytes(geometry);
  const uint64_t fixed = geometry.fixed_block_count() * merged.block_size_bytes;
  const StateArea& area = header.area;
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

format::Header encode_header(const StateArea& area, const Geometry& geometry) {
  format::Header raw = {};
  raw.magic = format::kHeaderMagic;
  raw.version = format::kVersion;
  raw.flags = area.flags;
  raw.state_offset = area.offset;
  raw.session_number = area.session_number;
  raw.merged_block_count = static_cast<uint32_t>(geometry.merged().block_count);
  raw.block_size_bytes = geometry.merged().block_size_bytes;
  raw.lower = area.lower;
  raw.durable_bitmap = encode(area.durable_bitmap);
  raw.live_bitmap = encode(area.live_bitmap);
  raw.fixed_blocks = encode(area.fixed_blocks);
  raw.layer_tables = encode(area.layer_tables);
  raw.translated_blocks = encode(area.translated_blocks);
  raw.journal = encode(area.journal);
  return raw;
}

Result<void> write_header(ByteSink& upper, format::Header raw, uint64_t generation) {
  raw.generation = generation;
  raw.checksum = checksum_of(raw);
  const uint64_t slot = generation % format::kHeaderSlots;
  return upper.write(raw.state_offset + slot * format::kPageBytes,
                     std::as_bytes(std::span(&raw, 1)));
}

Result<void> write_state_header(WritableFile& upper, StateArea& area, const Geometry& geometry) {
  ++area.generation;
  return write_header(upper, encode_header(area, geometry), area.generation);
}

}  // namespace unionfs
