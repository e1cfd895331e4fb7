// SPDX-License-Identifier: BSD-3-Clause
//
// Looks at an upper that somebody else changes between the reads.
#include "overlay/look/look.h"

#include <catch2/catch.hpp>

#include "overlay/upper/upper_facts.h"
#include "tests/unit/support/overlay_fixture.h"

namespace unionfs {
namespace {

using namespace unionfs::testing;

constexpr uint32_t kBlock = 1024;

// Calls a function before each read.
class WatchedFile final : public ForwardingFile {
 public:
  WatchedFile(WritableFile& file, std::function<void()> before_read)
      : ForwardingFile(file), before_read_(std::move(before_read)) {}

  Result<void> read(uint64_t offset, ByteSpan buffer) const override {
    before_read_();
    return ForwardingFile::read(offset, buffer);
  }
  size_t read_cached(uint64_t, ByteSpan) const override { return 0; }

 private:
  std::function<void()> before_read_;
};

// An upper that is looked at, and what its server does meanwhile.
struct Looked {
  Looked() : lower(small_image(kBlock)), upper(make_upper(lower, small_merged_size(kBlock))) {}

  UpperPlace place() {
    return {upper->name(),
            [this]() -> Result<std::unique_ptr<WritableFile>> {
              ++looks;
              return std::unique_ptr<WritableFile>(
                  std::make_unique<WatchedFile>(*upper, [this] { before_read(); }));
            },
            [this](const WritableFile&) { return is_there; }};
  }
  Result<uint64_t> look(LookNeeds needs = LookNeeds::kSameLayer) {
    return look_for<uint64_t>(
        place(),
        [this](WritableFile& file) -> Result<uint64_t> {
          UNIONFS_ASSIGN(const UpperFacts facts, read_upper_facts(file));
          during_look();
          return facts.area.session_number;
        },
        needs);
  }
  // A header as a server writes it, with this change.
  void write_header(const std::function<void(StateArea&)>& change) {
    const auto superblock = value_of(Superblock::read(*upper, SuperblockUse::kUpper));
    const auto mark = value_of(required_mark_of(upper->name(), superblock.raw()));
    StateArea area = value_of(read_state_area(*upper, mark));
    change(area);
    expect_success(write_state_header(*upper, area));
  }
  void raise_session() {
    write_header([](StateArea& area) { ++area.session_number; });
  }
  // A client writes and goes, and a checkpoint follows.
  void serve_once() {
    const BlockNumber block(small_merged_size(kBlock) / kBlock - 20);
    {
      const auto disk = open_disk(lower, *upper);
      expect_success(disk->write(block.value() * kBlock, pattern(++written, kBlock)));
      expect_success(disk->close());
      static const std::atomic<bool> is_cancelled{false};
      (void)value_of(disk->checkpoint(AskedBy::kServer, is_cancelled));
    }
  }

  Lower lower;
  std::unique_ptr<MemoryFile> upper;
  std::function<void()> before_read = [] {};
  std::function<void()> during_look = [] {};
  bool is_there = true;
  int looks = 0;
  uint64_t written = 0;
};

TEST_CASE("Look: one look is enough where nothing changes", "[look]") {
  Looked looked;
  CHECK(value_of(looked.look()) == 1);
  CHECK(looked.looks == 1);
  const auto failed = look_for<int>(
      looked.place(), [](WritableFile&) -> Result<int> { return corrupt("it is damaged"); });
  REQUIRE_FALSE(failed);
  CHECK(failed.error().message == "it is damaged");
  CHECK(looked.looks == 2);
}

TEST_CASE("Look: a client that comes disturbs only who needs that there is none", "[look]") {
  Looked looked;
  looked.during_look = [&] {
    if (looked.looks == 1) {
      looked.write_header([](StateArea&) {});
    }
  };
  CHECK(value_of(looked.look()) == 1);
  CHECK(looked.looks == 1);
  looked.looks = 0;
  CHECK(value_of(looked.look(LookNeeds::kNoClient)) == 1);
  CHECK(looked.looks == 2);
}

TEST_CASE("Look: a layer that became another one is looked at again", "[look]") {
  for (int changes = 1; changes < kMaxLooks; ++changes) {
    CAPTURE(changes);
    Looked looked;
    looked.during_look = [&] {
      if (looked.looks <= changes) {
        looked.raise_session();
      }
    };
    CHECK(value_of(looked.look()) == 1 + static_cast<uint64_t>(changes));
    CHECK(looked.looks == changes + 1);
  }
}

TEST_CASE("Look: it gives up when the layer changes again and again", "[look]") {
  Looked looked;
  looked.during_look = [&] { looked.raise_session(); };
  const auto seen = looked.look();
  REQUIRE_FALSE(seen);
  CHECK(seen.error().error_number == EAGAIN);
  CHECK(seen.error().message.find("upper.img: is being checkpointed") == 0);
  CHECK(looked.looks == kMaxLooks);
}

TEST_CASE("Look: a file that was replaced is opened again", "[look]") {
  Looked looked;
  looked.is_there = false;
  looked.during_look = [&] { looked.is_there = looked.looks == 3; };
  (void)value_of(looked.look());
  CHECK(looked.looks == 3);
}

TEST_CASE("Look: clients that come and go do not matter", "[look]") {
  Looked looked;
  looked.during_look = [&] {
    looked.write_header([](StateArea& area) { area.flags ^= upper_format::kFlagInUse; });
  };
  (void)value_of(looked.look());
  CHECK(looked.looks == 1);
}

TEST_CASE("Look: damage counts if it stays", "[look]") {
  Looked looked;
  const auto sound = looked.upper->clone();
  looked.upper->put(ext2::kSuperblockOffsetBytes + offsetof(ext2::Superblock, s_magic),
                    uint16_t{7});
  const auto damaged = looked.look();
  REQUIRE_FALSE(damaged);
  CHECK(damaged.error().kind == ErrorKind::kCorrupt);
  CHECK(looked.looks == 1);
  // Torn only as long as somebody writes it.
  looked.looks = 0;
  const auto mended = look_for<int>(looked.place(), [&](WritableFile&) -> Result<int> {
    if (looked.looks == 1) {
      std::vector<std::byte> bytes(ext2::kSuperblockSizeBytes);
      expect_success(sound->peek(ext2::kSuperblockOffsetBytes, bytes));
      looked.upper->poke(ext2::kSuperblockOffsetBytes, bytes);
      return corrupt("it is damaged");
    }
    return 1;
  });
  REQUIRE(mended);
  CHECK(*mended == 1);
  CHECK(looked.looks == 2);
}

TEST_CASE("Look: what a checkpoint at any moment leaves is one of two layers", "[look]") {
  uint64_t read_count = 0;
  {
    Looked looked;
    looked.before_read = [&] { ++read_count; };
    (void)value_of(looked.look());
  }
  REQUIRE(read_count > 10);
  const uint64_t step = std::max<uint64_t>(read_count / 40, 1);
  for (uint64_t at = 1; at <= read_count; at += step) {
    CAPTURE(at, read_count);
    Looked looked;
    uint64_t reads = 0;
    looked.before_read = [&] {
      if (++reads == at) {
        looked.serve_once();
      }
    };
    const uint64_t session = value_of(looked.look());
    CHECK((session == 1 || session == 2));
    CHECK(looked.looks <= 2);
    // Whatever was seen in the end was seen of one moment.
    looked.before_read = [] {};
    CHECK(value_of(looked.look()) == 2);
  }
}

}  // namespace
}  // namespace unionfs
