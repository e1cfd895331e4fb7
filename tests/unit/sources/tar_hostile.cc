// SPDX-License-Identifier: BSD-3-Clause
//
// Archives that want something else than files, and archives that real programs wrote.
#include <sys/stat.h>

#include <fstream>

#include "overlay/sources/tar_source.h"
#include "tests/unit/sources/sources_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

void refuse(const std::vector<TarEntry>& entries, std::initializer_list<std::string> parts) {
  TarTest test;
  expect_error(test.read(tar_of(entries)), parts);
}

// One of the limits is as given; the archive is refused with a message that names it.
void refuse_with(const std::function<void(SourceLimits&)>& set,
                 const std::vector<TarEntry>& entries, const std::string& part) {
  TarTest test;
  value_of(test.read(tar_of(entries)));
  TarTest limited;
  set(limited.context.limits);
  CHECK(expect_error(limited.read(tar_of(entries)), {"a.tar", part}) == ErrorKind::kUnsupported);
}

std::string file_bytes(const ScratchDirectory& scratch, const std::string& name) {
  std::ifstream file(scratch.path() / name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TarEntry with_pax(TarEntry entry, const std::string& key, const std::string& value) {
  entry.pax.emplace_back(key, value);
  return entry;
}

}  // namespace

TEST_CASE("no name of an archive leads out of the tree", "[tar]") {
  for (const std::string name : {"../a", "a/../../b", "..", "a/..", "/../a"}) {
    refuse({{name}}, {"a.tar", "\"" + name + "\"", "\"..\""});
    refuse({{"a"}, {"b", kHardLink, "", name}}, {"a.tar", "\"..\""});
  }
  TarTest test;
  CHECK(
      tree_text(value_of(test.read(tar_of(
          {{"/etc/a", '0', "x"}, {"b", kHardLink, "", "/etc/a"}, {"c", kSymlink, "", "/etc"}})))) ==
      "/ implied\nb file 0644 0:0 1000.000000000 1 bytes 0+1:x\n"
      "c link 0777 0:0 1000.000000000 -> /etc\netc implied\netc/a = b\n");
  REQUIRE(test.warnings.size() == 1);
  CHECK_THAT(test.warnings[0], Catch::Contains("a.tar: took the slash in front off 2 names"));
}

TEST_CASE("nothing lies below what is no directory", "[tar]") {
  refuse({{"l", kSymlink, "", "/etc"}, {"l/passwd"}}, {"a.tar", "\"l/passwd\"", "a symlink"});
  refuse({{"l", kSymlink, "", "d"}, {"d/"}, {"l/a/b"}}, {"\"l/a/b\"", "\"l\"", "a symlink"});
  refuse({{"f"}, {"f/a"}}, {"\"f/a\"", "a regular file"});
  refuse({{"n", kCharDevice}, {"n/a"}}, {"\"n/a\"", "a device"});
  refuse({{"h", kHardLink, "", "later"}, {"h/a"}}, {"\"h/a\"", "a hard link"});
  refuse({{"d/"}, {"d", kSymlink, "", "/etc"}, {"d/passwd"}}, {"\"d/passwd\"", "a symlink"});
  // A hard link does not go through a symlink, either.
  refuse({{"d/a"}, {"l", kSymlink, "", "d"}, {"h", kHardLink, "", "l/a"}},
         {"\"h\"", "\"l/a\"", "is not there"});
}

TEST_CASE("a hard link to nothing names both", "[tar]") {
  refuse({{"a"}, {"b", kHardLink, "", "none"}}, {"a.tar", "\"b\"", "\"none\"", "is not there"});
  refuse({{"b", kHardLink, "", "b"}}, {"\"b\"", "is not there"});
  refuse({{"b", kHardLink, "", "c"}, {"c", kHardLink, "", "b"}}, {"is not there"});
  refuse({{"d/", kDirectory}, {"b", kHardLink, "", "d"}}, {"\"b\"", "\"d\"", "is a directory"});
  refuse({{"b", kHardLink, "", "d"}, {"d/", kDirectory}}, {"\"b\"", "\"d\"", "is a directory"});
  refuse({{"b", kHardLink, "", "."}}, {"\"b\"", "is a directory"});
  refuse({{".", kHardLink, "", "a"}, {"a"}}, {"root directory"});
  refuse({{"a/", kDirectory}, {"./", kSymlink, "", "a"}}, {"root directory"});
  // A long chain of links to links that come later takes no time.
  std::vector<TarEntry> chain;
  constexpr int kLinks = 3000;
  for (int link = 0; link < kLinks; ++link) {
    chain.push_back({std::to_string(link), kHardLink, "", std::to_string(link + 1)});
  }
  chain.push_back({std::to_string(kLinks), '0', "end"});
  TarTest test;
  const FileTree tree = value_of(test.read(tar_of(chain)));
  CHECK(tree.find(kTreeRoot, "0")->file == tree.find(kTreeRoot, std::to_string(kLinks))->file);
}

TEST_CASE("every limit has a message", "[tar]") {
  using Limits = SourceLimits;
  refuse_with([](Limits& limits) { limits.entries = 2; }, {{"a"}, {"b"}, {"c"}},
              "more than 2 entries");
  refuse_with([](Limits& limits) { limits.entries = 2; }, {{"a"}, {"a"}, {"a"}},
              "more than 2 entries");
  refuse_with([](Limits& limits) { limits.entries = 2; }, {{"a/b/c"}}, "more than 2 entries");
  refuse_with([](Limits& limits) { limits.content_bytes = 5; },
              {{"a", '0', "abc"}, {"b", '0', "def"}}, "\"b\": more than 5 bytes of contents");
  refuse_with([](Limits& limits) { limits.unpacked_bytes = 1500; }, {{"a", '0', "abc"}},
              "more than 1500 bytes when unpacked");
  refuse_with([](Limits& limits) { limits.file_bytes = 2; }, {{"a", '0', "abc"}},
              "\"a\": a file of 3 bytes; the limit is 2");
  refuse_with([](Limits& limits) { limits.name_bytes = 3; }, {{"a/bcde"}}, "a name of 4 bytes");
  refuse_with([](Limits& limits) { limits.path_bytes = 6; }, {{"a/b/c/d"}}, "a path of 7 bytes");
  refuse_with([](Limits& limits) { limits.target_bytes = 3; }, {{"a", kSymlink, "", "bcde"}},
              "a symlink to a path of 4 bytes");
  const TarEntry attributed =
      with_pax(with_pax({"a"}, "SCHILY.xattr.user.b", "123"), "SCHILY.xattr.user.c", "456");
  refuse_with([](Limits& limits) { limits.attribute_value_bytes = 2; }, {attributed},
              "3 in its value");
  refuse_with([](Limits& limits) { limits.file_attributes = 1; }, {attributed},
              "more than 1 attributes");
  refuse_with([](Limits& limits) { limits.file_attribute_bytes = 7; }, {attributed},
              "8 bytes of attributes");
  refuse_with([](Limits& limits) { limits.attribute_bytes = 17; }, {attributed},
              "more than 17 bytes of attributes in all");
  refuse({{std::string(256, 'a')}}, {"a.tar", "a name of 256 bytes", "255"});
  refuse({{"a", kSymlink, "", std::string(4096, 'a')}}, {"a.tar", "4096 bytes", "4095"});
  std::string deep;
  for (int level = 0; level < 2049; ++level) {
    deep += "a/";
  }
  refuse({{deep, kDirectory}}, {"a.tar", "a path of 4098 bytes", "4095"});
}

TEST_CASE("numbers that no file can have are refused", "[tar]") {
  refuse({{"a", kCharDevice, "", "", 0600, 0, 0, 1, 4096, 0}}, {"\"a\"", "4096:0"});
  refuse({{"a", '4', "", "", 0600, 0, 0, 1, 0, 1 << 20}}, {"\"a\"", "0:1048576"});
  refuse({{"a", '0', "", "", 0600, uint64_t{1} << 32}}, {"\"a\"", "4294967296:0"});
  refuse({{"a", kSymlink, "", ""}}, {"\"a\"", "a symlink to nothing"});
  // Marks that stand for more than their size says.
  refuse({with_pax(with_pax({"a", '0', "x"}, "GNU.sparse.map", "5,1"), "GNU.sparse.size", "2")},
         {"a.tar"});
}

TEST_CASE("a cut or damaged archive is an error wherever it is cut", "[tar]") {
  const std::string whole = tar_of({{"a", '0', std::string(700, 'x')},
                                    with_pax({"b", '0', "y"}, "SCHILY.xattr.user.c", "d"),
                                    {"c", kSymlink, "", "d"}});
  TarTest test;
  value_of(test.read(whole));
  value_of(test.read(whole.substr(0, whole.size() - 512)));  // one block of zeros, as some write
  for (size_t length = 0; length <= whole.size() - kTarEndBytes; length += 128) {
    CAPTURE(length);
    expect_error(test.read(whole.substr(0, length)), {"a.tar"});
  }
  std::string damaged = whole;
  damaged[150] ^= 1;  // the first header's sum
  expect_error(test.read(damaged), {"a.tar"});
  expect_error(test.read(std::string(4096, 'z')), {"a.tar"});
  test.warnings.clear();
  value_of(test.read(whole + tar_of({{"hidden"}})));
  REQUIRE(test.warnings.size() == 1);
  CHECK_THAT(test.warnings[0], Catch::Contains("behind the end of the archive"));
  CHECK(value_of(test.read(std::string(kTarEndBytes, '\0'))).root().names.empty());
}

TEST_CASE("compressed archives are unpacked, and cut ones are errors", "[tar]") {
  const ScratchDirectory scratch;
  write_file(scratch.path() / "a.tar", tar_of({{"a", '0', std::string(100000, 'x')}, {"b"}}));
  run_in(scratch,
         "for p in gzip xz zstd; do $p -qk a.tar; done; cat a.tar.gz a.tar.gz >two.gz\n"
         "for f in a.tar.gz a.tar.xz a.tar.zst; do head -c -20 $f >cut-$f; done\n"
         "gzip -kc a.tar.gz >twice.gz");
  TarTest test;
  const auto read = [&](const std::string& name) {
    return read_tar((scratch.path() / name).native(), TarRules::kPlain, test.context);
  };
  const std::string expected = tree_text(value_of(read("a.tar")));
  for (const char* suffix : {".gz", ".xz", ".zst"}) {
    CHECK(tree_text(value_of(read(std::string("a.tar") + suffix))) == expected);
    expect_error(read(std::string("cut-a.tar") + suffix), {"cut-a.tar"});
  }
  CHECK(tree_text(value_of(read("twice.gz"))) == expected);
  test.warnings.clear();
  CHECK(tree_text(value_of(read("two.gz"))) == expected);
  CHECK(test.warnings.size() == 1);
  expect_error(read("none"), {"none"});
  expect_error(read("."), {"is no archive"});
  write_file(scratch.path() / "empty", "");
  expect_error(read("empty"), {"empty"});
}

TEST_CASE("a small file that unpacks to a large one ends at the limit", "[tar]") {
  const ScratchDirectory scratch;
  run_in(scratch, "truncate -s 300M big; tar cf - big | gzip -1 >bomb.gz; rm big");
  TarTest test;
  test.context.limits.unpacked_bytes = 10 << 20;
  expect_error(read_tar((scratch.path() / "bomb.gz").native(), TarRules::kPlain, test.context),
               {"bomb.gz", "10485760 bytes when unpacked"});
  CHECK(test.context.spool->end() <= 10 << 20);
}

TEST_CASE("GNU tar's and bsdtar's formats give the same tree", "[tar]") {
  const ScratchDirectory scratch;
  run_in(
      scratch,
      "umask 022; mkdir -p t/d; cd t; printf hello >d/a; ln d/a b; ln -s d/a l; mkfifo p\n"
      "truncate -s 3M hole; printf x | dd of=hole bs=1 seek=1000000 conv=notrunc status=none\n"
      "truncate -s 1M end; truncate -s 1M data-at-end; printf y >>data-at-end\n"
      "echo z >$(printf 'n%.0s' {1..200}); mkdir -p $(printf 'deep%.0s' {1..40})/$(printf "
      "'deep%.0s' {1..40}); echo "
      ">$'\\xff\\xe9'\n"
      "find . -exec touch -h -d @1234567890 {} +; cd ..\n"
      "O='--numeric-owner --sort=name -C t .'\n"
      "tar cf gnu.tar --format=gnu $O; tar cf sparse.tar --format=gnu -S $O\n"
      "for v in 0.0 0.1 1.0; do tar cf pax$v.tar --format=posix -S --sparse-version=$v $O; done\n"
      "tar cf pax.tar --format=posix $O\n"
      "! type bsdtar >/dev/null || bsdtar -cf bsd.tar --format pax -C t . \n"
      "! type bsdtar >/dev/null || bsdtar -cf bsd-sparse.tar --read-sparse --format pax -C t .\n");
  TarTest test;
  const auto read = [&](const std::string& name) {
    return value_of(read_tar((scratch.path() / name).native(), TarRules::kPlain, test.context));
  };
  // Everything but where the holes are.
  const auto text_of = [](const FileTree& tree) {
    std::string text = tree_text(tree);
    std::string kept;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find('\n', begin);
      const std::string line = text.substr(begin, end - begin);
      kept += line.substr(0, line.find(" bytes")) + "\n";
      begin = end + 1;
    }
    return kept;
  };
  const FileTree plain = read("gnu.tar");
  const std::string expected = text_of(plain);
  CHECK_THAT(expected, Catch::Contains("\\xff\\xe9 file") && Catch::Contains("d/a = b\n"));
  const auto content = [](const FileTree& tree, const char* name) -> FileBytes& {
    return *tree.file(tree.find(kTreeRoot, name)->file).content;
  };
  for (const char* name : {"sparse.tar", "pax0.0.tar", "pax0.1.tar", "pax1.0.tar", "pax.tar",
                           "bsd.tar", "bsd-sparse.tar"}) {
    if (!std::ifstream(scratch.path() / name)) {
      continue;
    }
    CAPTURE(name);
    const uint64_t before = test.context.spool->end();
    const FileTree tree = read(name);
    CHECK(text_of(tree) == expected);
    for (const char* file : {"hole", "end", "data-at-end"}) {
      uint64_t compared = 0;
      CHECK(value_of(have_same_bytes(content(plain, file), content(tree, file), compared)));
    }
    if (std::string_view(name) != "pax.tar" && std::string_view(name) != "bsd.tar") {
      CHECK(test.context.spool->end() - before < 100000);  // holes take no space
    }
  }
  CHECK(test.warnings.empty());
}

TEST_CASE("an archive comes through a pipe", "[tar]") {
  const ScratchDirectory scratch;
  run_in(scratch, "echo x >a; tar cf a.tar a; mkfifo p; { cat a.tar >p; } >/dev/null 2>&1 &");
  TarTest test;
  uint64_t read_bytes = 0;
  test.context.progress = [&](uint64_t more) -> Result<void> {
    read_bytes += more;
    return {};
  };
  CHECK_THAT(tree_text(value_of(
                 read_tar((scratch.path() / "p").native(), TarRules::kPlain, test.context))),
             Catch::Contains("a file"));
  CHECK(read_bytes == file_bytes(scratch, "a.tar").size());
  test.context.progress = [](uint64_t) -> Result<void> {
    return system_failure(ECANCELED, "stopped");
  };
  expect_error(read_tar((scratch.path() / "a.tar").native(), TarRules::kPlain, test.context),
               {"stopped"});
}
