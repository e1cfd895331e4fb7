// SPDX-License-Identifier: BSD-3-Clause
//
// What a plan says is made, and nothing else.
#include "tests/unit/changes/plan_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

TEST_CASE("Plan: one changed byte costs a block, whatever the block sizes", "[plan]") {
  const uint32_t block_size = GENERATE(1024u, 4096u);
  const uint32_t source_block_size = GENERATE(1024u, 4096u);
  CAPTURE(block_size, source_block_size);
  const PlanImages images = images_of(block_size, source_block_size);
  PlanWriter writer(images);
  writer.put("/large", writer.existing("/large"));
  const uint64_t untouched = make_layer(images, writer.plan).own_block_count();
  writer.give_content(writer.existing("/large"), "/changed");
  writer.state(writer.existing("/large")).modified.seconds += 5;

  const MadeLayer made = make_layer(images, writer.plan);

  CHECK(content_at(made.volume(), "/large") == content_at(images.source(), "/changed"));
  CHECK(inode_at(made.volume(), "/large") == inode_at(images.image(), "/large"));
  CHECK(made.made.bytes_written == block_size);
  // The block, and the indirect blocks above it, of which the layer has its own.
  CHECK(made.own_block_count() <= untouched + 3);
}

TEST_CASE("Plan: the checkpoint need not search for names that the plan has", "[plan]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  const PlannedFileId small = writer.existing("/small");
  writer.state(small).mode ^= 0100;
  const uint64_t searched = make_layer(images, writer.plan).figures.directories_searched;
  CHECK(searched > 0);

  for (const char* path : {"/small", "/twice", "/b/thrice"}) {
    writer.put(path, small);
  }
  const MadeLayer made = make_layer(images, writer.plan);
  CHECK(made.figures.directories_searched == 0);
  CHECK(inode_at(made.volume(), "/b/thrice") == inode_at(images.image(), "/small"));

  // Others than those that name it change nothing.
  writer.put("/a/in_a", writer.existing("/a/in_a"));
  writer.put("/old/kept/file", writer.existing("/old/kept/file"));
  const MadeLayer same = make_layer(images, writer.plan);
  CHECK(same.figures.directories_searched == 0);
  const uint64_t size = made.upper->size_bytes();
  CHECK(is_same_bytes(made.upper->bytes(0, size), same.upper->bytes(0, size)));
}

TEST_CASE("Plan: the checkpoint need not search for owners of changed blocks", "[plan]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  writer.give_content(writer.existing("/large"), "/changed");
  writer.put("/large", writer.existing("/large"));
  const MadeLayer made = make_layer(images, writer.plan);
  CHECK(made.figures.inodes_searched == 0);
  CHECK(made.figures.directories_searched == 0);
}

TEST_CASE("Plan: a file is made equal in place", "[plan]") {
  const uint32_t block_size = GENERATE(1024u, 4096u);
  const uint32_t source_block_size = GENERATE(1024u, 4096u);
  const char* content = GENERATE("/cut", "/grown", "/holes", "/new");
  CAPTURE(block_size, source_block_size, content);
  const PlanImages images = images_of(block_size, source_block_size);
  PlanWriter writer(images);
  writer.give_content(writer.existing("/large"), content);

  const MadeLayer made = make_layer(images, writer.plan);

  CHECK(content_at(made.volume(), "/large") == content_at(images.source(), content));
  const InodeRecord before =
      value_of(read_inode(images.image(), writer.plan.files[1].existing.value()));
  const InodeRecord now = value_of(read_inode(made.volume(), before.number()));
  const std::string text = content;
  if (text == "/cut") {
    // The last block that is left ends in zeros.
    CHECK(made.made.bytes_written == block_size);
    CHECK(now.raw().i_blocks < before.raw().i_blocks);
  } else if (text == "/holes") {
    CHECK(made.made.bytes_written == 0);
    CHECK(now.raw().i_blocks < before.raw().i_blocks);
  } else if (text == "/grown") {
    CHECK(made.made.bytes_written <= 70'000 + 2 * block_size);
  }
}

TEST_CASE("Plan: holes are filled, and made again", "[plan]") {
  const PlanImages images = images_of();
  PlanWriter holes(images);
  const PlannedFileId id = holes.copy_of("/holes");
  holes.put("/with_holes", id);
  const MadeLayer first = make_layer(images, holes.plan);
  const InodeRecord record =
      value_of(read_inode(first.volume(), inode_at(first.volume(), "/with_holes")));
  // 200 blocks of data, and indirect blocks.
  CHECK(record.raw().i_blocks <= 2 * 205);
  CHECK(content_at(first.volume(), "/with_holes") == content_at(images.source(), "/holes"));

  // A plan over an image that has holes: the layer below is the source, too.
  const PlanImages others{source_image(), source_image()};
  PlanWriter writer(others);
  writer.give_content(writer.existing("/holes"), "/changed");
  const MadeLayer filled = make_layer(others, writer.plan);
  CHECK(content_at(filled.volume(), "/holes") == content_at(others.source(), "/changed"));
}

TEST_CASE("Plan: targets and device numbers are changed in place", "[plan]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  const auto [path, content] =
      GENERATE(std::pair("/link", "/link"), std::pair("/link", "/long_link"),
               std::pair("/long_link", "/link"), std::pair("/long_link", "/long_link"));
  CAPTURE(path, content);
  writer.give_content(writer.existing(path), content);
  writer.give_content(writer.existing("/device"), "/device");
  const MadeLayer made = make_layer(images, writer.plan);
  CHECK(value_of(file_state_of(made.volume(), inode_at(images.image(), path))).target ==
        value_of(file_state_of(images.source(), inode_at(images.source(), content))).target);
  CHECK(value_of(file_state_of(made.volume(), inode_at(images.image(), "/device"))).device_major ==
        8);
}

TEST_CASE("Plan: new files of every type", "[plan]") {
  const uint32_t block_size = GENERATE(1024u, 4096u);
  const uint32_t inode_size = GENERATE(128u, 256u);
  const uint32_t source_inode_size = GENERATE(128u, 256u);
  CAPTURE(block_size, inode_size, source_inode_size);
  const PlanImages images = images_of(block_size, 1024, inode_size, source_inode_size);
  PlanWriter writer(images);
  const PlannedFileId top = writer.copy_of("/directory");
  const PlannedFileId below = writer.copy_of("/directory");
  writer.put("/made", top);
  writer.put_in(top, "below", below);
  for (const char* name : {"new", "link", "long_link", "device", "block", "pipe", "holes"}) {
    const PlannedFileId id = writer.copy_of("/" + std::string(name));
    writer.state(id).modified = {1'000'000'000, 123'456'789};
    writer.put_in(below, name, id);
  }
  writer.state(below).modified = {1'100'000'000, 5};
  const MadeLayer made = make_layer(images, writer.plan);

  const FileState directory =
      value_of(file_state_of(made.volume(), inode_at(made.volume(), "/made/below")));
  CHECK(directory.modified == FileTime{1'100'000'000, inode_size > 128 ? 5u : 0u});
  CHECK(directory.attributes.size() == 1);
  CHECK(value_of(file_state_of(made.volume(), inode_at(made.volume(), "/made"))).links_count == 3);
  for (const char* name : {"new", "link", "long_link", "device", "block", "pipe", "holes"}) {
    CAPTURE(name);
    const FileState state = value_of(
        file_state_of(made.volume(), inode_at(made.volume(), "/made/below/" + std::string(name))));
    const FileState source = value_of(
        file_state_of(images.source(), inode_at(images.source(), "/" + std::string(name))));
    CHECK(state.mode == source.mode);
    CHECK(state.target == source.target);
    CHECK(state.device_major == source.device_major);
    CHECK(state.attributes == source.attributes);
    CHECK(state.modified == FileTime{1'000'000'000, inode_size > 128 ? 123'456'789u : 0u});
  }
  CHECK(content_at(made.volume(), "/made/below/new") == content_at(images.source(), "/new"));
}

TEST_CASE("Plan: links are made and removed", "[plan]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  const PlannedFileId small = writer.existing("/small");
  writer.remove("/twice");
  writer.put("/a/more", small);
  writer.put("/a/yet_more", small);
  writer.put("/second_too", writer.existing("/second"));
  const PlannedFileId fresh = writer.copy_of("/new");
  writer.put("/new", fresh);
  writer.put("/b/new", fresh);
  writer.remove("/large");
  MadeLayer made = make_layer(images, writer.plan);
  CHECK(value_of(file_state_of(made.volume(), inode_at(images.image(), "/small"))).links_count ==
        4);
  CHECK(value_of(file_state_of(made.volume(), inode_at(made.volume(), "/second"))).links_count ==
        2);
  CHECK(inode_at(made.volume(), "/new") == inode_at(made.volume(), "/b/new"));
  CHECK(inode_at(made.volume(), "/large") == InodeNumber(0));

  // The file of a removed name need not be planned, nor one that loses its last name.
  PlanWriter removals(images);
  for (const char* path : {"/small", "/twice", "/b/thrice", "/link", "/pipe"}) {
    removals.remove(path);
  }
  made = make_layer(images, removals.plan);
  CHECK(inode_at(made.volume(), "/b/thrice") == InodeNumber(0));
}

TEST_CASE("Plan: names are changed all at once", "[plan]") {
  const PlanImages images = images_of();
  const auto was = [&](const std::string& path) { return inode_at(images.image(), path); };
  PlanWriter writer(images);

  SECTION("two files change places, and two directories") {
    writer.put("/large", writer.existing("/second"));
    writer.put("/second", writer.existing("/large"));
    writer.put("/a", writer.existing("/b"));
    writer.put("/b", writer.existing("/a"));
    const MadeLayer made = make_layer(images, writer.plan);
    CHECK(inode_at(made.volume(), "/large") == was("/second"));
    CHECK(inode_at(made.volume(), "/b/inner/file") == was("/a/inner/file"));
    CHECK(inode_at(made.volume(), "/a/other") == was("/b/other"));
  }
  SECTION("a directory moves into its child") {
    writer.remove("/a");
    writer.remove("/a/inner");
    writer.put("/inner", writer.existing("/a/inner"));
    writer.put_in(writer.existing("/a/inner"), "a", writer.existing("/a"));
    const MadeLayer made = make_layer(images, writer.plan);
    CHECK(inode_at(made.volume(), "/inner/a/in_a") == was("/a/in_a"));
    CHECK(inode_at(made.volume(), "/inner/file") == was("/a/inner/file"));
    const InodeRecord a = value_of(read_inode(made.volume(), was("/a")));
    CHECK(value_of(find_name(made.volume(), a, ".."))->inode == was("/a/inner"));
    CHECK(a.raw().i_links_count == 2);
  }
  SECTION("a directory makes room for a link to it") {
    writer.put("/a.old", writer.existing("/a"));
    writer.put("/a", writer.copy_of("/link"));
    const MadeLayer made = make_layer(images, writer.plan);
    CHECK(inode_at(made.volume(), "/a.old/in_a") == was("/a/in_a"));
    CHECK(value_of(read_inode(made.volume(), inode_at(made.volume(), "/a"))).is_symlink());
  }
  SECTION("a directory goes, but not what moved out of it") {
    writer.remove("/old");
    writer.put("/kept", writer.existing("/old/kept"));
    if (GENERATE(false, true)) {
      writer.remove("/old/kept");
    }
    const MadeLayer made = make_layer(images, writer.plan);
    CHECK(inode_at(made.volume(), "/kept/file") == was("/old/kept/file"));
    CHECK(inode_at(made.volume(), "/old") == InodeNumber(0));
  }
  SECTION("a file takes the place of a directory, and keeps a name that was in it") {
    writer.put("/old", writer.copy_of("/new"));
    writer.put("/gone", writer.existing("/old/gone"));
    const MadeLayer made = make_layer(images, writer.plan);
    CHECK(content_at(made.volume(), "/gone") == content_at(images.image(), "/old/gone"));
    CHECK(content_at(made.volume(), "/old") == content_at(images.source(), "/new"));
  }
  SECTION("the times of directories are those of the plan") {
    writer.remove("/a/in_a");
    writer.state(writer.existing("/a")).modified.seconds = 1'234'567'890;
    const MadeLayer made = make_layer(images, writer.plan);
    CHECK(value_of(file_state_of(made.volume(), was("/a"))).modified.seconds == 1'234'567'890);
  }
}

TEST_CASE("Plan: attributes and metadata of files that exist", "[plan]") {
  const uint32_t inode_size = GENERATE(128u, 256u);
  const PlanImages images = images_of(1024, 1024, inode_size);
  PlanWriter writer(images);
  FileState& small = writer.state(writer.existing("/small"));
  small.mode = ext2::kModeRegular | 04711;
  small.user_id = 70'000;
  small.group_id = 1'000'000;
  small.user_flags ^= 0x40;  // no dump
  small.accessed = {2'000'000'000, 7};
  small.attributes = {{ext2::kXattrIndexUser, "size", std::vector<std::byte>(500, std::byte{1})},
                      {ext2::kXattrIndexTrusted, "t", {std::byte{0}}}};
  writer.state(writer.existing("/a")).attributes.clear();
  const MadeLayer made = make_layer(images, writer.plan);
  const FileState now = value_of(file_state_of(made.volume(), inode_at(images.image(), "/small")));
  CHECK(now.mode == (ext2::kModeRegular | 04711));
  CHECK(now.user_id == 70'000);
  CHECK(now.group_id == 1'000'000);
  CHECK(now.attributes.size() == 2);
  CHECK(value_of(file_state_of(made.volume(), inode_at(images.image(), "/a"))).attributes.empty());
}

TEST_CASE("Plan: label, UUID and the boot block", "[plan]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  PlannedSuperblock& planned = writer.plan.superblock;
  planned.volume_name = std::array<char, 16>{'n', 'a', 'm', 'e'};
  planned.uuid = std::array<std::byte, 16>{std::byte{1}, std::byte{2}};
  planned.default_mount_options = 0x000c;
  planned.reserved_blocks_count = 17;
  planned.reserved_user_id = 5;
  planned.reserved_group_id = 6;
  planned.errors = 2;
  planned.boot_block = pattern(77, 1024);
  const MadeLayer made = make_layer(images, writer.plan);
  const ext2::Superblock& now = made.volume().superblock().raw();
  CHECK(std::string(now.s_volume_name.data()) == "name");
  CHECK(now.s_uuid[1] == 2);
  CHECK(now.s_r_blocks_count == 17);
  CHECK(now.s_errors == 2);
}

TEST_CASE("Plan: a directory of many names", "[plan]") {
  constexpr int kNames = 3000;
  const PlanImages images = images_of();
  PlanWriter writer(images);
  const PlannedFileId many = writer.copy_of("/directory");
  writer.put("/many", many);
  for (int i = 0; i < kNames; ++i) {
    writer.put_in(many, fmt::format("a_name_of_a_file_{}", i), writer.existing("/large"));
  }
  const MadeLayer made = make_layer(images, writer.plan);
  CHECK(inode_at(made.volume(), "/many/a_name_of_a_file_2999") ==
        inode_at(images.image(), "/large"));
  CHECK(value_of(read_inode(made.volume(), inode_at(made.volume(), "/many"))).has_index());
}

TEST_CASE("Plan: one that cannot be is refused before anything is written", "[plan]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  const auto expect_refused = [&](std::initializer_list<std::string> parts) {
    MemoryFile upper("upper.img");
    MemoryFile untouched("upper.img");
    (void)value_of(try_plan(images, untouched, PlanWriter(images).plan));
    const ErrorKind kind = expect_error(try_plan(images, upper, writer.plan), parts);
    CHECK(kind == ErrorKind::kInvalid);
    const uint64_t size = images.image().layout().size_bytes();
    CHECK(is_same_bytes(upper.bytes(0, size), untouched.bytes(0, size)));
  };
  SECTION("a directory with two names") {
    writer.put("/a_too", writer.existing("/a"));
    expect_refused({"/a_too", "a directory with two names"});
  }
  SECTION("a directory below itself") {
    writer.remove("/a");
    writer.put_in(writer.existing("/a/inner"), "a", writer.existing("/a"));
    expect_refused({"would be a directory below itself"});
  }
  SECTION("a name in a directory that goes") {
    writer.remove("/old");
    writer.put("/old/small", writer.existing("/small"));
    expect_refused({"/old/small", "is planned in a directory that goes"});
  }
  SECTION("a new file without a name") {
    writer.copy_of("/new");
    expect_refused({"a new file without a name"});
  }
  SECTION("a new file without content") {
    writer.plan.files[writer.copy_of("/new")].content.reset();
    expect_refused({"needs one"});
  }
  SECTION("another type") {
    writer.state(writer.existing("/small")).mode = ext2::kModeFifo;
    expect_refused({"is of another type"});
  }
  SECTION("a name that is none") {
    writer.put_in(kPlannedRoot, "..", writer.existing("/small"));
    expect_refused({"cannot be a name"});
  }
  SECTION("an inode that is planned twice") {
    writer.plan.files.push_back(writer.plan.files[writer.existing("/small")]);
    expect_refused({"is planned twice"});
  }
}

TEST_CASE("Plan: a full image is told with the path", "[plan]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  for (int i = 0; i < 12; ++i) {
    writer.put(fmt::format("/more{}", i), writer.copy_of("/grown"));
  }
  MemoryFile upper("upper.img");
  const Result<MadeFiles> made = try_plan(images, upper, writer.plan);
  expect_error(made, {"merged image: ", "/more", "no free block"});
  CHECK(made.error().error_number == ENOSPC);
}

TEST_CASE("Plan: the proof notices what is otherwise", "[plan]") {
  const PlanImages images = images_of(1024, 1024, 256, 256);
  PlanWriter writer(images);
  const PlannedFileId small = writer.existing("/small");
  writer.put("/new", writer.copy_of("/new"));
  writer.put("/made", writer.copy_of("/directory"));
  writer.put("/second_too", writer.existing("/second"));
  writer.remove("/pipe");
  writer.remove("/old");
  writer.state(small).modified.seconds += 10;
  writer.give_content(writer.existing("/large"), "/changed");
  writer.plan.superblock.volume_name = std::array<char, 16>{'n'};
  const MadeLayer made = make_layer(images, writer.plan);
  const auto expect_noticed = [&](std::initializer_list<std::string> parts) {
    (void)expect_error(check_planned(writer.plan, *made.layer, made.volume()), parts);
  };
  const auto forget = [&](const std::string& name) {
    writer.plan.names.erase({kPlannedRoot, name});
  };

  SECTION("a name that is not there") {
    writer.put("/missing", small);
    expect_noticed({"/missing", "is not there"});
  }
  SECTION("a name that is still there") {
    writer.remove("/large");
    expect_noticed({"/large", "is still there"});
  }
  SECTION("a name that leads elsewhere") {
    writer.put("/second_too", small);
    expect_noticed({"/second_too", "leads to inode"});
  }
  SECTION("names of two files that share one") {
    forget("second_too");
    writer.put("/second_too", writer.copy_of("/new"));
    expect_noticed({"second_too", "shares inode"});
  }
  SECTION("a name in a new directory") {
    writer.put_in(*writer.plan.names.at({kPlannedRoot, "made"}).file, "x", small);
    expect_noticed({"is not there"});
  }
  SECTION("a mode") {
    writer.state(small).mode ^= 1;
    expect_noticed({"its mode"});
  }
  SECTION("an owner") {
    writer.state(small).group_id ^= 1;
    expect_noticed({"its owner"});
  }
  SECTION("flags") {
    writer.state(small).user_flags ^= 0x40;
    expect_noticed({"its flags"});
  }
  SECTION("a time") {
    writer.state(small).modified.nanoseconds += 1;
    expect_noticed({"one of its times"});
  }
  SECTION("an attribute") {
    writer.state(small).attributes.clear();
    expect_noticed({"an attribute"});
  }
  SECTION("content") {
    writer.give_content(writer.existing("/large"), "/holes");
    expect_noticed({"its content"});
  }
  SECTION("content that was not planned") {
    writer.plan.files[writer.existing("/large")].content.reset();
    expect_noticed({"/large", "has other content"});
  }
  SECTION("the label") {
    writer.plan.superblock.volume_name.reset();
    expect_noticed({"volume name"});
  }
  SECTION("the boot block") {
    writer.plan.superblock.boot_block = pattern(1, 1024);
    expect_noticed({"boot block"});
  }
  SECTION("a name that is gone, which was not planned") {
    forget("pipe");
    expect_noticed({"/pipe", "is gone"});
  }
  SECTION("a tree that is gone, which was not planned") {
    forget("old");
    expect_noticed({"/old", "is gone"});
  }
}

TEST_CASE("Plan: the proof notices what was not planned", "[plan]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  const auto expect_noticed = [&](std::initializer_list<std::string> parts) {
    const MadeLayer made = make_layer(images, writer.plan);
    (void)expect_error(check_planned(PlanWriter(images).plan, *made.layer, made.volume()), parts);
  };
  SECTION("a new name") {
    writer.put("/new", writer.copy_of("/new"));
    expect_noticed({"/new", "leads to another file"});
  }
  SECTION("a name for another file") {
    writer.put("/large", writer.copy_of("/new"));
    expect_noticed({"/large", "which was not planned"});
  }
  SECTION("another mode") {
    writer.state(writer.existing("/second")).mode ^= 1;
    expect_noticed({"/second", "is changed"});
  }
  SECTION("other content") {
    writer.give_content(writer.existing("/large"), "/changed");
    expect_noticed({"/large", "is changed"});
  }
  SECTION("a new place") {
    writer.remove("/large");
    writer.put("/b/moved", writer.existing("/large"));
    expect_noticed({"/large", "is gone"});
  }
  SECTION("an inode of its own that shows no change") {
    writer.state(writer.existing("/second")).changed.seconds += 5;
    expect_noticed({"is the layer's own, which was not planned"});
  }
}
