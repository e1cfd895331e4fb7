// SPDX-License-Identifier: BSD-3-Clause
//
// A layer with more records of its lower than an opening compares: the rest is compared
// in the background, and a difference fails the disk.
#include <mutex>

#include "tests/unit/checkpoint/checkpoint_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr int kManyFiles = 1100;
constexpr uint32_t kWatchedBlock = 1024;

const RealImage& image_of_many() {
  static std::unique_ptr<RealImage> image;
  if (!image) {
    const ScratchDirectory tree;
    for (int i = 0; i < kManyFiles; ++i) {
      write_file(tree.path() / fmt::format("file{}", i), "content\n");
    }
    MakeOptions options;
    options.features = "filetype,sparse_super";
    options.more = {"-N", "2048"};
    options.content = tree.path();
    image = std::make_unique<RealImage>(8192, options);
  }
  return *image;
}

// Each file of the lower becomes own, by its mode.
void own_all(const Lower& lower, MemoryFile& upper) {
  auto disk = open_disk(lower, upper);
  std::vector<std::byte> wanted = read_all(*disk);
  for (uint32_t inode = 12; inode < 12 + kManyFiles; ++inode) {
    const uint64_t slot = inode_offset(lower.layout(), lower.volume.groups(), InodeNumber(inode));
    ext2::Inode raw;
    std::memcpy(&raw, &wanted[slot], sizeof(raw));
    raw.i_mode = static_cast<uint16_t>(raw.i_mode ^ 0111);
    std::memcpy(&wanted[slot], &raw, sizeof(raw));
  }
  write_differences(*disk, wanted);
  expect_success(disk->close());
  value_of(checkpoint(std::move(disk)));
}

// Inode 500 of the lower becomes another one, and again what it was.
void change_lower(const Lower& lower) {
  const uint64_t slot = inode_offset(lower.layout(), lower.volume.groups(), InodeNumber(500));
  lower.file->bytes(slot + offsetof(ext2::Inode, i_mtime), 1)[0] ^= std::byte{1};
}

// A disk over another lower, which its opening did not notice.
std::unique_ptr<Disk> load_unnoticed(const Lower& lower, MemoryFile& upper, const LogSink& log) {
  auto loaded = Disk::load(*lower.image, upper, kBootId, log);
  while (!loaded) {  // it was among the 64
    loaded = Disk::load(*lower.image, upper, kBootId, log);
  }
  return std::move(*loaded);
}

}  // namespace

TEST_CASE("Lower: what an opening leaves is compared in the background", "[lower]") {
  const Lower lower(image_of_many());
  const auto upper = make_upper(lower, 16 * kMebibyte);
  own_all(lower, *upper);
  std::mutex mutex;
  std::vector<std::string> told;
  const LogSink log = [&](const std::string& line) {
    const std::lock_guard<std::mutex> guard(mutex);
    told.push_back(line);
  };
  const auto load = [&] { return Disk::load(*lower.image, *upper, kBootId, log); };
  {
    const auto disk = value_of(load());
    CHECK(disk->layer().uncompared().size() > kManyFiles - 64);
    expect_success(disk->attach(Access::kReadWrite));
    disk->watch_lower();
    disk->lower_watch()->wait();
    CHECK(told.empty());
    CHECK_FALSE(disk->has_failed());
    expect_success(disk->close());
  }
  change_lower(lower);
  const auto disk = load_unnoticed(lower, *upper, log);
  expect_success(disk->attach(Access::kReadWrite));
  expect_success(disk->write(12 * kMebibyte, pattern(1, kWatchedBlock)));
  disk->watch_lower();
  disk->lower_watch()->wait();
  REQUIRE(told.size() == 1);
  CHECK_THAT(told[0], Catch::Contains("lower.img: is not the lower that upper.img was made over") &&
                          Catch::Contains("(inode 500)") && Catch::Contains("every request fails"));
  CHECK(disk->has_failed());
  std::vector<std::byte> bytes(kWatchedBlock);
  CHECK(disk->read(0, bytes).error().error_number == EIO);
  CHECK(disk->write(0, bytes).error().error_number == EIO);
  CHECK(disk->flush().error().error_number == EIO);
  CHECK(disk->trim(0, kWatchedBlock).error().error_number == EIO);
  CHECK(disk->close().error().error_number == EIO);
  // What was written is there when the right lower is.
  change_lower(lower);
  const auto again = value_of(load());
  expect_success(again->attach(Access::kReadOnly));
  CHECK(read_range(*again, 12 * kMebibyte, kWatchedBlock) == pattern(1, kWatchedBlock));
  // No server makes a layer of it by itself, because it may stand on what the other lower had.
  CHECK((again->state_area().flags & upper_format::kFlagUnproven) != 0);
}

TEST_CASE("Lower: a checkpoint compares what nobody has compared", "[lower]") {
  const Lower lower(image_of_many());
  const auto upper = make_upper(lower, 16 * kMebibyte);
  own_all(lower, *upper);
  change_lower(lower);
  const std::atomic<bool> is_cancelled{false};
  const auto disk = load_unnoticed(lower, *upper, quiet_log());
  expect_success(disk->attach(Access::kReadWrite));
  expect_success(disk->write(12 * kMebibyte, pattern(1, kWatchedBlock)));
  expect_success(disk->close());
  CHECK(expect_error(disk->checkpoint(AskedBy::kPerson, is_cancelled),
                     {"lower.img: is not the lower", "(inode 500)"}) == ErrorKind::kInvalid);
}

namespace {

// A lower that is at another server.
class ReplaceableFile final : public ForwardingFile {
 public:
  using ForwardingFile::ForwardingFile;

  Result<void> check_not_replaced() const override {
    return is_known ? system_failure(EIO, "is another image than before") : Result<void>();
  }
  Result<void> check_same() const override {
    ++comparisons;
    return error ? Result<void>(tl::unexpected(*error)) : Result<void>();
  }

  bool is_known = false;
  std::optional<Error> error;  // of the next comparisons
  mutable size_t comparisons = 0;
};

// A session that makes inode 12 the layer's own.
void write_session(const Lower& lower, Disk& disk) {
  expect_success(disk.attach(Access::kReadWrite));
  std::vector<std::byte> wanted = read_all(disk);
  const uint64_t slot = inode_offset(lower.layout(), lower.volume.groups(), InodeNumber(12));
  wanted[slot + offsetof(ext2::Inode, i_mode)] ^= std::byte{0111};
  write_differences(disk, wanted);
}

}  // namespace

TEST_CASE("Lower: one at another server is compared before a commit", "[lower]") {
  const Lower lower(image_of_many());
  const auto upper = make_upper(lower, 16 * kMebibyte);
  ReplaceableFile remote(*lower.file);
  const auto image = value_of(LowerImage::open(remote));
  const std::atomic<bool> is_cancelled{false};
  const auto load = [&] { return value_of(Disk::load(*image, *upper, kBootId, quiet_log())); };
  {
    const auto disk = load();
    write_session(lower, *disk);
    remote.is_known = true;  // by a connection that was made anew
    std::vector<std::byte> bytes(kWatchedBlock);
    CHECK(disk->has_failed());
    CHECK(disk->read(0, bytes).error().error_number == EIO);
    CHECK(disk->write(0, bytes).error().error_number == EIO);
    CHECK(disk->flush().error().error_number == EIO);
    remote.is_known = false;
    expect_success(disk->close());
  }
  SECTION("it is another one") {
    remote.error = Error{ErrorKind::kInvalid, EINVAL, "it is another one"};
    const auto disk = load();
    expect_success(disk->attach(Access::kReadWrite));
    expect_success(disk->close());
    expect_error(disk->checkpoint(AskedBy::kServer, is_cancelled), {"it is another one"});
    const auto again = load();
    CHECK((again->state_area().flags & upper_format::kFlagUnproven) != 0);
  }
  SECTION("it is away") {
    remote.error = Error{ErrorKind::kSystem, EIO, "it is away"};
    const auto disk = load();
    expect_success(disk->attach(Access::kReadWrite));
    expect_success(disk->close());
    expect_error(disk->checkpoint(AskedBy::kServer, is_cancelled), {"it is away"});
    const auto again = load();
    CHECK((again->state_area().flags & upper_format::kFlagUnproven) == 0);
  }
  CHECK(remote.comparisons == 1);
  // The session is there, whatever became of the checkpoint.
  remote.error.reset();
  const auto disk = load();
  expect_success(disk->attach(Access::kReadWrite));
  CHECK(disk->session_size()->blocks > 0);
  expect_success(disk->close());
  value_of(disk->checkpoint(AskedBy::kPerson, is_cancelled));
  CHECK(remote.comparisons == 2);
}

TEST_CASE("Lower: what a request wants of one that answers late is begun at once", "[lower]") {
  const Lower lower(image_of_many());
  const auto upper = make_upper(lower, 16 * kMebibyte);
  ReadsInFlight in_flight;
  const LateFile late(*lower.file, in_flight);
  const auto image = value_of(LowerImage::open(late));
  const auto disk = value_of(Disk::load(*image, *upper, kBootId, quiet_log()));
  expect_success(disk->attach(Access::kReadWrite));
  // Every other block of data is the session's, so there are more runs than a batch has.
  const uint64_t begin = 4 * kMebibyte;
  const size_t length = 400 * kWatchedBlock;
  for (size_t at = 0; at < length; at += 2 * kWatchedBlock) {
    expect_success(disk->write(begin + at, pattern(at, kWatchedBlock)));
  }
  const std::vector<std::byte> wanted = read_range(*disk, begin, length);
  const size_t before = late.batch_count();
  CHECK(read_range(*disk, begin, length) == wanted);
  CHECK(late.batch_count() == before + 1);
  CHECK(in_flight.most() == 200);
  std::vector<std::byte> lone(kWatchedBlock);
  expect_success(disk->read(begin + kWatchedBlock, lone));
  CHECK(late.batch_count() == before + 2);
  std::vector<std::byte> below(kWatchedBlock);
  expect_success(lower.file->read(begin + kWatchedBlock, below));
  CHECK((lone == below));
  expect_success(disk->close());
}
