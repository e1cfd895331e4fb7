// SPDX-License-Identifier: BSD-3-Clause
//
// Which lower it is: what the layer depends on is noticed, with its path; what a mount
// changes, and what the layer does not depend on, is not.
#include "overlay/check/upper_check.h"
#include "overlay/upper/falling_blocks.h"
#include "overlay/upper/layer_create.h"
#include "tests/unit/checkpoint/checkpoint_bench.h"
#include "tests/unit/support/old_version.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint32_t kBlock = 1024;
constexpr uint64_t kMergedBytes = 24 * kMebibyte;
constexpr const char* kNotTheLower = "lower.img: is not the lower that upper.img was made over: ";

std::string lines(uint64_t seed, size_t length) {
  std::string text;
  for (uint64_t i = 0; text.size() < length; ++i) {
    text += fmt::format("{} of {}\n", i, seed);
  }
  text.resize(length);
  return text;
}

// /one and /two share a block of extended attributes.
const RealImage& lower_image() {
  static std::unique_ptr<RealImage> image;
  if (image) {
    return *image;
  }
  const ScratchDirectory tree;
  std::filesystem::create_directories(tree.path() / "dir");
  write_file(tree.path() / "program", lines(1, 40000));
  write_file(tree.path() / "large", lines(2, 3 * kMebibyte));
  write_file(tree.path() / "untouched", lines(3, 5000));
  write_file(tree.path() / "gone", lines(4, 5000));
  write_file(tree.path() / "dir" / "name", "name\n");
  write_file(tree.path() / "dir" / "other", "other\n");
  write_file(tree.path() / "one", "one\n");
  write_file(tree.path() / "two", "two\n");
  write_file(tree.path() / "three", "three\n");
  MakeOptions options;
  options.inode_size_bytes = 256;
  options.features = "filetype,sparse_super,resize_inode,ext_attr";
  options.more = {"-N", "256"};
  options.content = tree.path();
  image = std::make_unique<RealImage>(8192, options);
  const std::string value(300, 'v');
  image->change({"ea_set /one user.value " + value});
  const uint64_t block = number_after(image->debugfs("stat /one"), "File ACL:");
  image->change(
      {fmt::format("sif /two file_acl {}", block), fmt::format("sif /three file_acl {}", block)});
  image->repair({});
  image->check_clean();
  return *image;
}

// A lower, and an upper over it whose layer has a little of everything.
struct Subject {
  static const Subject& get() {
    static const Subject subject;
    return subject;
  }

  Subject() : lower(lower_image()), upper(std::make_unique<MemoryFile>("upper.img")) {
    expect_success(
        create_layer(*upper, lower.volume, value_of(Geometry::grow(lower.volume, kMergedBytes))));
    change({"rm /gone", "mkdir /new", "rm /dir/name", "rm /one", "sif /untouched mode 0100600"});
    write_in_place();
  }

  std::unique_ptr<MemoryFile> lower_file() const { return lower.file->clone(); }
  InodeNumber inode(const std::string& name) const {
    return value_of(
               find_name(lower.volume, value_of(read_inode(lower.volume, kRootDirectory)), name))
        ->inode;
  }
  InodeRecord record(const std::string& name) const {
    return value_of(read_inode(lower.volume, inode(name)));
  }
  // Where the block of the file lies in the lower.
  uint64_t offset(const std::string& name, uint64_t file_block) const {
    const auto block = value_of(map_block(lower.volume, record(name), FileBlock(file_block)));
    return lower.layout().offset_of(*block);
  }
  uint64_t slot(InodeNumber number) const {
    return inode_offset(lower.layout(), lower.volume.groups(), number);
  }

  Lower lower;
  std::unique_ptr<MemoryFile> upper;

 private:
  void change(const std::vector<std::string>& requests) {
    auto disk = open_disk(lower, *upper);
    write_differences(*disk, changed_by_debugfs(*disk, requests));
    expect_success(disk->close());
    value_of(checkpoint(std::move(disk)));
  }

  // One block of /program and of /large becomes own.
  void write_in_place() {
    auto disk = open_disk(lower, *upper);
    expect_success(disk->write(offset("program", 20), pattern(5, kBlock)));
    expect_success(disk->write(offset("large", 1000), pattern(6, kBlock)));
    expect_success(disk->close());
    value_of(checkpoint(std::move(disk)));
  }
};

// The lower with other bytes, and what an opening of a copy of the upper says.
struct OtherLower {
  std::unique_ptr<MemoryFile> file = Subject::get().lower_file();
  std::unique_ptr<MemoryFile> upper = Subject::get().upper->clone();
  std::unique_ptr<LowerImage> image;

  Result<std::unique_ptr<Disk>> load() {
    image = value_of(LowerImage::open(*file));
    return Disk::load(*image, *upper, kBootId, quiet_log());
  }
  void flip(uint64_t offset) { file->bytes(offset, 1)[0] ^= std::byte{1}; }
  void check_refused(const std::string& difference) {
    CHECK(expect_error(load(), {kNotTheLower + difference}) == ErrorKind::kInvalid);
  }
  void check_taken() { value_of(load()); }
};

std::string named(const std::string& path, const std::string& what) {
  return fmt::format("{} (inode {}) {}", path, Subject::get().inode(path.substr(1)), what);
}

}  // namespace

TEST_CASE("Lower: the same one is taken, and checked in full", "[lower]") {
  OtherLower other;
  other.check_taken();
  const auto report = value_of(check_upper(*other.file, *other.upper, CheckPurpose::kLook, {}));
  for (const Violation& violation : report.found) {
    FAIL_CHECK(violation.message);
  }
}

TEST_CASE("Lower: what a mount changes does not count", "[lower]") {
  OtherLower other;
  auto superblock = other.file->get<ext2::Superblock>(ext2::kSuperblockOffsetBytes);
  superblock.s_mtime = 1800000000U;
  superblock.s_wtime = 1800000001U;
  superblock.s_lastcheck = 1800000002U;
  superblock.s_mnt_count = uint16_t{7};
  superblock.s_max_mnt_count = uint16_t{20};
  superblock.s_volume_name = {'n', 'e', 'w'};
  superblock.s_last_mounted = {'/', 'm', 'n', 't'};
  superblock.s_free_blocks_count = superblock.s_free_blocks_count - 1;
  superblock.ignored_164[0x178 - 0x164] ^= 1;  // s_kbytes_written
  superblock.s_flags = superblock.s_flags ^ 1U;
  other.file->put(ext2::kSuperblockOffsetBytes, superblock);
  const Subject& subject = Subject::get();
  for (const char* name : {"program", "large", "dir", "lost+found"}) {
    const uint64_t slot = subject.slot(subject.inode(name));
    other.file->put(slot + offsetof(ext2::Inode, i_atime), Le32(1800000003U));
    other.file->put(slot + offsetof(ext2::Inode, i_osd1), Le32(4));
    other.file->put(slot + 128 + offsetof(ext2::InodeExtra, i_atime_extra), Le32(8));
  }
  other.file->put(subject.slot(kRootDirectory) + offsetof(ext2::Inode, i_atime), Le32(1800000003U));
  other.check_taken();
}

TEST_CASE("Lower: what does not show does not count", "[lower]") {
  const Subject& subject = Subject::get();
  OtherLower other;
  other.flip(subject.offset("program", 20) + 100);  // the layer's own block
  other.flip(subject.offset("gone", 1));            // deleted
  other.flip(subject.offset("untouched", 1));       // own of metadata only: falls through whole
  CHECK(expect_error(other.load(), {named("/untouched", "has other content")}) ==
        ErrorKind::kInvalid);
  other.flip(subject.offset("untouched", 1));
  other.flip(subject.offset("two", 0));  // nothing of the layer's
  other.check_taken();
}

TEST_CASE("Lower: content that falls through", "[lower]") {
  const Subject& subject = Subject::get();
  for (const uint64_t file_block : {0, 19, 21, 39}) {
    INFO("block " << file_block);
    OtherLower other;
    other.flip(subject.offset("program", file_block) + 63);
    other.check_refused(named("/program", "has other content"));
  }
  // Of a large file the ends, and what is beside own blocks.
  for (const uint64_t file_block : {0, 999, 1001, 3071}) {
    INFO("block " << file_block);
    OtherLower other;
    other.flip(subject.offset("large", file_block) + 63);
    other.check_refused(named("/large", "has other content"));
  }
}

TEST_CASE("Lower: metadata of own and of deleted files", "[lower]") {
  const Subject& subject = Subject::get();
  for (const char* name : {"program", "large", "gone", "dir", "one"}) {
    INFO(name);
    OtherLower other;
    const uint64_t place = subject.slot(subject.inode(name)) + offsetof(ext2::Inode, i_mtime);
    other.flip(place);
    other.check_refused(named(fmt::format("/{}", name), "is another file"));
  }
}

TEST_CASE("Lower: a block that is another file's", "[lower]") {
  const Subject& subject = Subject::get();
  OtherLower other;
  const uint64_t program = subject.slot(subject.inode("program")) + offsetof(ext2::Inode, i_block);
  const uint64_t untouched = subject.slot(subject.inode("two")) + offsetof(ext2::Inode, i_block);
  const auto mine = other.file->get<Le32>(program);
  other.file->put(program, other.file->get<Le32>(untouched));
  other.file->put(untouched, mine);
  other.check_refused(named("/program", "is another file"));

  // In an indirect block.
  OtherLower deep;
  const uint64_t pointers =
      uint64_t{subject.record("program").raw().i_block[ext2::kIndirectSlot]} * kBlock;
  const auto first = deep.file->get<Le32>(pointers);
  deep.file->put(pointers, deep.file->get<Le32>(pointers + 4));
  deep.file->put(pointers + 4, first);
  deep.check_refused(named("/program", "is another file"));
}

TEST_CASE("Lower: names of own directories, in any order", "[lower]") {
  const Subject& subject = Subject::get();
  const uint64_t block = subject.offset("dir", 0);
  OtherLower other;
  // "name" and "other": one that is deleted, and one that falls through.
  const auto find = [&](const std::string& name) {
    const ConstByteSpan bytes = other.file->bytes(block, kBlock);
    const auto found =
        std::search(bytes.begin(), bytes.end(), std::as_bytes(std::span(name)).begin(),
                    std::as_bytes(std::span(name)).end());
    return block + static_cast<uint64_t>(found - bytes.begin());
  };
  for (const std::string name : {"name", "other"}) {
    const uint64_t place = find(name);
    other.flip(place);
    other.check_refused(named("/dir", "has other names"));
    other.flip(place);
  }
  // The inode of a name lies 8 bytes before it.
  const uint64_t place = find("other") - 8;
  const auto inode = other.file->get<Le32>(place);
  other.file->put(place, Le32(subject.inode("two").value()));
  other.check_refused(named("/dir", "has other names"));
  other.file->put(place, inode);
  other.file->put(subject.slot(subject.inode("dir")) + offsetof(ext2::Inode, i_flags),
                  Le32(ext2::kFlagIndex));
  other.check_taken();
}

TEST_CASE("Lower: bitmaps with the same counts", "[lower]") {
  const Subject& subject = Subject::get();
  OtherLower other;
  const Group& group = subject.lower.volume.group(GroupNumber(0));
  const uint64_t bitmap = subject.lower.layout().offset_of(group.block_bitmap);
  ByteSpan bits = other.file->bytes(bitmap, kBlock);
  const uint64_t free = find_clear_bit(bits, 0, 8000);
  const uint64_t used = subject.offset("two", 0) / kBlock - 1;
  set_bit(bits, free);
  clear_bit(bits, used);
  other.check_refused("other blocks or inodes of group 0 are in use");
}

TEST_CASE("Lower: a shared block of attributes of which the layer counts the users", "[lower]") {
  const Subject& subject = Subject::get();
  const auto upper = subject.upper->clone();
  const auto disk = load_disk(subject.lower, *upper);
  REQUIRE(disk->layer().lower_records().xattrs.size() == 1);
  const BlockNumber block = disk->layer().lower_records().xattrs[0].block;
  CHECK(block == subject.record("two").file_acl());
  OtherLower other;
  other.flip(subject.lower.layout().offset_of(block) + kBlock - 5);
  // /one was deleted, and had the block as well; its record comes first.
  CHECK(expect_error(other.load(), {kNotTheLower}) == ErrorKind::kInvalid);
  const std::atomic<bool> is_cancelled{false};
  const Volume volume = value_of(Volume::open(*other.file, SuperblockUse::kLower));
  const LowerComparison comparison(volume, disk->layer().upper(), disk->layer().layer(),
                                   disk->layer().lower_records(), is_cancelled);
  CHECK(expect_error(comparison.compare(comparison.count() - 1),
                     {fmt::format("the extended attributes in block {} differ", block)}) ==
        ErrorKind::kInvalid);
}

TEST_CASE("Lower: the shape", "[lower]") {
  OtherLower other;
  auto superblock = other.file->get<ext2::Superblock>(ext2::kSuperblockOffsetBytes);
  superblock.s_wtime = 1800000001U;
  superblock.s_uuid[3] ^= 1;
  other.file->put(ext2::kSuperblockOffsetBytes, superblock);
  other.check_refused("its UUID is ");
  superblock.s_uuid[3] ^= 1;
  superblock.s_hash_seed[0] = superblock.s_hash_seed[0] ^ 1U;
  other.file->put(ext2::kSuperblockOffsetBytes, superblock);
  CHECK(expect_error(other.load(), {kNotTheLower, "its features, its hash seed",
                                    "it was last written 2027-01-15 08:00:01 UTC, then "}) ==
        ErrorKind::kInvalid);
}

TEST_CASE("Lower: without records all of the superblock counts", "[lower]") {
  const Subject& subject = Subject::get();
  OtherLower other;
  make_without_records(*other.upper, subject.lower.volume);
  other.check_taken();
  other.file->put(ext2::kSuperblockOffsetBytes + offsetof(ext2::Superblock, s_mtime),
                  Le32(1800000000U));
  CHECK(expect_error(other.load(), {"lower.img: is not as it was when upper.img was made over it",
                                    "last mounted 2027-01-15 08:00:00 UTC, not never",
                                    "cannot be told", "a copy of the lower"}) ==
        ErrorKind::kInvalid);
}

TEST_CASE("Lower: an upper without records has them after a checkpoint, or grown", "[lower]") {
  const Subject& subject = Subject::get();
  for (const bool grows : {false, true}) {
    const auto upper = subject.upper->clone();
    make_without_records(*upper, subject.lower.volume);
    auto disk = open_disk(subject.lower, *upper);
    if (grows) {
      disk = load_disk(subject.lower, *upper);
      expect_success(disk->grow(value_of(Geometry::grow(subject.lower.volume, 2 * kMergedBytes))));
      disk.reset();
    } else {
      write_differences(*disk, changed_by_debugfs(*disk, {"mkdir /more"}));
      expect_success(disk->close());
      value_of(checkpoint(std::move(disk)));
    }
    CHECK(header_in(*upper).feature_incompat == upper_format::kIncompatLowerRecords);
    const auto report = value_of(check_upper(*subject.lower.file, *upper, CheckPurpose::kLook, {}));
    for (const Violation& violation : report.found) {
      FAIL_CHECK(violation.message);
    }
    OtherLower other;
    other.upper = upper->clone();
    other.flip(subject.offset("program", 0));
    other.check_refused(named("/program", "has other content"));
  }
}

TEST_CASE("Lower: a checkpoint carries records over as they are", "[lower]") {
  const Subject& subject = Subject::get();
  OtherLower other;
  auto disk = value_of(other.load());
  expect_success(disk->attach(Access::kReadWrite));
  write_differences(*disk, changed_by_debugfs(*disk, {"sif /untouched mode 0100640"}));
  expect_success(disk->close());
  other.flip(subject.offset("program", 0));  // under the server
  value_of(checkpoint(std::move(disk)));
  other.check_refused(named("/program", "has other content"));
}

TEST_CASE("Lower: no checkpoint over a lower that was changed meanwhile", "[lower]") {
  const Subject& subject = Subject::get();
  OtherLower other;
  auto disk = value_of(other.load());
  expect_success(disk->attach(Access::kReadWrite));
  write_differences(*disk, changed_by_debugfs(*disk, {"sif /program mode 0100640"}));
  expect_success(disk->close());
  const InodeNumber program = subject.inode("program");
  other.flip(subject.slot(program) + offsetof(ext2::Inode, i_ctime));
  CHECK(expect_error(checkpoint(std::move(disk)),
                     {kNotTheLower + fmt::format("inode {} was changed meanwhile", program)}) ==
        ErrorKind::kInvalid);
}

TEST_CASE("Lower: check looks at all records, and whether one is missing", "[lower]") {
  const Subject& subject = Subject::get();
  const auto sound = subject.upper->clone();
  const auto disk = load_disk(subject.lower, *sound);
  LowerRecords records = disk->layer().lower_records();
  records.inodes.pop_back();
  const std::vector<std::byte> bytes = encode_lower_records(records);
  const auto upper = subject.upper->clone();
  upper_format::Header header = header_in(*upper);
  header.lower_records.length = bytes.size();
  replace_header(*upper, header);
  upper->poke(header.lower_records.offset, bytes);
  auto report = value_of(check_upper(*subject.lower.file, *upper, CheckPurpose::kLook, {}));
  REQUIRE(report.found.size() == 1);
  CHECK_THAT(report.found[0].message, Catch::Contains("upper.img: state area: lower records"));
  report = value_of(check_upper(*subject.lower.file, *upper, CheckPurpose::kRepair, {}));
  CHECK(report.left.empty());
  CHECK(load_disk(subject.lower, *upper)->layer().lower_records() == disk->layer().lower_records());

  OtherLower other;
  other.flip(subject.offset("program", 3));
  CHECK(expect_error(check_upper(*other.file, *other.upper, CheckPurpose::kLook, {}),
                     {named("/program", "has other content")}) == ErrorKind::kInvalid);
}

TEST_CASE("Lower: a repair makes no other lower the right one", "[lower]") {
  const Subject& subject = Subject::get();
  // With a translated block that is not own no layer can be loaded, so that no record is compared.
  const auto disk = load_disk(subject.lower, *subject.upper);
  const BlockNumber block = disk->layer().layer().tables().translated.at(0).block;
  const Layout& layout = disk->geometry().merged();
  const GroupNumber group = layout.group_of(block);
  const auto damage = [&](MemoryFile& upper) {
    const uint64_t bitmap = layout.offset_of(disk->geometry().groups()[group.value()].block_bitmap);
    clear_bit(upper.bytes(bitmap, kBlock), block - layout.blocks_of(group).begin);
  };
  OtherLower same;
  damage(*same.upper);
  CHECK(expect_error(same.load(), {"upper.img"}) == ErrorKind::kCorrupt);
  const auto report = value_of(check_upper(*same.file, *same.upper, CheckPurpose::kRepair, {}));
  CHECK(report.is_repair_tried);
  CHECK_FALSE(report.repair_failure);
  CHECK(report.left.empty());

  OtherLower other;
  damage(*other.upper);
  other.flip(subject.slot(subject.inode("program")) + offsetof(ext2::Inode, i_mtime));
  const auto bytes = other.upper->clone();
  const auto refused = value_of(check_upper(*other.file, *other.upper, CheckPurpose::kRepair, {}));
  REQUIRE(refused.repair_failure);
  CHECK_THAT(refused.repair_failure->message, Catch::Contains(kNotTheLower));
  CHECK(is_same_bytes(other.upper->bytes(0, other.upper->size_bytes()),
                      bytes->bytes(0, bytes->size_bytes())));
}

TEST_CASE("Lower: damaged records are refused", "[lower]") {
  const Subject& subject = Subject::get();
  const upper_format::Header header = header_in(*subject.upper);
  const uint64_t begin = header.lower_records.offset;
  for (uint64_t i = 0; i < header.lower_records.length; ++i) {
    INFO("byte " << i);
    const auto upper = subject.upper->clone();
    upper->bytes(begin + i, 1)[0] ^= std::byte{0x11};
    CHECK(expect_error(Disk::load(*subject.lower.image, *upper, kBootId, quiet_log()),
                       {"upper.img: state area: lower records"}) == ErrorKind::kCorrupt);
  }
}

// ---- which blocks stand for a file -------------------------------------------------

namespace {

FallingBlocks blocks_of_file(uint64_t count, const std::set<uint64_t>& own) {
  FallingBlocks blocks(InodeNumber(77), kBlock);
  for (uint64_t i = 0; i < count; ++i) {
    blocks.add({FileBlock(i), BlockNumber(5000 + i)}, !own.contains(i));
  }
  return blocks;
}

std::set<uint64_t> places_of(const FallingBlocks& blocks) {
  std::set<uint64_t> places;
  for (const FileBlockPlace& place : blocks.chosen()) {
    places.insert(place.file_block.value());
  }
  return places;
}

}  // namespace

TEST_CASE("Lower: a small file is read whole, of a large one 64 blocks", "[lower]") {
  CHECK(blocks_of_file(0, {}).chosen().empty());
  CHECK(blocks_of_file(1024, {}).chosen().size() == 1024);
  CHECK(blocks_of_file(1026, {3, 1025}).chosen().size() == 1024);
  CHECK(blocks_of_file(1025, {}).chosen().size() == 64);

  const std::set<uint64_t> own = {100, 101, 5000, 9999};
  const std::set<uint64_t> sample = places_of(blocks_of_file(10000, own));
  CHECK(sample.size() == 64);
  for (const uint64_t wanted : {0, 99, 102, 4999, 5001, 9998}) {
    CHECK(sample.contains(wanted));
  }
  for (const uint64_t unwanted : own) {
    CHECK_FALSE(sample.contains(unwanted));
  }
}

TEST_CASE("Lower: of many neighbours the first 16 are in the sample", "[lower]") {
  std::set<uint64_t> own;
  for (uint64_t i = 10; i < 4000; i += 10) {
    own.insert(i);
  }
  const std::set<uint64_t> sample = places_of(blocks_of_file(10000, own));
  CHECK(sample.size() == 64);
  for (uint64_t i = 10; i <= 80; i += 10) {
    CHECK(sample.contains(i - 1));
    CHECK(sample.contains(i + 1));
  }
}

TEST_CASE("Lower: a sample stays when other blocks become own", "[lower]") {
  const std::set<uint64_t> before = places_of(blocks_of_file(100000, {}));
  const std::set<uint64_t> after = places_of(blocks_of_file(100000, {54321}));
  std::vector<uint64_t> same;
  std::set_intersection(before.begin(), before.end(), after.begin(), after.end(),
                        std::back_inserter(same));
  CHECK(same.size() >= 62);  // but for two neighbours
}
