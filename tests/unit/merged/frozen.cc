// SPDX-License-Identifier: BSD-3-Clause
//
// Frozen levels and void uppers: bytes against a model through many snapshots, and checkpoints
// that take the frozen sessions over.
#include <catch2/catch.hpp>

#include <algorithm>
#include <map>
#include <random>

#include "overlay/check/upper_check.h"
#include "overlay/service/overlay.h"
#include "overlay/stack/freeze.h"
#include "overlay/stack/snapshot.h"
#include "overlay/stack/taken_sessions.h"
#include "tests/unit/checkpoint/checkpoint_bench.h"
#include "tests/unit/support/image_facts.h"
#include "tests/unit/support/overlay_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint32_t kBlock = 1024;

// An upper that is served now and then, in a directory of its own.
class Served {
 public:
  Served() {
    std::filesystem::copy_file(small_image(kBlock).path(), place("base.img"));
    serve("upper.img");
  }

  std::string place(const std::string& name) const { return scratch_.path() / name; }
  LevelPaths levels() const { return {place("base.img")}; }
  Disk& disk() { return overlay_->disk(); }
  Overlay& overlay() { return *overlay_; }

  // A server of this upper, whose levels are found by name.
  void serve(const std::string& upper) {
    overlay_.reset();
    OverlayOptions options;
    options.level_paths = levels();
    options.upper_path = place(upper);
    options.log = quiet_log();
    if (!std::filesystem::exists(place(upper))) {
      options.size_bytes = small_merged_size(kBlock);
    }
    overlay_ = value_of(Overlay::prepare(options));
    expect_success(overlay_->open(Access::kReadWrite));
  }
  void stop() {
    expect_success(overlay_->close());
    overlay_.reset();
  }
  // As a kill does: nothing is flushed.
  void kill() { overlay_.reset(); }

  Result<void> snapshot(const std::string& name) {
    return take_snapshot(levels(), place("upper.img"), name, quiet_log());
  }
  std::vector<std::byte> shown(const std::string& upper) {
    serve(upper);
    std::vector<std::byte> bytes = read_all(disk());
    overlay_.reset();
    return bytes;
  }
  // What a frozen level shows, sessions and all.
  std::vector<std::byte> frozen(const LevelPaths& names) const {
    LevelPaths paths = levels();
    for (const std::string& name : names) {
      paths.push_back(place(name));
    }
    const auto chain = value_of(Chain::open(paths, FileLock::kNone, quiet_log()));
    std::vector<std::byte> bytes(chain->frozen_view()->size_bytes());
    expect_success(chain->frozen_view()->read(0, bytes));
    return bytes;
  }

 private:
  const ScratchDirectory scratch_;
  std::unique_ptr<Overlay> overlay_;
};

// Writes, zeros and trims, in a model as well.
void change_both(Disk& disk, std::vector<std::byte>& model, std::mt19937_64& random) {
  for (int i = 0; i < 30; ++i) {
    const uint64_t offset = random() % model.size();
    const uint64_t length = 1 + random() % std::min<uint64_t>(20'000, model.size() - offset);
    const auto begin = model.begin() + static_cast<ptrdiff_t>(offset);
    if (random() % 4 == 0) {
      ZeroOptions options;
      options.may_trim = random() % 2 == 0;
      expect_success(disk.zero(offset, length, options));
      std::fill(begin, begin + static_cast<ptrdiff_t>(length), std::byte{0});
    } else {
      const std::vector<std::byte> bytes = pattern(random(), length);
      expect_success(disk.write(offset, bytes));
      std::copy(bytes.begin(), bytes.end(), begin);
    }
  }
}

}  // namespace

TEST_CASE("Frozen: the bytes of each snapshot stay", "[frozen]") {
  Served served;
  std::mt19937_64 random(7);
  std::vector<std::byte> model = read_all(served.disk());
  std::map<std::string, std::vector<std::byte>> kept;
  LevelPaths names;
  for (int number = 1; number <= 12; ++number) {
    INFO("snapshot " << number);
    change_both(served.disk(), model, random);
    REQUIRE(read_all(served.disk()) == model);
    number % 3 == 0 ? served.kill() : served.stop();
    names.push_back("snapshot-" + std::to_string(number));
    expect_success(served.snapshot(names.back()));
    kept[names.back()] = model;
    served.serve("upper.img");
    CHECK(read_all(served.disk()) == model);
    CHECK(served.disk().is_void());
  }
  served.kill();
  for (size_t count = 1; count <= names.size(); ++count) {
    INFO("snapshot " << count);
    CHECK(served.frozen({names.begin(), names.begin() + static_cast<ptrdiff_t>(count)}) ==
          kept[names[count - 1]]);
  }
}

// What a kill leaves at each step.
TEST_CASE("Frozen: a snapshot that was cut off goes on", "[frozen]") {
  Served served;
  std::mt19937_64 random(9);
  std::vector<std::byte> model = read_all(served.disk());
  change_both(served.disk(), model, random);
  served.stop();
  const std::string upper = served.place("upper.img");
  std::filesystem::create_hard_link(upper, served.place("frozen.img"));
  SECTION("with its second name") {}
  SECTION("frozen, with both names") {
    const auto chain = value_of(Chain::open(served.levels(), FileLock::kShared, quiet_log()));
    const auto file = value_of(PosixFile::open(upper, FileLock::kExclusive));
    expect_success(file->make_writable());
    expect_success(freeze_upper(chain->top(), nullptr, *file, quiet_log()));
  }
  expect_error(served.snapshot("other.img"), {"upper.img"});
  CHECK_FALSE(std::filesystem::exists(served.place("other.img")));
  expect_success(served.snapshot("frozen.img"));
  CHECK(served.shown("upper.img") == model);
  CHECK(served.frozen({"frozen.img"}) == model);
}

TEST_CASE("Frozen: two uppers over one level are two disks", "[frozen]") {
  Served served;
  std::mt19937_64 random(8);
  std::vector<std::byte> first = read_all(served.disk());
  change_both(served.disk(), first, random);
  served.stop();
  expect_success(served.snapshot("frozen.img"));
  std::vector<std::byte> second = first;

  OverlayOptions options;
  options.level_paths = {served.place("base.img"), served.place("frozen.img")};
  options.upper_path = served.place("fork.img");
  options.log = quiet_log();
  const auto fork = value_of(Overlay::prepare(options));
  expect_success(fork->open(Access::kReadWrite));
  served.serve("upper.img");
  change_both(served.disk(), first, random);
  change_both(fork->disk(), second, random);
  CHECK(read_all(served.disk()) == first);
  CHECK(read_all(fork->disk()) == second);

  options.size_bytes = uint64_t{64} << 20;
  options.upper_path = served.place("larger.img");
  expect_error(Overlay::prepare(options), {"frozen.img", "an upper over it has the same"});
}

TEST_CASE("Frozen: a checkpoint takes the sessions over and shortens the chain", "[frozen]") {
  Served served;
  const auto apply = [&](const std::vector<std::string>& requests) {
    write_differences(served.disk(), changed_by_debugfs(served.disk(), requests));
    const Facts facts = facts_of(read_all(served.disk()));
    served.stop();
    return facts;
  };
  (void)apply({"write @/small /one", "rm /small"});
  const bool has_layer = GENERATE(false, true);
  if (has_layer) {
    served.serve("upper.img");
    REQUIRE(served.overlay().checkpoint(AskedBy::kPerson).has_value());
    served.serve("upper.img");
    (void)apply({"mkdir /in-the-session", "write @/large /in-the-session/file"});
  }
  expect_success(served.snapshot("monday"));
  served.serve("upper.img");
  (void)apply({"write @/large /two", "rm /one"});
  expect_success(served.snapshot("tuesday"));
  served.serve("upper.img");
  const Facts wanted = apply({"write @/small /three", "mkdir /made"});

  served.serve("upper.img");
  REQUIRE(served.overlay().checkpoint(AskedBy::kPerson).has_value());
  served.kill();
  const std::vector<std::byte> now = served.shown("upper.img");
  CHECK(difference(wanted, facts_of(now)).empty());
  // It stands on monday's layer, so tuesday is needed no more.
  std::filesystem::remove(served.place("tuesday"));
  CHECK(served.shown("upper.img") == now);
  const auto report = value_of(
      check_upper(served.levels(), served.place("upper.img"), CheckPurpose::kLook, quiet_log()));
  CHECK(report.left.empty());
  std::filesystem::remove(served.place("monday"));
  expect_error(check_upper(served.levels(), served.place("upper.img"), CheckPurpose::kLook, {}),
               {"upper.img", "the layer of the frozen level \"monday\"", "missing"});
}

TEST_CASE("Frozen: the sessions are shown as taken over, without a copy", "[frozen]") {
  Served served;
  const auto apply = [&](const std::vector<std::string>& requests) {
    write_differences(served.disk(), changed_by_debugfs(served.disk(), requests));
    const Facts facts = facts_of(read_all(served.disk()));
    served.stop();
    return facts;
  };
  (void)apply({"write @/small /one", "rm /small"});
  expect_success(served.snapshot("monday"));
  served.serve("upper.img");
  (void)apply({"write @/large /two", "rm /one"});
  expect_success(served.snapshot("tuesday"));
  served.serve("upper.img");
  const Facts wanted = apply({"write @/small /three", "mkdir /made"});

  const auto chain = value_of(
      Chain::open_below(served.levels(), served.place("upper.img"), FileLock::kNone, quiet_log()));
  const auto file = value_of(PosixFile::open(served.place("upper.img"), FileLock::kNone));
  const auto disk = value_of(
      Disk::load(chain->top(), *file, kBootId, quiet_log(), steady_clock(), chain->frozen_view()));
  expect_success(disk->attach(Access::kReadOnly));
  REQUIRE(disk->is_void());
  const auto taken = value_of(TakenSessions::make(*disk, *file));
  const auto layered = value_of(Disk::load(chain->top(), *taken, kBootId, quiet_log()));
  expect_success(layered->attach(Access::kReadOnly));
  CHECK_FALSE(layered->is_void());
  CHECK((read_all(*layered) == read_all(*disk)));
  const auto next = value_of(layered->next_layer());
  std::vector<std::byte> shown(disk->view().size_bytes());
  expect_success(next->merged().image().read(0, shown));
  CHECK(difference(wanted, facts_of(shown)).empty());
  // In pieces of any size, also over the borders of what is taken.
  std::vector<std::byte> whole(taken->size_bytes());
  expect_success(taken->read(0, whole));
  std::mt19937_64 random(4);
  for (int i = 0; i < 200; ++i) {
    const uint64_t offset = random() % whole.size();
    std::vector<std::byte> piece(1 + random() % std::min<uint64_t>(9000, whole.size() - offset));
    expect_success(taken->read(offset, piece));
    REQUIRE(std::equal(piece.begin(), piece.end(), whole.begin() + static_cast<ptrdiff_t>(offset)));
  }
  expect_error(taken->write(0, whole), {"upper.img", "only looked at"});
  expect_error(layered->attach(Access::kReadWrite), {"upper.img"});
}

TEST_CASE("Frozen: what cannot be told of a void upper is said", "[frozen]") {
  Served served;
  served.stop();
  expect_success(served.snapshot("frozen.img"));
  const std::string upper = served.place("upper.img");
  CHECK(value_of(check_upper(served.levels(), upper, CheckPurpose::kLook, quiet_log())).is_void);
  served.serve("upper.img");
  const Geometry larger =
      value_of(Geometry::grow(served.overlay().chain().volume(), 2 * small_merged_size(kBlock)));
  expect_error(served.disk().grow(larger), {"upper.img", "no layer of its own"});
  served.stop();

  // A frozen file is no upper, and a name is a name in the same directory.
  const auto refused = [&](const std::string& name, std::initializer_list<std::string> parts) {
    expect_error(served.snapshot(name), parts);
  };
  refused("frozen.img", {"frozen.img", "exists already"});
  refused("a/b", {"\"a/b\"", "file name without a directory"});
  refused(".hidden", {"\".hidden\"", "no dot"});
  refused(std::string(181, 'n'), {"at most 180"});
  OverlayOptions options;
  options.level_paths = served.levels();
  options.upper_path = served.place("frozen.img");
  options.log = quiet_log();
  options.server_access = Access::kReadWrite;
  expect_error(Overlay::prepare(options), {"frozen.img", "is a frozen level"});
  // An upper that stood on another freeze of the same bytes is another one.
  std::filesystem::copy_file(served.place("frozen.img"), served.place("twin.img"));
  options.level_paths = {served.place("base.img"), served.place("twin.img")};
  options.upper_path = upper;
  value_of(Overlay::prepare(options));  // the id is the file's
}
