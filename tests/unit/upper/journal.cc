// SPDX-License-Identifier: BSD-3-Clause
//
// The journal of a checkpoint: numbers that no writer makes, holes, and whether
// bringing it home can lack space.
#include <algorithm>
#include <functional>

#include "overlay/upper/journal.h"
#include "overlay/upper/journal_reader.h"
#include "overlay/upper/upper_state.h"
#include "tests/unit/session/session_bench.h"
#include "tests/unit/support/old_version.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

namespace format = upper_format;

constexpr uint32_t kBlock = 1024;

// An upper with a committed journal that is not home.  It writes a stretch of free
// blocks, among them a hole, and the copies of the first fixed blocks; it punches
// the sections of the session, and those copies with them.
struct Journaled {
  explicit Journaled(bool can_allocate = true) {
    upper->abilities().allocate = can_allocate;
    const auto disk = load_disk(lower, *upper);
    area = disk->state_area();
    StateArea next = area;
    ++next.session_number;
    StagedFile stage(*upper);
    place = (disk->geometry().merged().block_count - 64) * kBlock;
    expect_success(stage.write(place, bytes));
    expect_success(stage.write(area.fixed_blocks.offset + kBlock, bytes));
    const JournalPlan plan{
        stage,
        {area.translated_blocks, area.live_bitmap, area.durable_bitmap, area.fixed_blocks},
        next.end(),
        encode_header(next)};
    journal = value_of(write_journal(*upper, plan));
    expect_success(commit_journal(*upper, area, journal));
  }

  format::JournalHead head() const { return upper->get<format::JournalHead>(journal.offset); }
  uint64_t punch_place(uint32_t index) const {
    return journal.offset + sizeof(format::JournalHead) + index * sizeof(format::JournalRun);
  }
  uint64_t run_place(uint32_t index) const {
    uint64_t at = punch_place(head().punch_count);
    for (uint32_t i = 0; i < index; ++i) {
      at += sizeof(format::JournalRun) + upper->get<format::JournalRun>(at).length;
    }
    return at;
  }
  // Puts a right checksum over what was changed.
  void sign() {
    format::JournalHead signed_head = head();
    signed_head.checksum = uint64_t{0};
    upper->put(journal.offset, signed_head);
    std::vector<std::byte> all(journal.length);
    expect_success(upper->peek(journal.offset, all));
    signed_head.checksum = XXH3_64bits(all.data(), all.size());
    upper->put(journal.offset, signed_head);
  }

  const Lower& lower = BenchImages::of(kBlock).lower();
  std::unique_ptr<MemoryFile> upper = BenchImages::of(kBlock).upper();
  const std::vector<std::byte> bytes = pattern(1, size_t{40} * kBlock);
  uint64_t place = 0;  // of `bytes`, after the journal is home
  StateArea area;
  FileRange journal;
};

struct BadNumber {
  const char* name;
  std::function<void(Journaled&)> change;
};

void change_head(Journaled& journaled, const std::function<void(format::JournalHead&)>& change) {
  format::JournalHead head = journaled.head();
  change(head);
  journaled.upper->put(journaled.journal.offset, head);
}

void change_range(Journaled& journaled, uint64_t at,
                  const std::function<void(format::JournalRun&)>& change) {
  auto range = journaled.upper->get<format::JournalRun>(at);
  change(range);
  journaled.upper->put(at, range);
}

BadNumber bad_head(const char* name, std::function<void(format::JournalHead&)> change) {
  return {name, [change](Journaled& j) { change_head(j, change); }};
}

BadNumber bad_run(const char* name, std::function<void(format::JournalRun&)> change) {
  return {name, [change](Journaled& j) { change_range(j, j.run_place(1), change); }};
}

BadNumber bad_punch(const char* name, std::function<void(format::JournalRun&)> change) {
  return {name, [change](Journaled& j) { change_range(j, j.punch_place(1), change); }};
}

// The host has no space left from the first punch on: somebody else takes what is given back.
class GreedyHost final : public ForwardingFile {
 public:
  explicit GreedyHost(MemoryFile& file) : ForwardingFile(file), memory_(file) {}

  Result<void> punch(uint64_t offset, uint64_t length) override {
    Result<void> punched = file_.punch(offset, length);
    memory_.set_free_pages(0);
    ++punches;
    return punched;
  }

  uint64_t punches = 0;

 private:
  MemoryFile& memory_;
};

// A file that goes on as a hole.
class LongFile final : public ForwardingFile {
 public:
  LongFile(WritableFile& file, uint64_t size_bytes)
      : ForwardingFile(file), size_bytes_(size_bytes) {}

  uint64_t size_bytes() const override { return size_bytes_; }
  FileExtent extent_at(uint64_t offset) const override {
    return offset < file_.size_bytes() ? file_.extent_at(offset) : FileExtent{true, size_bytes_};
  }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override {
    read_bytes += buffer.size();
    std::fill(buffer.begin(), buffer.end(), std::byte{0});
    const uint64_t end = file_.size_bytes();
    return offset < end
               ? file_.read(offset, buffer.first(std::min<uint64_t>(end - offset, buffer.size())))
               : Result<void>();
  }

  mutable uint64_t read_bytes = 0;

 private:
  uint64_t size_bytes_;
};

}  // namespace

TEST_CASE("Journal: who may not write reads it where it lies", "[journal]") {
  Journaled journaled;
  const UpperState state = value_of(read_upper_state(*journaled.upper));
  REQUIRE(state.has_journal());
  CHECK(state.stage->pages().size() == 1);  // the header
  std::vector<std::byte> found(journaled.bytes.size());
  expect_success(state.file->read(journaled.place, found));
  CHECK(found == journaled.bytes);
  expect_success(replay_journal(*journaled.upper, journaled.area));
  expect_success(journaled.upper->peek(journaled.place, found));
  CHECK(found == journaled.bytes);
  expect_success(journaled.upper->peek(journaled.area.fixed_blocks.offset + kBlock, found));
  CHECK(found == journaled.bytes);
}

TEST_CASE("Journal: numbers that no writer makes are refused", "[journal]") {
  const BadNumber cases[] = {
      bad_head("runs", [](auto& h) { h.run_count = UINT32_MAX; }),
      bad_head("a run more", [](auto& h) { h.run_count = h.run_count + 1; }),
      bad_head("punches", [](auto& h) { h.punch_count = UINT32_MAX; }),
      bad_head("no file left", [](auto& h) { h.file_size = uint64_t{0}; }),
      bad_head("file size", [](auto& h) { h.file_size = UINT64_MAX; }),
      bad_head("the journal stays", [](auto& h) { h.file_size = h.file_size + (1U << 30); }),
      bad_head("another journal", [](auto& h) { h.header.journal = h.header.layer_tables; }),
      bad_head("last section", [](auto& h) { h.header.lower_records.length = UINT64_MAX; }),
      bad_run("empty run", [](auto& r) { r.length = uint64_t{0}; }),
      bad_run("long run", [](auto& r) { r.length = UINT64_MAX; }),
      bad_run("run beyond", [](auto& r) { r.offset = UINT64_MAX - 1000; }),
      bad_run("run over the journal", [](auto& r) { r.offset = r.offset + (1U << 30); }),
      bad_run("runs descend", [](auto& r) { r.offset = uint64_t{1024}; }),
      bad_punch("empty punch", [](auto& r) { r.length = uint64_t{0}; }),
      bad_punch("punch beyond", [](auto& r) { r.length = UINT64_MAX; }),
      bad_punch("punch behind", [](auto& r) { r.offset = UINT64_MAX; }),
      {"punched twice",
       [](Journaled& j) {
         j.upper->put(j.punch_place(1), j.upper->get<format::JournalRun>(j.punch_place(0)));
       }},
  };
  for (const BadNumber& bad : cases) {
    INFO(bad.name);
    Journaled journaled;
    bad.change(journaled);
    journaled.sign();
    CHECK(expect_error(read_upper_state(*journaled.upper),
                       {"upper.img: state area: the journal"}) == ErrorKind::kCorrupt);
    CHECK_FALSE(replay_journal(*journaled.upper, journaled.area));
  }
}

// No program of ours punches what its new layer has; such a journal shows one thing all the same.
TEST_CASE("Journal: what it punches reads as zeros before it is home, too", "[journal]") {
  Journaled journaled;
  const uint64_t place = journaled.place - 2 * uint64_t{kBlock};
  journaled.upper->poke(place, pattern(2, kBlock));
  change_range(journaled, journaled.punch_place(1), [&](format::JournalRun& punch) {
    punch.offset = place;
    punch.length = uint64_t{kBlock};
  });
  journaled.sign();
  std::vector<std::byte> before(journaled.bytes.size() + 2 * kBlock);
  std::vector<std::byte> after(before.size());
  {
    const UpperState state = value_of(read_upper_state(*journaled.upper));
    REQUIRE(state.has_journal());
    expect_success(state.file->read(place, before));
  }
  expect_success(replay_journal(*journaled.upper, journaled.area));
  expect_success(journaled.upper->peek(place, after));
  CHECK(all_zeros(ConstByteSpan(after).first(kBlock)));
  CHECK(before == after);
}

TEST_CASE("Journal: a long hole is not read", "[journal]") {
  Journaled journaled;
  const uint64_t length = uint64_t{64} << 30;
  LongFile file(*journaled.upper, journaled.journal.offset + length);
  StateArea area = journaled.area;
  area.journal.length = length;
  CHECK(expect_error(JournalReader::open(file, area), {"upper.img", "hole of"}) ==
        ErrorKind::kCorrupt);
  CHECK(file.read_bytes < 4 * kMebibyte);
}

TEST_CASE("Journal: once committed it needs no space", "[journal]") {
  for (const bool can_allocate : {true, false}) {
    INFO("the host can allocate: " << can_allocate);
    Journaled journaled(can_allocate);
    const uint64_t allocated = journaled.upper->allocated_bytes();
    GreedyHost host(*journaled.upper);
    expect_success(replay_journal(host, journaled.area));
    CHECK(host.punches > 0);
    CHECK(journaled.upper->allocated_bytes() < allocated);
    std::vector<std::byte> found(journaled.bytes.size());
    expect_success(journaled.upper->peek(journaled.place, found));
    CHECK(found == journaled.bytes);
  }
}

TEST_CASE("Journal: growing needs no space once it is committed", "[journal]") {
  for (const bool can_allocate : {true, false}) {
    INFO("the host can allocate: " << can_allocate);
    const BenchImages& images = BenchImages::of(kBlock);
    const auto upper = images.upper();
    upper->abilities().allocate = can_allocate;
    GreedyHost host(*upper);
    const auto disk = load_disk(images.lower(), host);
    const Geometry larger =
        value_of(Geometry::grow(images.lower().volume, disk->geometry().size_bytes() * 2));
    expect_success(disk->grow(larger));
    CHECK(host.punches > 0);
    const auto grown = load_disk(images.lower(), *upper);
    CHECK_FALSE(grown->has_journal());
    CHECK(grown->geometry().size_bytes() == larger.size_bytes());
  }
}
