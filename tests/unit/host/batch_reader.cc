// SPDX-License-Identifier: BSD-3-Clause
//
// Batches whose ranges lie in files of several kinds.
#include "overlay/host/batch_reader.h"

#include <cerrno>
#include <filesystem>
#include <vector>

#include "overlay/host/posix_file.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/test_files.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint64_t kFileBytes = 1 << 20;
constexpr size_t kRangeBytes = 3000;

std::vector<std::byte> content(uint8_t seed) {
  std::vector<std::byte> bytes(kFileBytes);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(i * 7 + i / 256 + seed);
  }
  return bytes;
}

std::unique_ptr<PosixFile> host_file(uint8_t seed) {
  auto file =
      value_of(PosixFile::create_temporary(std::filesystem::temp_directory_path().string()));
  expect_success(file->resize(kFileBytes));
  expect_success(file->write(0, content(seed)));
  return file;
}

std::unique_ptr<MemoryFile> memory_file(uint8_t seed) {
  auto file = std::make_unique<MemoryFile>("memory", kFileBytes);
  expect_success(file->resize(kFileBytes));
  expect_success(file->write(0, content(seed)));
  return file;
}

// io_urings of this process.
size_t ring_count() {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;  // the directory's own descriptor may be gone by now
    const auto target = std::filesystem::read_symlink(entry.path(), error).string();
    count += target.find("io_uring") != std::string::npos ? 1 : 0;
  }
  return count;
}

// Ranges with their buffers, and what these must hold afterwards.
class Batch {
 public:
  // At a place that depends on how many ranges there are.
  void add(const ReadableFile& file) {
    Part part;
    part.file = &file;
    part.offset = (parts_.size() * 7919) % (kFileBytes - kRangeBytes);
    part.bytes.resize(kRangeBytes);
    parts_.push_back(std::move(part));
  }
  void add_past_the_end(const ReadableFile& file) {
    add(file);
    parts_.back().offset = kFileBytes;
  }

  Result<void> read(BatchReader& reader, ReadBy by = ReadBy::kProgram,
                    const BatchReader::Meanwhile& meanwhile = {}) {
    std::vector<ReadRange> ranges;
    for (Part& part : parts_) {
      ranges.push_back({part.file, part.offset, part.bytes});
    }
    return reader.read(ranges, by, meanwhile);
  }

  // Ranges of `file` whose buffers hold what they must.
  size_t filled(const ReadableFile& file) const {
    size_t count = 0;
    for (const Part& part : parts_) {
      std::vector<std::byte> wanted(kRangeBytes);
      if (part.file == &file && file.read(part.offset, wanted) && part.bytes == wanted) {
        ++count;
      }
    }
    return count;
  }

 private:
  struct Part {
    const ReadableFile* file = nullptr;
    uint64_t offset = 0;
    std::vector<std::byte> bytes;
  };

  std::vector<Part> parts_;
};

// Two files of the host, one in memory, and two that answer late.
struct Files {
  std::unique_ptr<PosixFile> host = host_file(1);
  std::unique_ptr<PosixFile> other_host = host_file(2);
  std::unique_ptr<MemoryFile> memory = memory_file(3);
  std::unique_ptr<MemoryFile> behind_near = memory_file(4);
  std::unique_ptr<MemoryFile> behind_far = memory_file(5);
  ReadsInFlight in_flight;
  LateFile near{*behind_near, in_flight};
  LateFile far{*behind_far, in_flight};

  // `count` ranges of each, one file after the other and again.
  Batch batch(size_t count) const {
    Batch made;
    for (size_t i = 0; i < count; ++i) {
      for (const ReadableFile* file : all()) {
        made.add(*file);
      }
    }
    return made;
  }

  std::vector<const ReadableFile*> all() const {
    return {host.get(), &near, memory.get(), other_host.get(), &far};
  }
};

}  // namespace

TEST_CASE("Batch reader: ranges of every kind of file are read", "[batch_reader]") {
  const Files files;
  BatchReader reader([](const std::string&) {});
  for (const size_t count : {1, 2, 20, 100}) {  // 200 of the host's are four submissions
    Batch batch = files.batch(count);
    expect_success(batch.read(reader));
    for (const ReadableFile* file : files.all()) {
      CHECK(batch.filled(*file) == count);
    }
  }
  expect_success(reader.read({}));
}

TEST_CASE("Batch reader: files that answer late are in flight together", "[batch_reader]") {
  Files files;
  BatchReader reader([](const std::string&) {});
  Batch batch = files.batch(100);
  // Both are begun before the host's files are read, and waited for afterwards.
  size_t filled_at_begin = 0;
  size_t filled_at_finish = 0;
  size_t finished = 0;
  for (LateFile* late : {&files.near, &files.far}) {
    late->on_begin([&] { filled_at_begin += batch.filled(*files.host); });
    late->on_finish([&] {
      filled_at_finish += batch.filled(*files.host);
      ++finished;
    });
  }
  expect_success(batch.read(reader));
  CHECK(filled_at_begin == 0);
  CHECK(finished == 2);
  CHECK(filled_at_finish == 200);
  // However long the batch is, each file is asked once.
  CHECK(files.near.batch_count() == 1);
  CHECK(files.far.batch_count() == 1);
  CHECK(files.in_flight.most() == 200);
  CHECK(files.in_flight.now() == 0);
}

TEST_CASE("Batch reader: the host's files use a ring beside any others", "[batch_reader]") {
  bool is_refused = false;
  BatchReader reader([&is_refused](const std::string&) { is_refused = true; });
  const size_t before = ring_count();
  Files files;
  expect_success(files.batch(2).read(reader));
  CHECK(ring_count() == before + (is_refused ? 0 : 1));
  expect_success(files.batch(2).read(reader));
  CHECK(ring_count() == before + (is_refused ? 0 : 1));
}

TEST_CASE("Batch reader: a lone range is read plainly", "[batch_reader]") {
  Files files;
  BatchReader reader([](const std::string&) {});
  const size_t before = ring_count();
  for (const ReadableFile* file : files.all()) {
    Batch batch;
    batch.add(*file);
    expect_success(batch.read(reader));
    CHECK(batch.filled(*file) == 1);
  }
  CHECK(files.near.batch_count() == 0);
  CHECK(ring_count() == before);
}

TEST_CASE("Batch reader: a client's lone range is begun where the file can", "[batch_reader]") {
  Files files;
  BatchReader reader([](const std::string&) {});
  const size_t before = ring_count();
  for (const ReadableFile* file : files.all()) {
    Batch batch;
    batch.add(*file);
    expect_success(batch.read(reader, ReadBy::kClient));
    CHECK(batch.filled(*file) == 1);
  }
  CHECK(files.near.batch_count() == 1);
  CHECK(files.far.batch_count() == 1);
  CHECK(ring_count() == before);
  files.near.fail(0, EIO);
  Batch batch;
  batch.add(files.near);
  expect_error(batch.read(reader, ReadBy::kClient), {"told to fail"});
}

TEST_CASE("Batch reader: what the caller has to do comes before the waiting", "[batch_reader]") {
  Files files;
  BatchReader reader([](const std::string&) {});
  Batch batch = files.batch(3);
  size_t calls = 0;
  size_t finished = 0;
  for (LateFile* late : {&files.near, &files.far}) {
    late->on_finish([&] { finished += calls; });
  }
  const auto meanwhile = [&]() -> Result<void> {
    ++calls;
    CHECK(batch.filled(*files.host) == 3);
    return {};
  };
  expect_success(batch.read(reader, ReadBy::kClient, meanwhile));
  CHECK(calls == 1);
  CHECK(finished == 2);
  const auto fails = []() -> Result<void> { return system_failure(EIO, "told to fail"); };
  for (const ReadableFile* file : files.all()) {
    for (const ReadBy by : {ReadBy::kProgram, ReadBy::kClient}) {
      Batch lone;
      lone.add(*file);
      expect_error(lone.read(reader, by, fails), {"told to fail"});
    }
  }
  expect_error(Batch().read(reader, ReadBy::kClient, fails), {"told to fail"});
  CHECK(files.in_flight.now() == 0);
}

TEST_CASE("Batch reader: an error waits for everything that was begun", "[batch_reader]") {
  Files files;
  BatchReader reader([](const std::string&) {});
  Batch batch = files.batch(5);
  SECTION("of a host's file") {
    batch.add_past_the_end(*files.host);
    CHECK(expect_error(batch.read(reader), {"ends at offset"}) == ErrorKind::kCorrupt);
  }
  SECTION("of a file in memory") {
    batch.add_past_the_end(*files.memory);
    expect_error(batch.read(reader), {"outside the file"});
  }
  SECTION("of the file that was begun first") {
    files.near.fail(4, EIO);
    expect_error(batch.read(reader), {"told to fail"});
  }
  SECTION("of the file that was begun last") {
    files.far.fail(0, EIO);
    expect_error(batch.read(reader), {"told to fail"});
  }
  SECTION("of several") {
    files.near.fail(2, EIO);
    files.far.fail(3, EIO);
    batch.add_past_the_end(*files.other_host);
    expect_error(batch.read(reader), {"ends at offset"});
  }
  CHECK(files.near.batch_count() == 1);
  CHECK(files.far.batch_count() == 1);
  CHECK(files.in_flight.most() == 10);
  CHECK(files.in_flight.now() == 0);
}
