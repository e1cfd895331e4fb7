// SPDX-License-Identifier: BSD-3-Clause
//
// Uppers with a bad state area: each field of header and layer tables at its
// extremes, with a right checksum; another lower; a file cut short.
#include <xxhash.h>

#include <algorithm>
#include <functional>

#include "tests/unit/session/session_bench.h"
#include "tests/unit/support/old_version.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

namespace format = upper_format;

constexpr uint32_t kBlock = 1024;

uint64_t state_offset(const MemoryFile& upper) {
  return mark_in(upper).state_offset;
}

std::vector<std::byte> tables_of(const MemoryFile& upper) {
  const format::Section section = header_in(upper).layer_tables;
  std::vector<std::byte> bytes(section.length);
  expect_success(upper.peek(section.offset, bytes));
  return bytes;
}

void put_tables(MemoryFile& upper, std::vector<std::byte> bytes) {
  constexpr size_t kChecksum = offsetof(format::LayerTablesHead, checksum);
  std::memset(&bytes[kChecksum], 0, sizeof(Le64));
  const Le64 checksum = XXH3_64bits(bytes.data(), bytes.size());
  std::memcpy(&bytes[kChecksum], &checksum, sizeof(checksum));
  upper.poke(header_in(upper).layer_tables.offset, bytes);
}

// An upper whose tables have something in each of their arrays: the small
// lower with a resize inode, grown, so that there are whiteouts.
struct Subject {
  static const Subject& get() {
    static const Subject subject;
    return subject;
  }

  Subject() : lower(make_image()), upper(make_upper(lower, 8 * kMebibyte)) {
    const Geometry geometry = value_of(Geometry::grow(lower.volume, 8 * kMebibyte));
    const auto disk = load_disk(lower, *upper);
    LayerTables tables = disk->layer().layer().tables();
    tables.kept_inodes.push_back({InodeNumber(20), 2, 1});
    tables.counters.push_back({GroupNumber(1), 100, 20, 0});
    const std::vector<std::byte> bytes = encode_layer_tables(tables);
    format::Header header = header_in(*upper);
    header.layer_tables.length = bytes.size();
    replace_header(*upper, header);
    put_tables(*upper, bytes);
    REQUIRE_FALSE(tables.kept_xattrs.empty());
    REQUIRE_FALSE(tables.block_whiteouts.empty());
    REQUIRE_FALSE(tables.inode_whiteouts.empty());
  }

  static const RealImage& make_image() {
    static std::unique_ptr<RealImage> image;
    MakeOptions options;
    options.features = "filetype,sparse_super,resize_inode";
    options.more = {"-g", "512", "-N", "256"};
    image = std::make_unique<RealImage>(4 * 512 + 1, options);
    image->change({"ea_set / user.colour green"});
    return *image;
  }

  Lower lower;
  std::unique_ptr<MemoryFile> upper;
};

// Loads, opens and reads all of it: each may fail, but with an error that
// names an image.  What comes of it.
enum class Outcome { kRefused, kReadError, kRead };

Outcome try_upper(const Lower& lower, MemoryFile& upper) {
  auto disk = Disk::load(*lower.image, upper, kBootId, quiet_log());
  if (!disk) {
    CHECK_THAT(disk.error().message, Catch::Contains("upper.img"));
    return Outcome::kRefused;
  }
  const Result<void> opened = (*disk)->attach(Access::kReadOnly);
  if (!opened) {
    CHECK_THAT(opened.error().message, Catch::Contains("upper.img"));
    return Outcome::kRefused;
  }
  std::vector<std::byte> block(kBlock);
  Outcome outcome = Outcome::kRead;
  for (uint64_t offset = 0; offset < (*disk)->geometry().size_bytes(); offset += kBlock) {
    if (const Result<void> read = (*disk)->read(offset, block); !read) {
      CHECK_THAT(read.error().message,
                 Catch::Contains("upper.img") || Catch::Contains("lower.img"));
      outcome = Outcome::kReadError;
    }
  }
  return outcome;
}

constexpr uint64_t kExtremes[] = {
    0,
    1,
    2,
    4095,
    4096,
    65536,
    0x7fffffff,
    0x80000000,
    0xfffffffe,
    0xffffffff,
    uint64_t{1} << 32,
    uint64_t{1} << 63,
    UINT64_MAX - 4095,
    UINT64_MAX,
};

// Sets every aligned piece of 4 and of 8 bytes of `bytes` to each extreme.
void for_each_extreme(std::vector<std::byte> bytes,
                      const std::function<void(const std::vector<std::byte>&, size_t)>& visit) {
  const std::vector<std::byte> good = bytes;
  for (size_t at = 0; at + 4 <= good.size(); at += 4) {
    for (const uint64_t extreme : kExtremes) {
      for (const size_t width : {size_t{4}, size_t{8}}) {
        if (at % width == 0 && at + width <= good.size() && (width == 8 || extreme <= UINT32_MAX)) {
          const Le64 value = extreme;
          std::memcpy(&bytes[at], &value, width);
          if (bytes != good) {
            visit(bytes, at);
          }
          bytes = good;
        }
      }
    }
  }
}

using HeaderChange = std::function<void(format::Header&)>;

struct BadHeader {
  const char* name;
  HeaderChange change;
  std::vector<std::string> parts;  // of the message
};

using TablesChange = std::function<void(LayerTables&)>;

struct BadTables {
  const char* name;
  TablesChange change;
};

}  // namespace

TEST_CASE("State area: the untouched subject is good", "[state_area]") {
  const Subject& subject = Subject::get();
  const auto upper = subject.upper->clone();
  CHECK(try_upper(subject.lower, *upper) == Outcome::kRead);
}

TEST_CASE("State area: bad header fields are named", "[state_area]") {
  const Subject& subject = Subject::get();
  const uint64_t size = subject.upper->size_bytes();
  const BadHeader cases[] = {
      {"version", [](format::Header& h) { h.version = 0U; }, {"version 0"}},
      {"version", [](format::Header& h) { h.version = 3U; }, {"version 3"}},
      {"older version",
       [](format::Header& h) {
         h.version = 1U;
         h.feature_incompat = 0U;
         h.lower_records = {};
         h.lower_free_blocks_count = 0U;
         h.lower_free_inodes_count = 0U;
         h.lower_used_dirs_count = 0U;
       },
       {"version 1", "version 2"}},
      {"state_offset",
       [](format::Header& h) { h.state_offset = h.state_offset + 4096; },
       {"lies at"}},
      {"block count", [](format::Header& h) { h.merged_block_count = 0U; }, {"0 blocks"}},
      {"block count", [](format::Header& h) { h.merged_block_count = UINT32_MAX; }, {"4294967295"}},
      {"block size", [](format::Header& h) { h.block_size_bytes = 0U; }, {"of 0 bytes"}},
      {"block size", [](format::Header& h) { h.block_size_bytes = 4096U; }, {"of 4096 bytes"}},
      {"durable bitmap",
       [](format::Header& h) { h.durable_bitmap.offset = uint64_t{0}; },
       {"durable bitmap"}},
      {"durable bitmap",
       [](format::Header& h) { h.durable_bitmap.length = uint64_t{0}; },
       {"bitmap"}},
      {"live bitmap", [size](format::Header& h) { h.live_bitmap.offset = size; }, {"live bitmap"}},
      {"live bitmap",
       [](format::Header& h) { h.live_bitmap.offset = h.live_bitmap.offset + 1; },
       {"live bitmap"}},
      {"live bitmap",
       [](format::Header& h) { h.live_bitmap.length = uint64_t{8192}; },
       {"fixed blocks"}},
      {"fixed blocks",
       [](format::Header& h) { h.fixed_blocks.length = UINT64_MAX; },
       {"fixed blocks"}},
      {"layer tables",
       [](format::Header& h) { h.layer_tables.length = uint64_t{0}; },
       {"layer tables"}},
      {"layer tables",
       [](format::Header& h) { h.layer_tables.length = uint64_t{63}; },
       {"layer tables"}},
      {"layer tables",
       [](format::Header& h) { h.layer_tables.offset = h.layer_tables.offset - 4096; },
       {"layer tables"}},
      {"translated",
       [](format::Header& h) { h.translated_blocks.length = uint64_t{0}; },
       {"translated"}},
      {"translated",
       [](format::Header& h) { h.translated_blocks.offset = UINT64_MAX - 4095; },
       {"translated"}},
      {"overlap", [](format::Header& h) { h.live_bitmap = h.durable_bitmap; }, {"bitmap"}},
      {"overlap",
       [](format::Header& h) { h.fixed_blocks.offset = h.live_bitmap.offset; },
       {"fixed blocks"}},
      {"lower",
       [](format::Header& h) { h.lower.s_blocks_count = 7U; },
       {"is not the lower", "blocks, not 7"}},
  };
  for (const BadHeader& bad : cases) {
    INFO(bad.name);
    const auto upper = subject.upper->clone();
    format::Header header = header_in(*upper);
    bad.change(header);
    replace_header(*upper, header);
    const auto disk = Disk::load(*subject.lower.image, *upper, kBootId, quiet_log());
    CHECK_FALSE(disk);
    if (!disk) {
      CHECK_THAT(disk.error().message, Catch::Contains("upper.img"));
      for (const std::string& part : bad.parts) {
        CHECK_THAT(disk.error().message, Catch::Contains(part));
      }
    }
  }
}

TEST_CASE("State area: every part of the header at its extremes", "[state_area]") {
  const Subject& subject = Subject::get();
  const auto good = subject.upper->clone();
  const format::Header header = header_in(*good);
  std::vector<std::byte> bytes(offsetof(format::Header, reserved));
  std::memcpy(bytes.data(), &header, bytes.size());
  uint64_t refused = 0;
  for_each_extreme(bytes, [&](const std::vector<std::byte>& changed, size_t at) {
    INFO("header, offset " << at);
    format::Header bad = header;
    std::memcpy(static_cast<void*>(&bad), changed.data(), changed.size());
    replace_header(*good, bad);
    refused += try_upper(subject.lower, *good) == Outcome::kRefused ? 1 : 0;
    good->put(header_place(*subject.upper), header);
  });
  CHECK(refused > 500);
}

TEST_CASE("State area: every part of the layer tables at its extremes", "[state_area]") {
  const Subject& subject = Subject::get();
  const auto upper = subject.upper->clone();
  uint64_t refused = 0;
  for_each_extreme(tables_of(*upper), [&](const std::vector<std::byte>& changed, size_t at) {
    INFO("layer tables, offset " << at);
    put_tables(*upper, changed);
    refused += try_upper(subject.lower, *upper) == Outcome::kRefused ? 1 : 0;
  });
  CHECK(refused > 500);
}

TEST_CASE("State area: bad layer tables are refused", "[state_area]") {
  const Subject& subject = Subject::get();
  const LayerTables good = load_disk(subject.lower, *subject.upper)->layer().layer().tables();
  const uint64_t blocks = 8192;
  const uint32_t inodes = 1U << 20;
  const BadTables cases[] = {
      {"revision", [](LayerTables& t) { t.features.rev_level = 2; }},
      {"journal", [](LayerTables& t) { t.features.compat |= ext2::kCompatHasJournal; }},
      {"orphan file", [](LayerTables& t) { t.features.compat |= ext2::kCompatOrphanFile; }},
      {"meta groups", [](LayerTables& t) { t.features.incompat ^= ext2::kIncompatMetaBg; }},
      {"copies", [](LayerTables& t) { t.features.ro_compat ^= ext2::kRoCompatSparseSuper; }},
      {"two copies", [](LayerTables& t) { t.features.compat |= ext2::kCompatSparseSuper2; }},
      {"features in revision 0", [](LayerTables& t) { t.features.rev_level = 0; }},
      {"incompat", [](LayerTables& t) { t.features.incompat |= 0x40; }},
      {"ro_compat", [](LayerTables& t) { t.features.ro_compat |= 0x400; }},
      {"reserved inodes", [](LayerTables& t) { t.reserved_inodes_own |= 1U << 10; }},
      {"block 0", [](LayerTables& t) { t.translated[0].block = BlockNumber(0); }},
      {"block beyond", [=](LayerTables& t) { t.translated.back().block = BlockNumber(blocks); }},
      {"block twice", [](LayerTables& t) { t.translated.push_back(t.translated.back()); }},
      {"not own",
       [](LayerTables& t) { t.translated.back().block = t.translated.back().block + 1; }},
      {"owner 0", [](LayerTables& t) { t.translated[0].inode = InodeNumber(0); }},
      {"owner beyond", [=](LayerTables& t) { t.translated[0].inode = InodeNumber(inodes); }},
      {"kind 0", [](LayerTables& t) { t.translated[0].kind = TranslatedKind{0}; }},
      {"kind 9", [](LayerTables& t) { t.translated[0].kind = TranslatedKind{9}; }},
      {"level 4", [](LayerTables& t) { t.translated[0].level = 4; }},
      {"kept inode 0", [](LayerTables& t) { t.kept_inodes[0].inode = InodeNumber(0); }},
      {"kept inode beyond", [=](LayerTables& t) { t.kept_inodes[1].inode = InodeNumber(inodes); }},
      {"kept inodes descend",
       [](LayerTables& t) { std::swap(t.kept_inodes[0], t.kept_inodes[1]); }},
      {"kept links", [](LayerTables& t) { t.kept_inodes[0].links_count = 65536; }},
      {"kept xattr 0", [](LayerTables& t) { t.kept_xattrs[0].block = BlockNumber(0); }},
      {"kept xattr beyond", [=](LayerTables& t) { t.kept_xattrs[0].block = BlockNumber(blocks); }},
      {"group beyond", [](LayerTables& t) { t.counters[0].group = GroupNumber(1000); }},
      {"free blocks", [](LayerTables& t) { t.counters[0].free_blocks_count = 100000; }},
      {"free inodes", [](LayerTables& t) { t.counters[0].free_inodes_count = 100000; }},
      {"directories", [](LayerTables& t) { t.counters[0].used_dirs_count = 100000; }},
      {"whiteout beyond",
       [=](LayerTables& t) {
         t.block_whiteouts.push_back({BlockNumber(blocks), BlockNumber(blocks + 1)});
       }},
      {"whiteout to beyond",
       [=](LayerTables& t) { t.block_whiteouts.back().end = BlockNumber(blocks + 1); }},
      {"whiteouts overlap",
       [](LayerTables& t) { t.block_whiteouts.push_back(t.block_whiteouts.back()); }},
      {"whiteout of none",
       [](LayerTables& t) { t.block_whiteouts[0].end = t.block_whiteouts[0].begin; }},
      {"inode whiteout 0", [](LayerTables& t) { t.inode_whiteouts[0].begin = InodeNumber(0); }},
      {"inode whiteout beyond",
       [=](LayerTables& t) {
         t.inode_whiteouts.push_back({InodeNumber(inodes), InodeNumber(inodes + 1)});
       }},
  };
  for (const BadTables& bad : cases) {
    INFO(bad.name);
    const auto upper = subject.upper->clone();
    LayerTables tables = good;
    bad.change(tables);
    const std::vector<std::byte> bytes = encode_layer_tables(tables);
    format::Header header = header_in(*upper);
    header.layer_tables.length = bytes.size();
    header.translated_blocks.length = tables.translated.size() * kBlock;
    expect_success(upper->resize(std::max<uint64_t>(
        upper->size_bytes(), header.translated_blocks.offset + header.translated_blocks.length)));
    replace_header(*upper, header);
    put_tables(*upper, bytes);
    CHECK(expect_error(Disk::load(*subject.lower.image, *upper, kBootId, quiet_log()),
                       {"upper.img: state area"}) == ErrorKind::kCorrupt);
  }
}

// An image that is zeros for ever behind a few bytes, as a sparse file is.
class SparseImage final : public Image {
 public:
  SparseImage(std::vector<std::byte> front, uint64_t size_bytes)
      : front_(std::move(front)), size_bytes_(size_bytes) {}
  const std::string& name() const override { return name_; }
  uint64_t size_bytes() const override { return size_bytes_; }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override {
    read_bytes += buffer.size();
    std::memset(buffer.data(), 0, buffer.size());
    if (offset < front_.size()) {
      std::memcpy(buffer.data(), &front_[offset],
                  std::min<uint64_t>(front_.size() - offset, buffer.size()));
    }
    return {};
  }

  mutable uint64_t read_bytes = 0;

 private:
  std::string name_ = "sparse.img";
  std::vector<std::byte> front_;
  uint64_t size_bytes_;
};

TEST_CASE("State area: tables that claim a sparse terabyte cost no memory", "[state_area]") {
  const Subject& subject = Subject::get();
  LayerTables tables;
  tables.features = load_disk(subject.lower, *subject.upper)->layer().layer().tables().features;
  std::vector<std::byte> head = encode_layer_tables(tables);
  const Le32 count = UINT32_MAX;
  std::memcpy(&head[offsetof(format::LayerTablesHead, translated_count)], &count, sizeof(count));
  const FileRange range{0, head.size() + uint64_t{UINT32_MAX} * sizeof(format::TranslatedBlock)};
  const SparseImage image(head, range.length);
  const Geometry geometry = value_of(Geometry::grow(subject.lower.volume, 8 * kMebibyte));
  CHECK(expect_error(read_layer_tables(image, range, geometry.merged()),
                     {"sparse.img", "translated block 0"}) == ErrorKind::kCorrupt);
  CHECK(image.read_bytes < kMebibyte);
}

TEST_CASE("State area: a damaged header falls back to the other, then is refused", "[state_area]") {
  const Subject& subject = Subject::get();
  const auto upper = subject.upper->clone();
  { const auto disk = open_disk(subject.lower, *upper); }  // writes the second header
  const uint64_t state = state_offset(*upper);
  upper->bytes(header_place(*upper) + 100, 1)[0] ^= std::byte{1};
  CHECK(try_upper(subject.lower, *upper) == Outcome::kRead);
  upper->bytes(state + 200, 1)[0] ^= std::byte{1};
  upper->bytes(state + 4096 + 200, 1)[0] ^= std::byte{1};
  CHECK(expect_error(Disk::load(*subject.lower.image, *upper, kBootId, quiet_log()),
                     {"upper.img", "neither header"}) == ErrorKind::kCorrupt);
}

TEST_CASE("State area: a mark that leads astray", "[state_area]") {
  const Subject& subject = Subject::get();
  const uint64_t right = state_offset(*subject.upper);
  for (const uint64_t wrong :
       {uint64_t{0}, uint64_t{1}, uint64_t{4096}, right - 4096, right + 4096, right + 1,
        subject.upper->size_bytes(), UINT64_MAX, UINT64_MAX - 4095}) {
    INFO(wrong);
    const auto upper = subject.upper->clone();
    auto superblock = upper->get<ext2::Superblock>(ext2::kSuperblockOffsetBytes);
    set_mark(superblock, wrong);
    upper->put(ext2::kSuperblockOffsetBytes, superblock);
    CHECK(try_upper(subject.lower, *upper) == Outcome::kRefused);
  }
  // A whole state area inside the image itself is none.
  const auto upper = subject.upper->clone();
  const uint64_t inside = right - 65536;
  format::Header header = header_in(*upper);
  header.state_offset = inside;
  header.checksum = uint64_t{0};
  header.checksum = XXH3_64bits(&header, sizeof(header));
  upper->put(inside, header);
  auto superblock = upper->get<ext2::Superblock>(ext2::kSuperblockOffsetBytes);
  set_mark(superblock, inside);
  upper->put(ext2::kSuperblockOffsetBytes, superblock);
  CHECK(try_upper(subject.lower, *upper) == Outcome::kRefused);
}

TEST_CASE("State area: another lower is refused by both identities", "[state_area]") {
  const auto upper = BenchImages::of(kBlock).upper();
  const ScratchDirectory tree;
  make_tree(tree.path(), 100);
  MakeOptions options;
  options.more = {"-g", "256", "-N", "192", "-U", "deadbeef-0000-1111-2222-333344445555"};
  options.content = tree.path();
  const Lower other(RealImage(5 * 256 + 130, options));
  CHECK(expect_error(Disk::load(*other.image, *upper, kBootId, quiet_log()),
                     {"upper.img", "lower.img", "00112233-4455-6677-8899-aabbccddeeff",
                      "deadbeef-0000-1111-2222-333344445555"}) == ErrorKind::kInvalid);
  // One more free block in a descriptor is another lower, too.
  Lower changed(small_image(kBlock));
  const uint64_t descriptor =
      changed.layout().offset_of(changed.layout().primary_descriptor_block(0));
  auto group = changed.file->get<ext2::GroupDescriptor>(descriptor);
  group.bg_free_blocks_count = static_cast<uint16_t>(group.bg_free_blocks_count + 1);
  changed.file->put(descriptor, group);
  const auto image = value_of(LowerImage::open(*changed.file));
  CHECK(expect_error(Disk::load(*image, *upper, kBootId, quiet_log()),
                     {"lower.img: is not the lower that upper.img was made over", "free blocks"}) ==
        ErrorKind::kInvalid);
}

TEST_CASE("State area: an upper cut short is refused wherever it ends", "[state_area]") {
  const Subject& subject = Subject::get();
  const uint64_t state = state_offset(*subject.upper);
  const uint64_t end = subject.upper->size_bytes();
  for (const uint64_t size :
       {uint64_t{0}, uint64_t{1}, uint64_t{1024}, uint64_t{2047}, uint64_t{2048}, uint64_t{100000},
        state - 1, state, state + 1, state + 512, state + 4096, state + 12287, state + 12288,
        state + 12289, state + 20000, end - 4096, end - 1}) {
    INFO(size << " of " << end);
    const auto upper = subject.upper->clone();
    expect_success(upper->resize(size));
    CHECK(try_upper(subject.lower, *upper) == Outcome::kRefused);
  }
}
