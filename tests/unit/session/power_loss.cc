// SPDX-License-Identifier: BSD-3-Clause
//
// Crashes at any moment of a random workload: the server dies, or the power is
// lost and each sector of the upper is old or new by itself.
//
// Replay a failure with UNIONFS_SEED; UNIONFS_ROUNDS makes more of it.
#include <algorithm>
#include <cstdlib>
#include <random>

#include "tests/unit/session/session_bench.h"
#include "tests/unit/support/power_loss_file.h"
#include "tests/unit/support/sector_model.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// Ways to be wrong on purpose: the test must notice each.
enum class Flaw {
  kNone,
  kNoSyncBeforeBits,    // a flush writes durable bits before the data is synced
  kNoSyncAfterBits,     // a flush ends before its bits are durable
  kFlushDoesNothing,    // no sync at all
  kLiveBitsAfterPower,  // the next boot believes the live bitmap
};

// Drops the syncs that the flaw says.
class FlawedFile final : public ForwardingFile {
 public:
  FlawedFile(WritableFile& file, Flaw flaw, FileRange durable)
      : ForwardingFile(file), flaw_(flaw), durable_(durable) {}

  Result<void> write(uint64_t offset, ConstByteSpan bytes) override {
    const bool is_bits = offset >= durable_.offset && offset < durable_.end();
    UNIONFS_TRY(catch_up(is_bits));
    wrote_bits_ = is_bits;
    return file_.write(offset, bytes);
  }
  Result<void> punch(uint64_t offset, uint64_t length) override {
    UNIONFS_TRY(catch_up(false));
    return file_.punch(offset, length);
  }
  Result<void> zero_range(uint64_t offset, uint64_t length) override {
    UNIONFS_TRY(catch_up(false));
    return file_.zero_range(offset, length);
  }
  Result<void> sync() override {
    if (flaw_ == Flaw::kFlushDoesNothing || (flaw_ == Flaw::kNoSyncAfterBits && wrote_bits_)) {
      wrote_bits_ = false;
      return {};
    }
    // Whether bits come next is not known yet.
    is_owed_ = flaw_ == Flaw::kNoSyncBeforeBits && !wrote_bits_;
    wrote_bits_ = false;
    return is_owed_ ? Result<void>() : file_.sync();
  }

 private:
  Result<void> catch_up(bool bits_come) {
    const bool is_due = is_owed_ && !bits_come;
    is_owed_ = false;
    return is_due ? file_.sync() : Result<void>();
  }

  Flaw flaw_;
  FileRange durable_;
  bool wrote_bits_ = false;
  bool is_owed_ = false;
};

// Where requests are aimed at, and what they may reach.
struct Arena {
  const Lower& lower;
  const MemoryFile& upper;
  std::vector<std::byte> merged;
  FileRange durable;
  std::vector<uint64_t> centers;  // bytes
  uint64_t block_size = 0;
};

// One upper through several lives of server and machine.
class Round {
 public:
  Round(const Arena& arena, uint64_t seed, Flaw flaw)
      : arena_(arena),
        random_(seed),
        flaw_(flaw),
        file_(std::make_unique<PowerLossFile>(arena.upper.clone())),
        model_(arena.merged) {}

  // What was found wrong, if anything.
  std::optional<std::string> run() {
    const uint64_t lives = 1 + random_() % 4;
    for (uint64_t life = 0; life < lives && !complaint_; ++life) {
      live();
      if (!complaint_) {
        end_life();
      }
    }
    return complaint_;
  }

 private:
  std::unique_ptr<Disk> load(WritableFile& file) {
    auto disk = Disk::load(*arena_.lower.image, file, boot_id(), quiet_log());
    if (!disk) {
      note_error(disk.error());
      return nullptr;
    }
    return std::move(*disk);
  }

  void live() {
    if (random_() % 8 != 0) {
      file_->crash_after(1 + random_() % (random_() % 2 == 0 ? 20 : 150));
    }
    FlawedFile flawed(*file_, flaw_, arena_.durable);
    const std::unique_ptr<Disk> disk = load(flawed);
    if (!disk) {
      return;
    }
    if (const Result<void> opened = disk->attach(Access::kReadWrite); !opened) {
      return note_error(opened.error());
    }
    const uint64_t requests = 1 + random_() % 60;
    for (uint64_t i = 0; i < requests && !complaint_ && !file_->has_crashed(); ++i) {
      request(*disk);
    }
    if (!complaint_ && !file_->has_crashed() && random_() % 4 == 0) {
      if (const Result<void> closed = disk->close(); !closed) {
        return note_error(closed.error());
      }
      model_.flushed();
    }
  }

  // Nothing may fail but in a crash.
  void note_error(const Error& error) {
    if (!file_->has_crashed()) {
      complaint_ = error.message;
    }
  }

  void request(Disk& disk) {
    const uint64_t kind = random_() % 16;
    if (kind == 0) {
      if (const Result<void> result = disk.flush(); !result) {
        return note_error(result.error());
      }
      return model_.flushed();
    }
    uint64_t length = 1 + random_() % (random_() % 4 == 0 ? 12 * arena_.block_size : 1500);
    uint64_t offset = place(length);
    if (random_() % 2 == 0) {  // whole blocks, of which trims need some
      offset -= offset % arena_.block_size;
      length = round_up(length, arena_.block_size);
    }
    length = std::min(length, arena_.merged.size() - offset);
    if (kind < 4) {
      trim(disk, offset, length);
    } else if (kind < 7) {
      const std::vector<std::byte> zeros(length);
      learn(disk.zero(offset, length, {random_() % 2 == 0, false}), offset, zeros);
    } else {
      const std::vector<std::byte> bytes = pattern(random_(), length);
      learn(disk.write(offset, bytes), offset, bytes);
    }
  }

  uint64_t place(uint64_t length) {
    const uint64_t limit = arena_.merged.size() - length;
    if (random_() % 4 == 0) {
      return random_() % limit;
    }
    const uint64_t center = arena_.centers[random_() % arena_.centers.size()];
    const uint64_t spread = 6 * arena_.block_size;
    const uint64_t low = center > spread ? center - spread : 0;
    return std::min(limit, low + random_() % (2 * spread));
  }

  void learn(const Result<void>& result, uint64_t offset, ConstByteSpan bytes) {
    if (result) {
      return model_.changed(offset, bytes);
    }
    note_error(result.error());
    model_.perhaps_changed(offset, bytes);
  }

  // Trimmed sectors stay or become zero; which, the disk tells.
  void trim(Disk& disk, uint64_t offset, uint64_t length) {
    const Result<void> result = disk.trim(offset, length);
    const uint64_t begin = round_up(offset, 512);
    const uint64_t end = (offset + length) / 512 * 512;
    if (begin >= end) {
      return result ? void() : note_error(result.error());
    }
    std::vector<std::byte> found(end - begin);
    // The crash may also come with what a trim does for space alone.
    const Result<void> read = result ? disk.read(begin, found) : result;
    if (!read) {
      note_error(read.error());
      return model_.perhaps_changed(begin, found);
    }
    const ConstByteSpan before = model_.now().subspan(begin, found.size());
    for (size_t at = 0; at < found.size(); ++at) {
      if (found[at] != before[at] && found[at] != std::byte{0}) {
        complaint_ = fmt::format("a trim made something else of byte {}", begin + at);
        return;
      }
    }
    model_.changed(begin, found);
  }

  void end_life() {
    const bool is_power_loss = random_() % 2 == 0;
    if (is_power_loss) {
      RandomChooser chooser(random_);
      file_ = std::make_unique<PowerLossFile>(file_->lose_power(chooser));
      if (flaw_ != Flaw::kLiveBitsAfterPower) {
        ++boot_;
      }
    } else {
      file_->restart();
    }
    const std::unique_ptr<Disk> disk = load(*file_);
    if (!disk) {
      return;
    }
    // A reader first; a writer must see the same.
    const bool may_write = random_() % 2 == 0;
    if (const Result<void> opened =
            disk->attach(may_write ? Access::kReadWrite : Access::kReadOnly);
        !opened) {
      return note_error(opened.error());
    }
    std::vector<std::byte> content(arena_.merged.size());
    if (const Result<void> read = disk->read(0, content); !read) {
      return note_error(read.error());
    }
    complaint_ =
        is_power_loss ? model_.judge_after_power_loss(content) : model_.judge_after_death(content);
    if (is_power_loss) {
      model_.adopt_after_power_loss(content);
    } else {
      model_.adopt_after_death(content);
    }
  }

  std::string boot_id() const { return fmt::format("boot-{:08}", boot_); }

  const Arena& arena_;
  std::mt19937_64 random_;
  Flaw flaw_;
  std::unique_ptr<PowerLossFile> file_;
  SectorModel model_;
  uint64_t boot_ = 1;
  std::optional<std::string> complaint_;
};

Arena make_arena(uint32_t block_size) {
  const BenchImages& images = BenchImages::of(block_size);
  static std::map<uint32_t, std::unique_ptr<MemoryFile>> uppers;
  auto& upper = uppers[block_size];
  upper = images.upper();
  Arena arena{images.lower(), *upper, images.merged(), {}, {}, block_size};
  arena.durable = load_disk(images.lower(), *upper)->state_area().durable_bitmap;
  for (const NamedPlace& place : images.places()) {
    arena.centers.push_back(place.block.value() * block_size);
  }
  return arena;
}

uint64_t rounds_or(uint64_t usual) {
  const char* given = std::getenv("UNIONFS_ROUNDS");
  return given != nullptr ? std::strtoull(given, nullptr, 0) : usual;
}

// A flaw must be found within this many rounds.
std::optional<std::string> find_flaw(const Arena& arena, uint64_t seed, uint64_t rounds,
                                     Flaw flaw) {
  for (uint64_t i = 0; i < rounds; ++i) {
    if (auto complaint = Round(arena, seed + i, flaw).run()) {
      return fmt::format("round {}: {} (replay with UNIONFS_SEED={})", i, *complaint, seed + i);
    }
  }
  return std::nullopt;
}

}  // namespace

TEST_CASE("Power loss: every sector is as flushed, or newer", "[power_loss]") {
  const uint64_t seed = test_seed("power loss");
  for (const uint32_t block_size : {1024U, 2048U, 4096U}) {
    const Arena arena = make_arena(block_size);
    const auto complaint =
        find_flaw(arena, seed, rounds_or(block_size == 1024 ? 200 : 60), Flaw::kNone);
    INFO("blocks of " << block_size << ": " << complaint.value_or(""));
    CHECK_FALSE(complaint);
  }
}

TEST_CASE("Power loss: across pages of the bitmap", "[power_loss]") {
  const uint64_t seed = test_seed("power loss across pages");
  const Lower lower(small_image(1024));
  const auto upper = make_upper(lower, 34 * kMebibyte);
  const auto disk = load_disk(lower, *upper);
  expect_success(disk->attach(Access::kReadOnly));
  const uint64_t boundary = 32768 * 1024;  // of two pages
  const Arena arena{lower,
                    *upper,
                    read_all(*disk),
                    disk->state_area().durable_bitmap,
                    {boundary, boundary, lower.layout().size_bytes()},
                    1024};
  const auto complaint = find_flaw(arena, seed, rounds_or(20), Flaw::kNone);
  INFO(complaint.value_or(""));
  CHECK_FALSE(complaint);
}

TEST_CASE("Power loss: a missing sync is found", "[power_loss]") {
  const Arena arena = make_arena(1024);
  for (const Flaw flaw : {Flaw::kNoSyncBeforeBits, Flaw::kNoSyncAfterBits, Flaw::kFlushDoesNothing,
                          Flaw::kLiveBitsAfterPower}) {
    INFO("flaw " << static_cast<int>(flaw));
    const auto complaint = find_flaw(arena, 1, 400, flaw);
    CHECK_THAT(complaint.value_or("not found"), Catch::Contains("after a power loss"));
  }
}

// ---- every crash of a short story ------------------------------------------------------

namespace {

struct Step {
  enum Kind { kWrite, kZero, kTrim, kFlush } kind;
  uint64_t offset = 0;
  uint64_t length = 0;
};

// Runs the steps until the crash; the model knows what may be.
void tell(Disk& disk, PowerLossFile& file, const std::vector<Step>& steps, SectorModel& model) {
  for (size_t i = 0; i < steps.size() && !file.has_crashed(); ++i) {
    const Step& step = steps[i];
    std::vector<std::byte> bytes(step.length);
    Result<void> result;
    switch (step.kind) {
      case Step::kWrite:
        bytes = pattern(i, step.length);
        result = disk.write(step.offset, bytes);
        break;
      case Step::kZero:
        result = disk.zero(step.offset, step.length, {false, false});
        break;
      case Step::kTrim:
        result = disk.trim(step.offset, step.length);
        break;
      case Step::kFlush:
        result = disk.flush();
        break;
    }
    REQUIRE((result || file.has_crashed()));
    if (step.kind == Step::kFlush) {
      if (result) {
        model.flushed();
      }
    } else if (result) {
      model.changed(step.offset, bytes);
    } else {
      model.perhaps_changed(step.offset, bytes);
    }
  }
}

}  // namespace

TEST_CASE("Power loss: every outcome of every crash of a short story", "[power_loss]") {
  const BenchImages& images = BenchImages::of(1024);
  const uint64_t data = images.place("lower data").value() * 1024;
  const uint64_t translated = images.place("translated").value() * 1024;
  const uint64_t super = images.place("superblock").value() * 1024;
  const uint64_t own = images.place("own").value() * 1024;
  const std::vector<Step> steps = {
      {Step::kWrite, data + 100, 300},
      {Step::kWrite, super, 512},
      {Step::kFlush},
      {Step::kWrite, data + 600, 424},
      {Step::kWrite, translated + 512, 512},
      {Step::kTrim, data, 1024},
      {Step::kWrite, own, 700},
      {Step::kFlush},
      {Step::kZero, data + 1024, 1024},
      {Step::kWrite, data + 1536, 512},
      {Step::kWrite, data + 1600, 100},
      {Step::kFlush},
      {Step::kWrite, data + 1024, 512},
  };
  const uint64_t begin = PowerLossFile(images.upper()).change_count();
  uint64_t outcomes = 0;
  bool is_over = false;
  for (uint64_t crash = begin + 1; !is_over; ++crash) {
    PowerLossFile file(images.upper());
    SectorModel model(images.merged());
    const auto disk = value_of(Disk::load(*images.lower().image, file, kBootId, quiet_log()));
    expect_success(disk->attach(Access::kReadWrite));
    file.crash_after(crash);
    tell(*disk, file, steps, model);
    is_over = !file.has_crashed();

    EveryChooser chooser;
    uint64_t count = 0;
    do {
      const auto left = file.lose_power(chooser);
      const auto next = load_disk(images.lower(), *left, kNextBootId);
      expect_success(next->attach(Access::kReadOnly));
      const auto complaint = model.judge_after_power_loss(read_all(*next));
      INFO("crash at change " << crash << ", outcome " << count << ": " << complaint.value_or(""));
      REQUIRE_FALSE(complaint);
      ++outcomes;
      REQUIRE(++count < 3000);
    } while (chooser.next());

    file.restart();
    const auto next = value_of(Disk::load(*images.lower().image, file, kBootId, quiet_log()));
    expect_success(next->attach(Access::kReadOnly));
    const auto complaint = model.judge_after_death(read_all(*next));
    INFO("crash at change " << crash << ": " << complaint.value_or(""));
    REQUIRE_FALSE(complaint);
  }
  CHECK(outcomes > 500);
}
