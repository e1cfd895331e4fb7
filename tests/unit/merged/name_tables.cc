// SPDX-License-Identifier: BSD-3-Clause
//
// Names that are looked up in a directory without an index: all of them, and the cost.
#include "overlay/merged/name_tables.h"

#include "fsparse/block_map.h"
#include "overlay/merged/lower_image.h"
#include "tests/unit/support/overlay_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint32_t kNames = 3000;

// A lower with a large directory, "names", that has no index.
Lower lower_with_names() {
  const ScratchDirectory tree;
  std::filesystem::create_directory(tree.path() / "names");
  for (uint32_t number = 0; number < kNames; ++number) {
    write_file(tree.path() / "names" / fmt::format("a-long-name-of-file-{}", number), "");
  }
  MakeOptions options;
  options.features = "filetype,^dir_index";
  options.more = {"-N", "4000"};
  options.content = tree.path();
  return Lower(RealImage(8192, options));
}

struct Subject {
  const Lower lower = lower_with_names();
  const InodeRecord directory = find("names");
  const std::vector<NamedEntry> entries = value_of(read_directory(lower.volume, directory));

  InodeRecord find(const std::string& name) const {
    const InodeRecord root = value_of(read_inode(lower.volume, kRootDirectory));
    return value_of(read_inode(lower.volume, value_of(find_name(lower.volume, root, name))->inode));
  }
  // As the block of a layer asks whose names have all moved.
  Result<std::optional<NameBelow>> look_up(const NamedEntry& entry) const {
    UNIONFS_ASSIGN(const auto names,
                   lower.image->names_of(directory.number(), BlockNumber(0), entry.file_block));
    EntryView wanted;
    wanted.name = entry.name;
    return names->find(wanted);
  }
};

}  // namespace

TEST_CASE("Name tables: all names of a directory cost a reading or two of it", "[name_tables]") {
  const Subject subject;
  const uint64_t blocks = value_of(directory_block_count(subject.lower.volume, subject.directory));
  REQUIRE(blocks > 50);
  subject.lower.file->reset_counts();
  for (const NamedEntry& entry : subject.entries) {
    const auto found = value_of(subject.look_up(entry));
    REQUIRE(found);
    CHECK(found->inode == entry.inode);
    CHECK(found->file_type == entry.file_type);
  }
  NamedEntry none;
  none.name = "a-long-name-of-file-";
  CHECK_FALSE(value_of(subject.look_up(none)));
  // Each asks for the directory's inode, and where its block lies.
  CHECK(subject.lower.file->count(FileOperation::kRead) < 4 * subject.entries.size());
}

TEST_CASE("Name tables: names before the damage are found", "[name_tables]") {
  const Subject subject;
  const NamedEntry last = subject.entries.back();
  const uint64_t place = subject.lower.layout().offset_of(last.block) + last.offset;
  subject.lower.file->put(place + offsetof(ext2::DirectoryEntry, rec_len), Le16(uint16_t{6}));
  CHECK(value_of(subject.look_up(subject.entries[100]))->inode == subject.entries[100].inode);
  CHECK(expect_error(subject.look_up(last), {"lower.img", "rec_len 6"}) == ErrorKind::kCorrupt);
}

TEST_CASE("Name tables: more directories than are kept", "[name_tables]") {
  const Lower lower(small_image(1024));
  const NameTables tables(lower.volume);
  for (int round = 0; round < 2; ++round) {
    for (uint32_t number = 1; number <= lower.layout().inode_count(); ++number) {
      const InodeRecord record = value_of(read_inode(lower.volume, InodeNumber(number)));
      if (!record.is_directory()) {
        continue;
      }
      const auto table = value_of(tables.of(record));
      for (const NamedEntry& entry : value_of(read_directory(lower.volume, record))) {
        CHECK(value_of(table->find(entry.name))->inode == entry.inode);
      }
      CHECK(tables.of(record)->get() == table.get());
    }
  }
}
