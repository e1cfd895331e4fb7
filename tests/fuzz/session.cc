// SPDX-License-Identifier: BSD-3-Clause
//
// A client of a sound pair: its requests against a flat model of the disk, through ends,
// deaths and power losses of the server, and checkpoints against the files they must keep.
#include <algorithm>

#include "tests/fuzz/support/edit.h"
#include "tests/fuzz/support/invariant.h"
#include "tests/fuzz/support/looks.h"
#include "tests/unit/support/image_facts.h"
#include "tests/unit/support/sector_model.h"

namespace unionfs::fuzzing {
namespace {

// Edits of metadata, by writing what they change, are a request for each kind of place.
constexpr uint8_t kFirstEdit = 10;
constexpr uint8_t kRequestKinds = kFirstEdit + kImagePlaceKinds;

class Client {
 public:
  explicit Client(const SoundPair& pair)
      : pair_(pair), upper_(pair.upper->clone()), model_(pair.merged) {
    open(kThisBoot);
    expect_model("the first opening");
  }

  void request(const RecipeStep& step) {
    using Answer = void (Client::*)(const RecipeStep&);
    static constexpr Answer kAnswers[kFirstEdit] = {
        &Client::write_anywhere, &Client::write_file, &Client::write_image, &Client::zero,
        &Client::trim,           &Client::flush,      &Client::end,         &Client::die,
        &Client::lose_power,     &Client::checkpoint};
    const uint8_t kind = step.kind % kRequestKinds;
    if (kind < kFirstEdit) {
      (this->*kAnswers[kind])(step);
    } else {
      edit(static_cast<PlaceKind>(kind - kFirstEdit), step);
    }
  }

  void finish() {
    expect_model("the requests");
    expect_right_extents(*disk_, look_at_all(*disk_));
    end({});
    checkpoint({});
  }

 private:
  void open(const char* boot) {
    boot_ = boot;
    disk_ = wanted(Disk::load(*pair_.lower->image, *upper_, boot_, no_log()));
    if (disk_->has_journal()) {
      wanted(disk_->finish_checkpoint());
      disk_ = wanted(Disk::load(*pair_.lower->image, *upper_, boot_, no_log()));
    }
    wanted(disk_->attach(Access::kReadWrite));
  }

  std::vector<std::byte> shown() const { return wanted(read_whole(*disk_)); }
  void expect_model(const char* after) {
    const std::vector<std::byte> now = shown();
    if (is_as_modelled(now)) {
      return;
    }
    if (const auto wrong = model_.judge_after_death(now)) {
      broken(fmt::format("after {}: {}", after, *wrong));
    }
  }
  bool is_as_modelled(ConstByteSpan now) const {
    return first_difference(model_.now(), now).empty();
  }

  uint64_t size() const { return pair_.merged.size(); }
  uint64_t offset_of(const RecipeStep& step) const { return step.which % size(); }
  uint64_t length_of(const RecipeStep& step) const {
    // Up to a few blocks of the host; often whole blocks.
    const uint64_t length = step.where % 16384 + uint64_t{1};
    return std::min(step.how % 2 == 0 ? round_up(length, 1024) : length, size() - offset_of(step));
  }

  void write_bytes(uint64_t offset, ConstByteSpan bytes) {
    wanted(disk_->write(offset, bytes));
    model_.changed(offset, bytes);
  }

  void write(uint64_t offset, uint64_t length, uint32_t seed) {
    std::vector<std::byte> bytes(length);
    for (size_t index = 0; index < bytes.size(); ++index) {
      bytes[index] = static_cast<std::byte>((seed + index / 512) * 167 >> index % 8);
    }
    write_bytes(offset, bytes);
  }

  void write_anywhere(const RecipeStep& step) {
    write(offset_of(step), length_of(step), step.value);
    is_sound_ = false;
  }

  void write_file(const RecipeStep& step) {
    const auto& places = pair_.merged_atlas.of(PlaceKind::kFileData);
    const FileRange place = places[step.which % places.size()];
    const uint64_t skip = step.where % place.length;
    write(place.offset + skip, place.length - skip, step.value);
    // The same block may be another file's, or a directory's, in a client's image.
    is_sound_ = is_sound_ && has_no_image_;
  }

  void write_image(const RecipeStep& step) {
    const std::vector<std::byte>& image = pair_.clients[step.which % pair_.clients.size()];
    const std::vector<std::byte> now = shown();
    constexpr uint64_t kBlock = 1024;
    for (uint64_t offset = 0; offset < now.size(); offset += kBlock) {
      const ConstByteSpan block = ConstByteSpan(image).subspan(offset, kBlock);
      if (!first_difference(block, ConstByteSpan(now).subspan(offset, kBlock)).empty()) {
        write_bytes(offset, block);
      }
    }
    is_sound_ = true;
    has_no_image_ = false;
  }

  // The edit is made in a copy, and what it changed is written.
  void edit(PlaceKind kind, const RecipeStep& step) {
    std::vector<std::byte> image(model_.now().begin(), model_.now().end());
    const FileRange range = apply_edit(image, pair_.merged_atlas, kind, step).range;
    if (range.length > 0) {
      write_bytes(range.offset, ConstByteSpan(image).subspan(range.offset, range.length));
      is_sound_ = false;
    }
  }

  void zero(const RecipeStep& step) {
    const uint64_t offset = offset_of(step);
    const std::vector<std::byte> zeros(length_of(step));
    const ZeroOptions options{(step.value & 1) != 0, (step.value & 2) != 0};
    const Result<void> zeroed = disk_->zero(offset, zeros.size(), options);
    if (!zeroed && !(options.must_be_fast && zeroed.error().error_number == ENOTSUP)) {
      wanted(zeroed);
    }
    if (zeroed) {
      model_.changed(offset, zeros);
      is_sound_ = false;
    }
  }

  void flush(const RecipeStep&) {
    wanted(disk_->flush());
    model_.flushed();
  }

  // Whole blocks read as zeros afterwards; the rest of the range may be as it was.
  void trim(const RecipeStep& step) {
    const uint64_t offset = offset_of(step);
    const uint64_t length = length_of(step);
    const ConstByteSpan before = model_.now().subspan(offset, length);
    const std::vector<std::byte> old(before.begin(), before.end());
    wanted(disk_->trim(offset, length));
    std::vector<std::byte> now(length);
    wanted(disk_->read(offset, now));
    constexpr uint64_t kBlock = 1024;
    for (uint64_t index = 0; index < length; ++index) {
      const uint64_t block = (offset + index) / kBlock * kBlock;
      const bool is_whole = block >= offset && block + kBlock <= offset + length;
      if (now[index] != std::byte{0} && (is_whole || now[index] != old[index])) {
        broken(fmt::format("after a trim of {} bytes at {}: {} is neither zero nor as it was",
                           length, offset, offset + index));
      }
    }
    model_.changed(offset, now);
    is_sound_ = false;
  }

  void end(const RecipeStep&) {
    wanted(disk_->close());
    disk_.reset();
    model_.flushed();
    open(boot_);
    expect_model("an end of the server");
  }

  void die(const RecipeStep&) {
    disk_.reset();
    open(boot_);
    expect_model("a death of the server");
  }

  // The file has all that was written, as if the host had been quick; the live bitmap is
  // not believed.
  void lose_power(const RecipeStep&) {
    disk_.reset();
    open(boot_ == kThisBoot ? kNextBoot : kThisBoot);
    const std::vector<std::byte> now = shown();
    if (is_as_modelled(now)) {
      model_.flushed();
      return;
    }
    if (const auto wrong = model_.judge_after_power_loss(now)) {
      broken("after a power loss: " + *wrong);
    }
    is_sound_ = false;
    model_.adopt_after_power_loss(now);
  }

  void checkpoint(const RecipeStep&) {
    wanted(disk_->close());
    model_.flushed();
    const std::atomic<bool> never{false};
    const bool has_session = disk_->has_session();
    const auto made = has_session ? disk_->checkpoint(AskedBy::kPerson, never)
                                  : Result<CheckpointFigures>(CheckpointFigures{});
    disk_.reset();
    open(boot_);
    const std::vector<std::byte> now = shown();
    if (!went_well(made)) {
      if (is_sound_) {
        broken("no checkpoint of a sound image: " + made.error().message);
      }
      expect_model("a refused checkpoint");
      return;
    }
    if (has_session) {
      expect_same_files(now);
    }
    model_ = testing::SectorModel(now);
  }

  void expect_same_files(const std::vector<std::byte>& now) {
    const std::string differing =
        testing::difference(testing::facts_of(model_.now()), testing::facts_of(now));
    if (!differing.empty()) {
      broken("a checkpoint changes files: " + differing);
    }
    if (is_sound_) {
      expect_clean_sometimes(now, "the merged image after a checkpoint");
      expect_clean_layer();
    }
  }

  // With the bit cleared that says there are whiteouts.
  void expect_clean_layer() {
    std::vector<std::byte> layer(size());
    wanted(upper_->peek(0, layer));
    auto& superblock =
        *reinterpret_cast<ext2::Superblock*>(layer.data() + ext2::kSuperblockOffsetBytes);
    constexpr uint32_t kWhiteouts = 0x20;
    superblock.s_feature_incompat = superblock.s_feature_incompat & ~kWhiteouts;
    expect_clean_sometimes(layer, "the layer");
  }

  const SoundPair& pair_;
  std::unique_ptr<MemoryFile> upper_;
  testing::SectorModel model_;
  std::unique_ptr<Disk> disk_;
  const char* boot_ = kThisBoot;
  bool is_sound_ = true;      // the disk is a clean image now
  bool has_no_image_ = true;  // the files are where they were at first
};

void run(const Recipe& recipe) {
  Client client(SoundImages::get().pair(recipe.base));
  for (const RecipeStep& step : recipe.steps) {
    client.request(step);
  }
  client.finish();
}

}  // namespace
}  // namespace unionfs::fuzzing

#include "tests/fuzz/support/entry.h"
