// SPDX-License-Identifier: BSD-3-Clause
//
// image-corrupt: damages an image by the names of its fields, or prints them.
//
//   image-corrupt FILE CHANGE...     e.g. superblock.s_log_block_size=max
//   image-corrupt FILE PLACE.FIELD   prints the number there
//   image-corrupt --list PLACE       "FIELD BYTES" of each field, one a line
//
// PLACE    superblock, group[N], inode[N], block[N], at[OFFSET_BYTES]; in an upper
//          also mark, header (the valid one of the higher generation), header[0],
//          header[1], tables, stamp, state[OFFSET_BYTES] (from the state area on)
// FIELD    a name, name[K] for one element; in block, at and state: u8, u16, u32,
//          u64, each with [K]; noise[LENGTH] fills with bytes from a seed
// VALUE    a number, max, max-1, sign (the top bit alone), sign-1, +N, -N, ^MASK;
//          "checksum" in the checksum of header and tables: what belongs there
//
// Places are looked up by the geometry the image had before the first change.
// Exit status: 0 changed or printed, 3 nothing is different now, 1 an error.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "image_fields.h"

namespace imagetest {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint64_t kSuperblockOffsetBytes = 1024;
constexpr std::uint64_t kMarkOffsetBytes = kSuperblockOffsetBytes + 0x10c;
constexpr std::uint64_t kHeaderBytes = 512;
constexpr std::uint64_t kStatePageBytes = 4096;
constexpr std::uint64_t kChecksumInHeaderBytes = 0x18;
constexpr std::uint64_t kChecksumInTablesBytes = 0x08;
constexpr std::uint64_t kTablesHeadBytes = 64;
constexpr int kNothingChanged = 3;

[[noreturn]] void complain(std::string const& text) {
  throw std::runtime_error(text);
}

std::uint64_t little_endian(Bytes const& bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes.size() && i < 8; ++i) value |= std::uint64_t{bytes[i]} << 8 * i;
  return value;
}

class ImageFile {
 public:
  explicit ImageFile(std::string const& name)
      : name_{name}, stream_{name, std::ios::in | std::ios::out | std::ios::binary} {
    if (!stream_) complain(fmt::format("{}: cannot be opened", name));
    stream_.seekg(0, std::ios::end);
    size_bytes_ = static_cast<std::uint64_t>(stream_.tellg());
  }

  // What lies behind the end of the file is not there to be damaged.
  Bytes read(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
    if (offset_bytes > size_bytes_ || length_bytes > size_bytes_ - offset_bytes)
      complain(fmt::format("{}: has no {} bytes at {}", name_, length_bytes, offset_bytes));
    Bytes bytes(length_bytes);
    stream_.seekg(static_cast<std::streamoff>(offset_bytes));
    stream_.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(length_bytes));
    if (!stream_) complain(fmt::format("{}: cannot be read at {}", name_, offset_bytes));
    return bytes;
  }

  void write(std::uint64_t offset_bytes, Bytes const& bytes) {
    stream_.seekp(static_cast<std::streamoff>(offset_bytes));
    stream_.write(reinterpret_cast<char const*>(bytes.data()),
                  static_cast<std::streamsize>(bytes.size()));
    stream_.flush();
    if (!stream_) complain(fmt::format("{}: cannot be written at {}", name_, offset_bytes));
  }

  std::uint64_t number(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
    return little_endian(read(offset_bytes, length_bytes));
  }

 private:
  std::string name_;
  std::fstream stream_;
  std::uint64_t size_bytes_ = 0;
};

// Where ext2 keeps its groups and inodes.
class Geometry {
 public:
  explicit Geometry(ImageFile& image) {
    auto const word = [&image](std::uint64_t offset) {
      return image.number(kSuperblockOffsetBytes + offset, 4);
    };
    if (image.number(kSuperblockOffsetBytes + 0x38, 2) != EXT2_SUPER_MAGIC || word(0x18) > 6 ||
        word(0x20) == 0 || word(0x28) == 0)
      complain("there is no ext2 image whose groups could be found");
    block_size_bytes = std::uint64_t{1024} << word(0x18);
    first_data_block = word(0x14);
    blocks_per_group = word(0x20);
    inodes_per_group = word(0x28);
    bool const dynamic = word(0x4c) != EXT2_GOOD_OLD_REV;
    inode_size_bytes = dynamic ? image.number(kSuperblockOffsetBytes + 0x58, 2) : 128;
    compat_ = dynamic ? word(0x5c) : 0;
    meta_groups_ = dynamic && (word(0x60) & EXT2_FEATURE_INCOMPAT_META_BG) != 0;
    sparse_ = dynamic && (word(0x64) & EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER) != 0;
    first_meta_group_ = word(0x104);
    backup_groups_[0] = word(0x24c);
    backup_groups_[1] = word(0x250);
  }

  [[nodiscard]] std::uint64_t descriptor_offset_bytes(std::uint64_t group) const {
    std::uint64_t const per_block = block_size_bytes / sizeof(ext2_group_desc);
    std::uint64_t const index = group / per_block;
    std::uint64_t block = first_data_block + 1 + index;
    if (meta_groups_ && index >= first_meta_group_) {
      std::uint64_t const first_group = index * per_block;
      block =
          first_data_block + first_group * blocks_per_group + (has_superblock(first_group) ? 1 : 0);
    }
    return block * block_size_bytes + group % per_block * sizeof(ext2_group_desc);
  }

  std::uint64_t block_size_bytes;
  std::uint64_t first_data_block;
  std::uint64_t blocks_per_group;
  std::uint64_t inodes_per_group;
  std::uint64_t inode_size_bytes;

 private:
  [[nodiscard]] bool has_superblock(std::uint64_t group) const {
    if (group == 0) return true;
    if ((compat_ & EXT4_FEATURE_COMPAT_SPARSE_SUPER2) != 0)
      return group == backup_groups_[0] || group == backup_groups_[1];
    if (!sparse_ || group == 1) return true;
    for (std::uint64_t const base : {3, 5, 7}) {
      std::uint64_t power = base;
      while (power < group) power *= base;
      if (power == group) return true;
    }
    return false;
  }

  std::uint64_t compat_;
  bool meta_groups_;
  bool sparse_;
  std::uint64_t first_meta_group_;
  std::uint64_t backup_groups_[2];
};

struct FieldList {
  Field const* begin;
  Field const* end;
};

template <std::size_t Count>
constexpr FieldList all_of(Field const (&fields)[Count]) {
  return {fields, fields + Count};
}

FieldList fields_of(std::string_view kind) {
  if (kind == "superblock") return all_of(kSuperblockFields);
  if (kind == "group") return all_of(kGroupFields);
  if (kind == "inode") return all_of(kInodeFields);
  if (kind == "block" || kind == "at" || kind == "state") return all_of(kRawFields);
  if (kind == "mark") return all_of(kMarkFields);
  if (kind == "header") return all_of(kHeaderFields);
  if (kind == "tables") return all_of(kTablesFields);
  if (kind == "stamp") return all_of(kStampFields);
  complain(fmt::format("no such place: {}", kind));
}

std::uint64_t parse_number(std::string_view text) {
  std::size_t used = 0;
  std::uint64_t value = 0;
  try {
    value = std::stoull(std::string(text), &used, 0);
  } catch (std::exception const&) {
    used = 0;
  }
  if (used == 0 || used != text.size()) complain(fmt::format("not a number: '{}'", text));
  return value;
}

// "name[7]" and "name".
struct Indexed {
  std::string_view name;
  std::optional<std::uint64_t> index;
};

Indexed parse_indexed(std::string_view text) {
  std::size_t const open = text.find('[');
  if (open == std::string_view::npos) return {text, std::nullopt};
  if (text.back() != ']') complain(fmt::format("'{}' has no closing bracket", text));
  return {text.substr(0, open), parse_number(text.substr(open + 1, text.size() - open - 2))};
}

class Corrupter {
 public:
  explicit Corrupter(std::string const& name) : image_{name} {}

  // True if the image has other bytes now.
  bool apply(std::string_view request) {
    std::size_t const dot = request.find('.');
    if (dot == std::string_view::npos) complain(fmt::format("'{}' names no field", request));
    Indexed const place = parse_indexed(request.substr(0, dot));
    std::string_view const rest = request.substr(dot + 1);
    std::size_t const equals = rest.find('=');
    Indexed const name = parse_indexed(rest.substr(0, equals));
    std::uint64_t const base = place_offset_bytes(place);
    if (name.name == "noise" && name.index && equals != std::string_view::npos)
      return fill(base, *name.index, parse_number(rest.substr(equals + 1)));
    Field const field = find_field(place.name, name);
    std::uint64_t const offset = base + field.offset_bytes;
    Bytes const before = image_.read(offset, field.size_bytes());
    if (equals == std::string_view::npos) {
      fmt::print("{}\n", little_endian(before));
      return true;
    }
    std::string_view const value = rest.substr(equals + 1);
    Bytes const after =
        value == "checksum" ? right_checksum(place.name, base) : changed(before, value);
    if (after.size() != before.size()) complain("a checksum belongs in no such field");
    image_.write(offset, after);
    return after != before;
  }

 private:
  Geometry const& geometry() {
    if (!geometry_) geometry_.emplace(image_);
    return *geometry_;
  }

  std::uint64_t state_offset_bytes() {
    if (!state_offset_) {
      Bytes const magic = image_.read(kMarkOffsetBytes, 8);
      if (std::memcmp(magic.data(), "unionfsM", 8) != 0) complain("there is no mark of an upper");
      state_offset_ = image_.number(kMarkOffsetBytes + 8, 8);
    }
    return *state_offset_;
  }

  std::uint64_t header_offset_bytes(std::optional<std::uint64_t> slot) {
    if (slot) return state_offset_bytes() + *slot * kStatePageBytes;
    if (!header_offset_) {
      std::uint64_t best_generation = 0;
      for (std::uint64_t number = 0; number < 2; ++number) {
        std::uint64_t const offset = state_offset_bytes() + number * kStatePageBytes;
        Bytes const magic = image_.read(offset, 8);
        if (std::memcmp(magic.data(), "unionfsS", 8) != 0) continue;
        std::uint64_t const generation = image_.number(offset + 0x10, 8);
        if (header_offset_ && generation <= best_generation) continue;
        header_offset_ = offset;
        best_generation = generation;
      }
      if (!header_offset_) complain("there is no header in the state area");
    }
    return *header_offset_;
  }

  std::uint64_t place_offset_bytes(Indexed const& place) {
    auto const index = [&place] {
      if (!place.index) complain(fmt::format("{} needs a number", place.name));
      return *place.index;
    };
    if (place.name == "superblock") return kSuperblockOffsetBytes;
    if (place.name == "group") return geometry().descriptor_offset_bytes(index());
    if (place.name == "inode") return inode_offset_bytes(index());
    if (place.name == "block") return index() * geometry().block_size_bytes;
    if (place.name == "at") return index();
    if (place.name == "mark") return kMarkOffsetBytes;
    if (place.name == "header") return header_offset_bytes(place.index);
    if (place.name == "stamp") return state_offset_bytes() + 2 * kStatePageBytes;
    if (place.name == "state") return state_offset_bytes() + index();
    if (place.name == "tables") {
      if (!tables_offset_) tables_offset_ = image_.number(header_offset_bytes({}) + 0xa0, 8);
      return *tables_offset_;
    }
    complain(fmt::format("no such place: {}", place.name));
  }

  std::uint64_t inode_offset_bytes(std::uint64_t inode) {
    Geometry const& geometry = this->geometry();
    if (inode == 0) complain("inodes count from 1");
    std::uint64_t const group = (inode - 1) / geometry.inodes_per_group;
    std::uint64_t const table = image_.number(geometry.descriptor_offset_bytes(group) + 8, 4);
    return table * geometry.block_size_bytes +
           (inode - 1) % geometry.inodes_per_group * geometry.inode_size_bytes;
  }

  static Field find_field(std::string_view kind, Indexed const& name) {
    FieldList const list = fields_of(kind);
    bool const raw = list.begin == kRawFields;
    for (Field const* field = list.begin; field != list.end; ++field) {
      if (field->name != name.name) continue;
      if (!name.index && !raw) return *field;
      std::uint64_t const index = name.index.value_or(0);
      if (index >= field->element_count) complain(fmt::format("{} has no [{}]", name.name, index));
      return {field->name, field->offset_bytes + index * field->element_bytes, field->element_bytes,
              1};
    }
    complain(fmt::format("no field {} in {}", name.name, kind));
  }

  // Adds with carry; a decrement is the addition of its complement.
  static Bytes added(Bytes bytes, std::uint64_t amount, bool negative) {
    if (negative) amount = ~amount + 1;
    unsigned carry = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      std::uint64_t const extension = negative ? 0xff : 0;
      unsigned const sum =
          bytes[i] + carry + static_cast<unsigned>(i < 8 ? amount >> 8 * i & 0xff : extension);
      bytes[i] = static_cast<std::uint8_t>(sum);
      carry = sum >> 8;
    }
    return bytes;
  }

  static Bytes changed(Bytes const& before, std::string_view value) {
    Bytes bytes(before.size(), 0);
    if (value == "max" || value == "max-1") {
      bytes.assign(before.size(), 0xff);
      if (value == "max-1") bytes[0] = 0xfe;
    } else if (value == "sign") {
      bytes.back() = 0x80;
    } else if (value == "sign-1") {
      bytes.assign(before.size(), 0xff);
      bytes.back() = 0x7f;
    } else if (value.substr(0, 1) == "+" || value.substr(0, 1) == "-") {
      bytes = added(before, parse_number(value.substr(1)), value[0] == '-');
    } else if (value.substr(0, 1) == "^") {
      std::uint64_t const mask = parse_number(value.substr(1));
      bytes = before;
      for (std::size_t i = 0; i < bytes.size() && i < 8; ++i)
        bytes[i] = static_cast<std::uint8_t>(bytes[i] ^ (mask >> 8 * i & 0xff));
    } else {
      bytes = added(bytes, parse_number(value), false);
    }
    return bytes;
  }

  // XXH3-64 of the structure with its own checksum zero.
  Bytes right_checksum(std::string_view kind, std::uint64_t base) {
    std::uint64_t length = kHeaderBytes;
    std::uint64_t checksum_at = kChecksumInHeaderBytes;
    if (kind == "tables") {
      constexpr std::uint64_t kElementBytes[] = {16, 12, 8, 16, 8, 8};
      length = kTablesHeadBytes;
      for (std::uint64_t i = 0; i < 6; ++i)
        length += image_.number(base + 0x28 + 4 * i, 4) * kElementBytes[i];
      checksum_at = kChecksumInTablesBytes;
    } else if (kind != "header") {
      complain(fmt::format("{} has no checksum", kind));
    }
    Bytes bytes = image_.read(base, length);
    std::memset(bytes.data() + checksum_at, 0, 8);
    std::uint64_t const checksum = XXH3_64bits(bytes.data(), bytes.size());
    return added(Bytes(8, 0), checksum, false);
  }

  bool fill(std::uint64_t offset, std::uint64_t length, std::uint64_t seed) {
    Bytes const before = image_.read(offset, length);
    Bytes after(length);
    for (std::uint64_t i = 0; i < length; i += 8) {
      std::uint64_t const word = XXH3_64bits_withSeed(&i, sizeof(i), seed);
      for (std::uint64_t k = 0; k < 8 && i + k < length; ++k)
        after[i + k] = static_cast<std::uint8_t>(word >> 8 * k);
    }
    image_.write(offset, after);
    return after != before;
  }

  ImageFile image_;
  std::optional<Geometry> geometry_;
  std::optional<std::uint64_t> state_offset_;
  std::optional<std::uint64_t> header_offset_;
  std::optional<std::uint64_t> tables_offset_;
};

int run(std::vector<std::string> const& arguments) {
  if (arguments.size() == 2 && arguments[0] == "--list") {
    FieldList const list = fields_of(arguments[1]);
    for (Field const* field = list.begin; field != list.end; ++field)
      fmt::print("{} {}\n", field->name, field->size_bytes());
    return 0;
  }
  if (arguments.size() < 2) complain("usage: image-corrupt FILE CHANGE... | --list PLACE");
  Corrupter corrupter(arguments[0]);
  bool any = false;
  for (std::size_t i = 1; i < arguments.size(); ++i) any |= corrupter.apply(arguments[i]);
  return any ? 0 : kNothingChanged;
}

}  // namespace
}  // namespace imagetest

int main(int argument_count, char** arguments) {
  try {
    return imagetest::run({arguments + 1, arguments + argument_count});
  } catch (std::exception const& problem) {
    fmt::print(stderr, "image-corrupt: {}\n", problem.what());
    return 1;
  }
}
