// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sinks/layer_tar.h"

#include <clocale>
#include <cstdlib>

#include "overlay/sinks/layer_blob.h"
#include "tests/unit/sinks/sinks_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

std::string tar_of(const FileTree& tree, const LayerTarOptions& options = {}) {
  MemoryStream out;
  (void)value_of(write_layer_tar(tree, options, out));
  return out.text;
}

// What tar prints of it.
std::string listed(const std::string& archive, const std::string& options = "") {
  const ScratchDirectory scratch;
  write_file(scratch.path() / "a.tar", archive);
  return run({"bash", "-c",
              fmt::format("TZ=UTC LC_ALL=C tar --numeric-owner --full-time {} -tvf {}", options,
                          (scratch.path() / "a.tar").string())});
}

std::string names_of(const std::string& archive) {
  const ScratchDirectory scratch;
  write_file(scratch.path() / "a.tar", archive);
  return run({"bash", "-c",
              fmt::format("LC_ALL=C tar -tf {} 2>/dev/null | paste -sd' '",
                          (scratch.path() / "a.tar").string())});
}

// A byte behind a hole.
class SparseBytes final : public FileBytes {
 public:
  uint64_t size_bytes() const override { return kSize; }
  Result<std::optional<ByteRange>> next_data(uint64_t offset) override {
    return offset < kSize ? std::optional<ByteRange>({kSize - 1, kSize}) : std::nullopt;
  }
  Result<void> read(uint64_t, ByteSpan buffer) override {
    REQUIRE(buffer.size() == 1);
    buffer.front() = std::byte{'!'};
    return {};
  }
  static constexpr uint64_t kSize = 5'000'001;
};

}  // namespace

TEST_CASE("Layer: marks come first, and names by their bytes", "[sinks][layer_tar]") {
  TreeWriter writer;
  const TreeFileId b = writer.directory(kTreeRoot, "b");
  writer.tree.file(b).is_opaque = true;
  writer.regular(b, "z", "z");
  const TreeFileId linked = writer.regular(b, "B", "linked");
  writer.tree.set_mark(b, "zz", TreeMark::kWhiteout);
  writer.tree.set_mark(b, "Gone", TreeMark::kWhiteout);
  writer.tree.set_name(kTreeRoot, "a", linked);
  writer.tree.set_name(kTreeRoot, "c", linked);
  writer.tree.root().is_implied = false;
  CHECK(names_of(tar_of(writer.tree)) == "./ a b/ b/.wh..wh..opq b/.wh.Gone b/.wh.zz b/B b/z c\n");
  const std::string text = listed(tar_of(writer.tree));
  CHECK_THAT(text, Catch::Contains("b/B link to a"));
  CHECK_THAT(text, Catch::Contains("c link to a"));
  CHECK_THAT(text, Catch::Contains("-rw-r--r-- 0/0               0 1970-01-01 00:00:00 b/.wh.zz"));
}

TEST_CASE("Layer: who implied a directory did not describe it", "[sinks][layer_tar]") {
  TreeWriter writer;
  const TreeFileId a = writer.directory(kTreeRoot, "a");
  writer.tree.file(a).is_implied = true;
  writer.regular(a, "file", "");
  writer.tree.set_mark(a, "gone", TreeMark::kWhiteout);
  CHECK(names_of(tar_of(writer.tree)) == "a/.wh.gone a/file\n");
}

TEST_CASE("Layer: everything that a file is, is there", "[sinks][layer_tar]") {
  TreeWriter writer;
  FileState& file = writer.state(writer.regular(kTreeRoot, "file", "content", 04711));
  file.user_id = 3'000'000'000;
  file.group_id = 7;
  file.modified = {1'000'000'000, 123'456'789};
  file.attributes = {{ext2::kXattrIndexUser, "colour", to_bytes(std::string("r\0d\n", 4))}};
  FileState& node = writer.state(writer.add(kTreeRoot, "node", ext2::kModeCharDevice | 0600));
  node.device_major = 300;
  node.device_minor = 70'000;
  writer.state(writer.add(kTreeRoot, "link", ext2::kModeSymlink | 0777)).target =
      std::string(300, 't');
  writer.add(kTreeRoot, "pipe", ext2::kModeFifo | 0600);
  const std::string archive = tar_of(writer.tree);
  CHECK_THAT(archive, Catch::Contains(std::string("SCHILY.xattr.user.colour=r\0d\n\n", 31)));
  CHECK_THAT(archive, !Catch::Contains("LIBARCHIVE"));
  const std::string text = listed(archive);
  CHECK_THAT(text, Catch::Contains("-rws--x--x 3000000000/7"));
  CHECK_THAT(text, Catch::Contains("2001-09-09 01:46:40 file"));
  CHECK_THAT(text, Catch::Contains("300,70000"));
  CHECK_THAT(text, Catch::Contains("link -> " + std::string(300, 't')));
  CHECK_THAT(text, Catch::Contains("prw-------"));
  CHECK_THAT(listed(tar_of(writer.tree, {.has_nanoseconds = true})),
             Catch::Contains("01:46:40.123456789 file"));
}

TEST_CASE("Layer: an ACL is written as the kernel has it", "[sinks][layer_tar]") {
  TreeWriter writer;
  // ext2_acl_header of version 1 and three short entries, for user, group and others.
  writer.state(writer.regular(kTreeRoot, "file", "")).attributes = {
      {ext2::kXattrIndexPosixAclAccess, "",
       to_bytes(std::string("\1\0\0\0\1\0\6\0\4\0\4\0\40\0\4\0", 16))}};
  const std::string named = std::string(
      "\2\0\0\0\1\0\6\0\377\377\377\377\4\0\4\0\377\377\377\377\40\0\4\0\377\377\377\377", 28);
  CHECK_THAT(tar_of(writer.tree), Catch::Contains("SCHILY.xattr.system.posix_acl_access=" + named));
}

TEST_CASE("Layer: holes are zeros, in pieces", "[sinks][layer_tar]") {
  TreeWriter writer;
  const TreeFileId id = writer.regular(kTreeRoot, "sparse", "");
  writer.tree.file(id).content = std::make_shared<SparseBytes>();
  writer.state(id).size_bytes = SparseBytes::kSize;
  MemoryStream out;
  uint64_t told = 0;
  const LayerTarReport report = value_of(
      write_layer_tar(writer.tree, {.progress = [&](uint64_t done) { told = done; }}, out));
  CHECK(report.content_bytes == SparseBytes::kSize);
  CHECK(told == SparseBytes::kSize);
  CHECK(content_bytes_of(writer.tree) == SparseBytes::kSize);
  CHECK(out.largest_add <= size_t{1} << 20);
  CHECK(out.text.substr(512, SparseBytes::kSize) ==
        std::string(SparseBytes::kSize - 1, '\0') + "!");
}

TEST_CASE("Layer: a socket is told, and hides what is below", "[sinks][layer_tar]") {
  TreeWriter writer;
  writer.add(kTreeRoot, "socket", 0140000 | 0755);
  MemoryStream out;
  const LayerTarReport report = value_of(write_layer_tar(writer.tree, {}, out));
  CHECK(report.sockets == std::vector<std::string>{"socket"});
  CHECK(report.files == 0);
  CHECK(names_of(out.text) == ".wh.socket\n");
}

TEST_CASE("Layer: what it cannot say is refused before a byte is written", "[sinks][layer_tar]") {
  TreeWriter writer;
  const TreeFileId a = writer.directory(kTreeRoot, "a");
  std::string wanted;
  SECTION("a name that is a mark") {
    writer.regular(a, ".wh.name", "");
    wanted = "\"a/.wh.name\": a layer of OCI cannot have a name that begins with";
  }
  SECTION("a deleted name that is a mark") {
    writer.tree.set_mark(a, ".wh.name", TreeMark::kWhiteout);
    wanted = "\"a/.wh.name\": a layer of OCI cannot have a whiteout of a name";
  }
  SECTION("a fallthru") {
    writer.tree.set_mark(a, "name", TreeMark::kFallthru);
    wanted = "\"a/name\": a layer of OCI cannot have a name that shows";
  }
  SECTION("an attribute whose name ends early") {
    writer.state(a).attributes = {{ext2::kXattrIndexUser, "a=b", {}}};
    wanted = "\"user.a=b\"";
  }
  SECTION("an attribute without a name") {
    writer.state(a).attributes = {{99, "x", {}}};
    wanted = "its kind has no name";
  }
  MemoryStream out;
  CHECK(expect_error(write_layer_tar(writer.tree, {}, out), {wanted}) == ErrorKind::kInvalid);
  CHECK(out.text.empty());
}

TEST_CASE("Layer: the locale and the time zone do not matter", "[sinks][layer_tar]") {
  TreeWriter writer;
  writer.regular(kTreeRoot,
                 "stra\xc3\x9f"
                 "e",
                 "utf-8");
  writer.regular(kTreeRoot, "\xff\xfe", "none");
  writer.state(writer.add(kTreeRoot, "link", ext2::kModeSymlink | 0777)).target = "\xe4";
  REQUIRE(std::setlocale(LC_ALL, "C") != nullptr);
  const std::string first = tar_of(writer.tree);
  REQUIRE(std::setlocale(LC_ALL, "C.UTF-8") != nullptr);
  ::setenv("TZ", "Asia/Tokyo", 1);
  const std::string second = tar_of(writer.tree);
  ::unsetenv("TZ");
  std::setlocale(LC_ALL, "C");
  CHECK(first == second);
  CHECK_THAT(first, Catch::Contains("hdrcharset=BINARY"));
}

TEST_CASE("Layer: the error of the stream is the error", "[sinks][layer_tar]") {
  TreeWriter writer;
  writer.regular(kTreeRoot, "large", std::string(3'000'000, 'x'));
  const Compression compression = GENERATE(Compression::kNone, Compression::kGzip);
  MemoryStream out;
  out.limit = compression == Compression::kNone ? 1'000'000 : 100;
  const auto written = write_layer_blob(writer.tree, {}, compression, out);
  CHECK(expect_error(written, {"memory"}) == ErrorKind::kSystem);
  CHECK(written.error().error_number == ENOSPC);
}

TEST_CASE("Layer: what is compressed is the same tar", "[sinks][layer_tar]") {
  TreeWriter writer;
  writer.regular(kTreeRoot, "file", std::string(300'000, 'x') + "end");
  const std::string plain = tar_of(writer.tree);
  const auto [compression, program] = GENERATE(table<Compression, std::string>(
      {{Compression::kGzip, "gzip"}, {Compression::kZstd, "zstd"}}));
  MemoryStream out;
  const LayerBlob blob = value_of(write_layer_blob(writer.tree, {}, compression, out));
  CHECK(blob.size_bytes == out.text.size());
  CHECK(compression_maker(compression).find("level") != std::string::npos);
  const ScratchDirectory scratch;
  write_file(scratch.path() / "blob", out.text);
  const auto digest = [&](const std::string& command) {
    return run({"bash", "-c",
                fmt::format("cd {} && {} | sha256sum", scratch.path().string(), command)})
        .substr(0, 64);
  };
  CHECK(blob.digest == digest("cat blob"));
  CHECK(blob.diff_id == digest(program + " -dc <blob"));
  MemoryStream not_compressed;
  CHECK(value_of(write_layer_blob(writer.tree, {}, Compression::kNone, not_compressed)).digest ==
        blob.diff_id);
  CHECK(not_compressed.text == plain);
  if (compression == Compression::kGzip) {
    // No flags, no time, no system.
    CHECK(out.text.substr(0, 8) == std::string("\x1f\x8b\x08\0\0\0\0\0", 8));
    CHECK(out.text[9] == '\xff');
  }
}
