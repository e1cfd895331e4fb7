// SPDX-License-Identifier: BSD-3-Clause
//
// What would stop the first client, said when the server starts.
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "overlay/service/overlay.h"
#include "overlay/upper/layer_create.h"
#include "tests/unit/support/overlay_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

namespace fs = std::filesystem;

constexpr uint32_t kBlock = 1024;

// The two paths of a server, and how it is started.
struct Start {
  ScratchDirectory scratch;
  OverlayOptions options = [this] {
    OverlayOptions made;
    made.level_paths = {small_image(kBlock).path()};
    made.upper_path = upper();
    made.temporary_directory = scratch.path();
    made.size_bytes = small_merged_size(kBlock);
    made.log = quiet_log();
    return made;
  }();

  fs::path upper() const { return scratch.path() / "upper.img"; }

  Result<std::unique_ptr<Overlay>> prepare(std::optional<Access> access) {
    options.server_access = access;
    return Overlay::prepare(options);
  }
  void serve_once() {
    const auto overlay = value_of(prepare(Access::kReadWrite));
    expect_success(overlay->open(Access::kReadWrite));
    expect_success(overlay->close());
  }
  size_t names() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(scratch.path()), {}));
  }
};

// As long as it lives no file may become longer.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : signal_(::signal(SIGXFSZ, SIG_IGN)) {
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before_) == 0);
    const rlimit limit{bytes, before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, signal_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_ = {};
  void (*signal_)(int);
};

}  // namespace

TEST_CASE("Start: a server that can make its upper leaves no trace of having tried", "[start]") {
  Start start;
  const auto overlay = value_of(start.prepare(Access::kReadWrite));
  CHECK(start.names() == 0);
}

TEST_CASE("Start: a dangling link is no upper", "[start]") {
  Start start;
  fs::create_symlink("nowhere/upper.img", start.upper());
  for (const std::optional<Access> access :
       {std::optional(Access::kReadWrite), std::optional(Access::kReadOnly),
        std::optional<Access>()}) {
    expect_error(start.prepare(access), {"upper.img", "symbolic link"});
  }
}

TEST_CASE("Start: the temporary upper needs a directory", "[start]") {
  Start start;
  start.options.upper_path.clear();
  start.options.temporary_directory = "/nonexistent";
  expect_error(start.prepare(Access::kReadWrite), {"/nonexistent", "cannot create"});
  // Whoever only reads does not need one.
  (void)value_of(start.prepare(Access::kReadOnly));
  (void)value_of(start.prepare(std::nullopt));
}

TEST_CASE("Start: a file that cannot be as long as an upper", "[start]") {
  Start start;
  const FileSizeLimit limit(small_merged_size(kBlock));  // but for its state area
  expect_error(start.prepare(Access::kReadWrite), {"upper.img", "File too large"});
  start.options.upper_path.clear();
  expect_error(start.prepare(Access::kReadWrite), {"temporary upper", "File too large"});
  CHECK(start.names() == 0);
}

TEST_CASE("Start: an upper that cannot grow by reading", "[start]") {
  Start start;
  start.serve_once();
  *start.options.size_bytes *= 2;
  (void)value_of(start.prepare(Access::kReadWrite));
  expect_error(start.prepare(Access::kReadOnly), {"upper.img", "only reads"});
}

namespace {

// Mode of the upper over a lower with this one.
uint32_t mode_over(uint32_t lower_mode, std::optional<uint32_t> asked_for = std::nullopt) {
  Start start;
  const fs::path lower = start.scratch.path() / "lower.img";
  fs::copy_file(start.options.level_paths.front(), lower);
  fs::permissions(lower, static_cast<fs::perms>(lower_mode));
  start.options.level_paths.front() = lower;
  start.options.mode = asked_for;
  start.serve_once();
  return static_cast<uint32_t>(fs::status(start.upper()).permissions());
}

// As long as it lives the process has this one.
class Umask {
 public:
  explicit Umask(mode_t mask) : before_(::umask(mask)) {}
  ~Umask() { ::umask(before_); }
  Umask(const Umask&) = delete;
  Umask& operator=(const Umask&) = delete;

 private:
  mode_t before_;
};

}  // namespace

TEST_CASE("Start: a new upper is no more readable than its lower", "[start]") {
  const Umask umask(022);  // as nbdkit's
  CHECK(mode_over(0600) == 0600);
  CHECK(mode_over(0400) == 0600);
  CHECK(mode_over(0640) == 0640);
  CHECK(mode_over(0644) == 0644);
  CHECK(mode_over(0666) == 0644);
  CHECK(mode_over(0604) == 0604);
  CHECK(mode_over(0600, 0664) == 0664);
  CHECK(mode_over(0644, 0600) == 0600);
}

TEST_CASE("Start: a new file's group may read it only if it is the source's", "[start]") {
  const Umask umask(022);
  const ScratchDirectory scratch;
  const auto make = [&](const char* name, uint32_t mode) {
    write_file(scratch.path() / name, name);
    fs::permissions(scratch.path() / name, static_cast<fs::perms>(mode));
    return value_of(PosixFile::open(scratch.path() / name, FileLock::kShared));
  };
  const auto file = make("file", 0644);
  const auto source = make("source", 0640);
  CHECK(file->mode_for_data_of(*source) == 0640);
  if (::fchown(source->descriptor(), ::geteuid(), 12345) == 0) {
    CHECK(file->mode_for_data_of(*source) == 0600);
    expect_success(make("source", 0644)->set_mode(0646));
    CHECK(file->mode_for_data_of(*source) == 0666);
    file->take_owner_of(*source);
    CHECK(file->mode_for_data_of(*source) == 0646);
  }
}

TEST_CASE("Start: several servers that only read have one upper", "[start]") {
  Start start;
  constexpr uint64_t kSomewhere = 100 * kBlock;
  const bool with_session = GENERATE(false, true);
  {
    const auto overlay = value_of(start.prepare(Access::kReadWrite));
    expect_success(overlay->open(Access::kReadWrite));
    if (with_session) {
      expect_success(overlay->disk().write(kSomewhere, pattern(1, kBlock)));
    } else {
      expect_success(overlay->close());
    }
    // Whoever writes is alone.
    for (const Access access : {Access::kReadOnly, Access::kReadWrite}) {
      expect_error(start.prepare(access), {"upper.img", "in use"});
    }
    expect_error(start.prepare(std::nullopt), {"upper.img", "in use"});
  }
  std::vector<std::unique_ptr<Overlay>> readers;
  for (int number = 0; number < 3; ++number) {
    readers.push_back(value_of(start.prepare(Access::kReadOnly)));
    expect_success(readers.back()->open(Access::kReadOnly));
    const std::vector<std::byte> seen = read_range(readers.back()->disk(), kSomewhere, kBlock);
    CHECK((seen == pattern(1, kBlock)) == with_session);
    expect_error(readers.back()->open(Access::kReadWrite), {"only reads"});
  }
  expect_error(start.prepare(Access::kReadWrite), {"upper.img", "in use"});
  // Where it is not known whether it may write, the lock is a writer's.
  expect_error(start.prepare(std::nullopt), {"upper.img", "in use"});
  readers.clear();
  (void)value_of(start.prepare(Access::kReadWrite));
}

TEST_CASE("Start: one file as lower and as upper", "[start]") {
  Start start;
  start.options.upper_path = start.options.level_paths.front();
  for (const Access access : {Access::kReadOnly, Access::kReadWrite}) {
    expect_error(start.prepare(access), {"as the lower and as the upper"});
  }
}

namespace {

// A server's start over a foreign upper with a file in it.
struct ForeignStart : Start {
  explicit ForeignStart(const std::vector<std::string>& requests = {}) {
    const ScratchDirectory content;
    write_file(content.path() / "above", "above");
    MakeOptions make;
    make.block_size_bytes = kBlock;
    make.content = content.path();
    const RealImage image(4096, make);
    image.change(requests);
    fs::copy_file(image.path(), upper());
    options.size_bytes.reset();
    options.log = [this](const std::string& line) { lines.push_back(line); };
  }
  void set_feature() const {
    std::fstream file(upper(), std::ios::in | std::ios::out | std::ios::binary);
    auto raw = ext2::Superblock{};
    file.seekg(ext2::kSuperblockOffsetBytes);
    file.read(reinterpret_cast<char*>(&raw), sizeof(raw));
    raw.s_feature_incompat = raw.s_feature_incompat | ext2::kIncompatWhiteout;
    file.seekp(ext2::kSuperblockOffsetBytes);
    file.write(reinterpret_cast<const char*>(&raw), sizeof(raw));
  }
  bool says(const std::string& part) const {
    return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) {
      return line.find(part) != std::string::npos;
    });
  }
  static std::string bytes_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::vector<std::string> lines;
};

}  // namespace

TEST_CASE("Start: a base image in the place of the upper stays as it is", "[start]") {
  ForeignStart start;
  const std::string before = start.bytes_of(start.upper());
  for (const std::optional<Access> access :
       {std::optional(Access::kReadWrite), std::optional(Access::kReadOnly),
        std::optional<Access>()}) {
    expect_error(start.prepare(access),
                 {"upper.img", "whiteout feature", "unionfs-img import -b "});
  }
  CHECK(start.bytes_of(start.upper()) == before);
  CHECK(start.names() == 1);
}

TEST_CASE("Start: what an import replaces is kept", "[start]") {
  ForeignStart start;
  start.set_feature();
  const std::string before = start.bytes_of(start.upper());
  fs::permissions(start.upper(), static_cast<fs::perms>(0640));
  const fs::path kept = start.upper().string() + ".before-import";
  SECTION("under its name") {
    start.serve_once();
    CHECK(start.bytes_of(kept) == before);
    CHECK(start.says("upper.img: imported: 2 inodes laid over "));
    CHECK(start.says("kept as " + kept.string()));
    CHECK((fs::status(start.upper()).permissions() == static_cast<fs::perms>(0640)));
    CHECK(start.names() == 2);
  }
  SECTION("or nothing is done") {
    write_file(kept, "another");
    for (int number = 2; number <= 99; ++number) {
      write_file(kept.string() + "." + std::to_string(number), "another");
    }
    expect_error(start.prepare(Access::kReadWrite), {"upper.img", "taken"});
    CHECK(start.bytes_of(start.upper()) == before);
    // Whoever only reads replaces nothing.
    const auto overlay = value_of(start.prepare(Access::kReadOnly));
    expect_success(overlay->open(Access::kReadOnly));
    CHECK(start.bytes_of(start.upper()) == before);
  }
}

TEST_CASE("Start: marks of overlayfs are told", "[start]") {
  SECTION("a whiteout and an attribute") {
    ForeignStart start({"mknod gone c 0 0", "ea_set above trusted.overlay.origin x"});
    start.set_feature();
    (void)value_of(start.prepare(Access::kReadWrite));
    CHECK(start.says("inode 13 is a character device 0/0"));
    CHECK(start.says("inode 12 has an attribute that begins with trusted.overlay."));
  }
  SECTION("a user's attribute") {
    ForeignStart start({"mknod null c 1 3", "ea_set above user.overlay.opaque y"});
    start.set_feature();
    (void)value_of(start.prepare(Access::kReadWrite));
    CHECK_FALSE(start.says("character device"));
    CHECK(start.says("inode 12 has an attribute that begins with user.overlay."));
  }
  SECTION("none") {
    ForeignStart start({"mknod null c 1 3", "ea_set above user.overlays y"});
    start.set_feature();
    (void)value_of(start.prepare(Access::kReadWrite));
    CHECK(start.lines.empty());
  }
}

TEST_CASE("Start: the space that is asked for is enough for a new upper", "[start]") {
  for (const uint32_t block_size : {1024U, 4096U}) {
    const Lower lower(small_image(block_size));
    const Geometry geometry =
        value_of(Geometry::grow(lower.volume, 4 * small_merged_size(block_size)));
    const LayerNeeds needs = value_of(layer_needs(lower.volume, geometry));
    const ScratchDirectory scratch;
    const auto file = value_of(PosixFile::create_temporary(scratch.path()));
    expect_success(create_layer(*file, lower.volume, geometry));
    CHECK(file->size_bytes() == needs.length_bytes);
    struct stat status;
    REQUIRE(::fstat(file->descriptor(), &status) == 0);
    CHECK(static_cast<uint64_t>(status.st_blocks) * 512 <= needs.space_bytes);
  }
}
