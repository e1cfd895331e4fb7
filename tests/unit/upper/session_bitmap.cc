// SPDX-License-Identifier: BSD-3-Clause
//
// The session bitmap by itself.
#include <signal.h>
#include <ucontext.h>

#include <algorithm>
#include <random>

#include "fsparse/bitmap.h"
#include "overlay/upper/session_bitmap.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/test_files.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint64_t kPages = 4;
constexpr uint64_t kBlocksPerPage = 32768;
constexpr uint64_t kBlocks = kPages * kBlocksPerPage;
constexpr FileRange kDurable = {4096, kPages * 4096};
constexpr FileRange kLive = {4096 * (1 + kPages), kPages * 4096};

std::unique_ptr<MemoryFile> make_file(bool overwrites_in_place = true) {
  auto file = std::make_unique<MemoryFile>("upper.img", 1 << 20);
  file->abilities().overwrites_in_place = overwrites_in_place;
  expect_success(file->resize(1 << 20));
  return file;
}

std::unique_ptr<SessionBitmap> open_bitmap(WritableFile& file, bool live_is_current = false) {
  return value_of(SessionBitmap::open_for_writing(file, kLive, kDurable, live_is_current));
}

void touch(SessionBitmap& bitmap, uint64_t begin, uint64_t end) {
  expect_success(bitmap.reserve(BlockNumber(begin), BlockNumber(end)));
  expect_success(bitmap.set(BlockNumber(begin), BlockNumber(end)));
}

}  // namespace

TEST_CASE("Session bitmap: runs against a model", "[session_bitmap]") {
  const auto file = make_file();
  const auto bitmap = open_bitmap(*file);
  CHECK(bitmap->is_empty());
  std::vector<bool> model(kBlocks);
  std::mt19937_64 random(1);
  const auto check_run = [&](uint64_t begin, uint64_t end) {
    const auto run = bitmap->run_at(BlockNumber(begin), BlockNumber(end));
    const auto first = model.begin() + static_cast<ptrdiff_t>(begin);
    const auto wanted = std::find(first, model.begin() + static_cast<ptrdiff_t>(end), !*first);
    return run.is_set == *first && run.end.value() == static_cast<uint64_t>(wanted - model.begin());
  };
  CHECK(check_run(0, kBlocks));
  for (int i = 0; i < 200; ++i) {
    const uint64_t begin = random() % kBlocks;
    const uint64_t length = 1 + random() % (random() % 8 == 0 ? 40000 : 200);
    const uint64_t end = std::min(kBlocks, begin + length);
    if (i > 20 && begin / kBlocksPerPage == 2) {
      continue;  // page 2 stays thin
    }
    touch(*bitmap, begin, end);
    std::fill(model.begin() + static_cast<ptrdiff_t>(begin),
              model.begin() + static_cast<ptrdiff_t>(end), true);
    uint64_t wrong = 0;
    for (int probe = 0; probe < 200; ++probe) {
      const uint64_t at = random() % kBlocks;
      const uint64_t limit = at + 1 + random() % (kBlocks - at);
      wrong += check_run(at, limit) && bitmap->test(BlockNumber(at)) == model[at] ? 0 : 1;
    }
    CHECK(wrong == 0);
  }
  CHECK_FALSE(bitmap->is_empty());
  CHECK_FALSE(file->has_store_without_space());
}

TEST_CASE("Session bitmap: only pages that gained bits are dirty", "[session_bitmap]") {
  const auto file = make_file(GENERATE(true, false));
  const auto bitmap = open_bitmap(*file);
  CHECK(bitmap->take_dirty().empty());
  touch(*bitmap, 5, 6);
  touch(*bitmap, kBlocksPerPage * 3 - 1, kBlocksPerPage * 3 + 1);
  auto pages = bitmap->take_dirty();
  REQUIRE(pages.size() == 3);
  CHECK(pages[0].index == 0);
  CHECK(pages[1].index == 2);
  CHECK(pages[2].index == 3);
  CHECK(test_bit(pages[0].bytes, 5));
  CHECK(test_bit(pages[1].bytes, kBlocksPerPage - 1));
  CHECK(test_bit(pages[2].bytes, 0));
  CHECK(bitmap->take_dirty().empty());
  touch(*bitmap, 5, 6);  // nothing new
  CHECK(bitmap->take_dirty().empty());
  bitmap->put_back(pages);
  CHECK(bitmap->take_dirty().size() == 3);
  expect_success(bitmap->write_durable(pages));

  // The next boot starts from the durable bits, this one from the live ones.
  touch(*bitmap, 100, 101);
  const auto later = file->clone();
  const auto durable = open_bitmap(*later);
  CHECK(durable->test(BlockNumber(5)));
  CHECK_FALSE(durable->test(BlockNumber(100)));
  CHECK(durable->take_dirty().empty());
  const auto same = file->clone();
  const auto live = open_bitmap(*same, true);
  CHECK(live->test(BlockNumber(100)));
  CHECK(live->take_dirty().size() == 3);
  const auto reading = value_of(SessionBitmap::open_for_reading(*same, kDurable));
  CHECK(reading->test(BlockNumber(kBlocksPerPage * 3)));
  CHECK_FALSE(reading->test(BlockNumber(100)));
}

TEST_CASE("Session bitmap: stale live bits of another boot are dropped", "[session_bitmap]") {
  const auto file = make_file(GENERATE(true, false));
  touch(*open_bitmap(*file), 40000, 40100);
  const auto next = open_bitmap(*file);
  CHECK_FALSE(next->test(BlockNumber(40000)));
  CHECK(next->is_empty());
  CHECK(next->run_at(BlockNumber(0), BlockNumber(kBlocks)).end.value() == kBlocks);
}

TEST_CASE("Session bitmap: space is reserved once a page, in both bitmaps", "[session_bitmap]") {
  const auto file = make_file();
  const auto bitmap = open_bitmap(*file);
  file->reset_counts();
  expect_success(bitmap->reserve(BlockNumber(7), BlockNumber(8)));
  CHECK(file->count(FileOperation::kWrite) == 2);
  CHECK(file->is_allocated(kLive.offset));
  CHECK(file->is_allocated(kDurable.offset));
  expect_success(bitmap->reserve(BlockNumber(0), BlockNumber(kBlocksPerPage)));
  CHECK(file->count(FileOperation::kWrite) == 2);
  expect_success(bitmap->reserve(BlockNumber(0), BlockNumber(kBlocksPerPage + 1)));
  CHECK(file->count(FileOperation::kWrite) == 4);
}

TEST_CASE("Session bitmap: a bit shows after the file has it, or not at all", "[session_bitmap]") {
  const auto file = make_file(false);
  FaultyFile faulty(*file);
  const auto bitmap = open_bitmap(faulty);
  touch(*bitmap, 3, 4);
  // As on a host that copies on write and is full.
  faulty.fail(FileOperation::kWrite, 1, ENOSPC);
  const Result<void> refused = bitmap->set(BlockNumber(7), BlockNumber(8));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().error_number == ENOSPC);
  CHECK_FALSE(bitmap->test(BlockNumber(7)));
  touch(*bitmap, 7, 9);
  const auto left = file->clone();
  const auto next = open_bitmap(*left, true);
  CHECK(next->test(BlockNumber(3)));
  CHECK(next->test(BlockNumber(7)));
  CHECK(next->test(BlockNumber(8)));
  CHECK_FALSE(next->test(BlockNumber(9)));
}

// ---- a flush in the middle of set() ------------------------------------------------

// A request that sees a block's bit writes without setting it.  When its flush
// begins, the bit must be in the pages that this flush or an earlier one takes:
// else its data is flushed and its bit is not.  The other request comes between
// any two instructions of set(): the processor traps after each, and the
// handler plays the other thread.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define CAN_STEP 1
#else
#define CAN_STEP 0
#endif
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#undef CAN_STEP
#define CAN_STEP 0
#endif
#endif

#if CAN_STEP
namespace {

constexpr greg_t kTrapFlag = 0x100;

struct Intruder {
  SessionBitmap* bitmap = nullptr;
  BlockNumber block;
  uint64_t at_step = 0;
  uint64_t step = 0;
  bool has_come = false;
  bool has_seen_bit = false;
  bool has_taken_bit = false;
};
Intruder intruder;

void come_between(int, siginfo_t*, void* context) {
  if (intruder.step++ < intruder.at_step) {
    return;
  }
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~kTrapFlag;
  intruder.has_come = true;
  intruder.has_seen_bit = intruder.bitmap->test(intruder.block);
  for (const auto& page : intruder.bitmap->take_dirty()) {
    intruder.has_taken_bit =
        intruder.has_taken_bit || (page.index == intruder.block.value() / kBlocksPerPage &&
                                   test_bit(page.bytes, intruder.block.value() % kBlocksPerPage));
  }
}

void set_with_traps(SessionBitmap& bitmap, BlockNumber block) {
  // Past the red zone, where the compiler may keep something.
  asm volatile(
      "leaq -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; leaq 128(%%rsp), %%rsp" ::
          : "memory", "cc");
  const bool is_set = bitmap.set(block, block + 1).has_value();
  asm volatile(
      "leaq -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; leaq 128(%%rsp), %%rsp" ::
          : "memory", "cc");
  CHECK(is_set);
}

}  // namespace

TEST_CASE("Session bitmap: a bit that shows is never missed by a flush", "[session_bitmap]") {
  const auto file = make_file(GENERATE(true, false));
  const auto bitmap = open_bitmap(*file);
  expect_success(bitmap->reserve(BlockNumber(0), BlockNumber(kBlocksPerPage)));
  struct sigaction action = {};
  struct sigaction before = {};
  action.sa_sigaction = come_between;
  action.sa_flags = SA_SIGINFO;
  REQUIRE(sigaction(SIGTRAP, &action, &before) == 0);
  uint64_t missed = 0;
  uint64_t seen = 0;
  uint64_t steps = 0;
  do {
    const BlockNumber block(steps * 3);
    intruder = {bitmap.get(), block, steps, 0, false, false, false};
    set_with_traps(*bitmap, block);
    seen += intruder.has_seen_bit ? 1 : 0;
    missed += intruder.has_seen_bit && !intruder.has_taken_bit ? 1 : 0;
    // Whatever the intruder took or did not, the setter's own flush has the bit.
    bool is_taken = intruder.has_taken_bit;
    for (const auto& page : bitmap->take_dirty()) {
      is_taken = is_taken || test_bit(page.bytes, block.value());
    }
    missed += is_taken ? 0 : 1;
  } while (intruder.has_come && ++steps < kBlocksPerPage / 3);
  REQUIRE(sigaction(SIGTRAP, &before, nullptr) == 0);
  CHECK(missed == 0);
  CHECK(seen > 3);
  CHECK(steps > 10);
}
#endif
